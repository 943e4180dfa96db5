"""What this job may use: processor cores and memory as its container or scheduler allows, not as the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import psutil

#: Gigabytes of a worker that holds the imaging libraries, and with torch and a model.
BASE_GB, TORCH_GB = 0.3, 0.9

#: Bytes a step holds per voxel of an image at its peak.
PREPARE_BYTES, HARMONIZE_BYTES, WRITE_BYTES = 50, 70, 60

#: More threads than this do not make one image faster.
MOST_THREADS = 8

_CGROUP = Path('/sys/fs/cgroup')


def available_cores(*, cgroup: Path = _CGROUP) -> int:
    """Return the cores this process may use: the least of affinity, cgroup quota and Slurm's word."""
    limits = [len(os.sched_getaffinity(0))]
    quota = _cgroup_cores(cgroup)
    if quota:
        limits.append(max(1, math.floor(quota)))
    slurm = os.environ.get('SLURM_CPUS_PER_TASK', '')
    if slurm.isdigit() and int(slurm) > 0:
        limits.append(int(slurm))
    return min(limits)


def available_memory(*, cgroup: Path = _CGROUP) -> float:
    """Return 90 % of the memory this process may use, in gigabytes (10^9 bytes)."""
    limits = [psutil.virtual_memory().total]
    for name in ('memory.max', 'memory/memory.limit_in_bytes'):
        text = _read(cgroup / name)
        if text.isdigit():
            limits.append(int(text))
    return 0.9 * min(limits) / 1e9


def step_memory(per_voxel: float, *, voxels: int) -> float:
    """Return the gigabytes of a step that holds ``per_voxel`` bytes of an image."""
    return BASE_GB + per_voxel * voxels / 1e9


def harmonize_memory(shapes: Collection[Sequence[int]]) -> float:
    """Return the gigabytes of the step that harmonizes images of these shapes one after the other."""
    return TORCH_GB + step_memory(HARMONIZE_BYTES, voxels=max(math.prod(shape) for shape in shapes))


def step_threads(*, sessions: int, cores: int, memory: float, each: float) -> int:
    """Return the threads that harmonizing one of ``sessions`` sessions takes on the processor.

    Sessions side by side use cores better than threads of one do; threads take what ``memory`` gigabytes, of which
    every session needs ``each``, or too few sessions leave idle.
    """
    at_once = max(1, min(sessions, cores, int(memory // each)))
    return max(1, min(MOST_THREADS, cores // at_once))


def _cgroup_cores(cgroup: Path) -> float | None:
    quota, _, period = _read(cgroup / 'cpu.max').partition(' ')
    if not quota:
        quota, period = _read(cgroup / 'cpu/cpu.cfs_quota_us'), _read(cgroup / 'cpu/cpu.cfs_period_us')
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return int(quota) / int(period)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ''
