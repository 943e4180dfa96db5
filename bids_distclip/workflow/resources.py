"""What this job may use: processor cores and memory as its container or scheduler allows, not as the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil

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
