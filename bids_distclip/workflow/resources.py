"""What this job may use: processor cores and memory as its container or scheduler allows, not as the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import psutil

#: Gigabytes of a worker that holds the imaging libraries, and with torch and a model.
BASE_GB, TORCH_GB = 0.3, 0.9

#: Bytes a step holds per voxel of an image at its peak.
PREPARE_BYTES, HARMONIZE_BYTES, WRITE_BYTES = 50, 70, 60

#: More threads than this do not make one image faster.
MOST_THREADS = 8

_CGROUP = Path('/sys/fs/cgroup')
#: Which control groups this process is in, as the kernel tells it.
_OWN = Path('/proc/self/cgroup')
#: What Slurm calls a megabyte.
_SLURM_MB = 2**20


def available_cores(*, cgroup: Path = _CGROUP) -> int:
    """Return the cores this process may use: the least of affinity, cgroup quota and Slurm's word."""
    limits = [len(os.sched_getaffinity(0))]
    quota = _cgroup_cores(cgroup)
    if quota:
        limits.append(max(1, math.floor(quota)))
    slurm = _slurm_number('SLURM_CPUS_PER_TASK')
    if slurm:
        limits.append(slurm)
    return min(limits)


def available_memory(*, cgroup: Path = _CGROUP, own: Path = _OWN) -> float:
    """Return 90 % of the memory this process may use, in gigabytes (10^9 bytes).

    The least counts of the machine's memory, the limits of the process's control groups and all above them, and what
    Slurm gave to the job.
    """
    limits = [psutil.virtual_memory().total, *_cgroup_memory(cgroup, own=own), *_slurm_memory()]
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


def _slurm_memory() -> Iterator[int]:
    """Yield the bytes that Slurm gives to this job on this node: per node, or per core times its cores here."""
    per_node, per_core = _slurm_number('SLURM_MEM_PER_NODE'), _slurm_number('SLURM_MEM_PER_CPU')
    if per_node:
        yield per_node * _SLURM_MB
    cores = _slurm_number('SLURM_CPUS_ON_NODE') or _slurm_number('SLURM_CPUS_PER_TASK')
    if per_core and cores:
        yield per_core * cores * _SLURM_MB


def _slurm_number(name: str) -> int:
    text = os.environ.get(name, '')
    return int(text) if text.isdigit() else 0


def _cgroup_memory(cgroup: Path, *, own: Path) -> Iterator[int]:
    """Yield the limits in bytes of the process's own control group and of every one above it, of both versions."""
    for line in ['0::/', '0:memory:/', *_read(own).splitlines()]:
        _, _, rest = line.partition(':')
        controllers, _, path = rest.partition(':')
        if controllers and 'memory' not in controllers.split(','):
            continue
        root, name = (cgroup / 'memory', 'memory.limit_in_bytes') if controllers else (cgroup, 'memory.max')
        parts = [part for part in path.split('/') if part]
        # A group outside of what this container sees is shown with dots; its limit cannot be read.
        for depth in range(len(parts) + 1 if '..' not in parts else 0):
            text = _read(root.joinpath(*parts[:depth], name))
            if text.isdigit():
                yield int(text)


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
