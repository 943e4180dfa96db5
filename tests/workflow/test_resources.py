"""What a job may use, under container limits and schedulers."""

from __future__ import annotations

import os

import pytest

from bids_distclip.workflow.resources import available_cores, available_memory, step_threads


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    monkeypatch.delenv('SLURM_CPUS_PER_TASK', raising=False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(16)))
    return tmp_path


def test_without_limits_every_core_counts(cgroup):
    assert available_cores(cgroup=cgroup) == 16


@pytest.mark.parametrize(
    ('text', 'cores'), [('400000 100000', 4), ('150000 100000', 1), ('50000 100000', 1), ('max 100000', 16)]
)
def test_a_container_limit_of_version_2_counts(cgroup, text, cores):
    (cgroup / 'cpu.max').write_text(text + '\n')
    assert available_cores(cgroup=cgroup) == cores


def test_a_container_limit_of_version_1_counts(cgroup):
    (cgroup / 'cpu').mkdir()
    (cgroup / 'cpu/cpu.cfs_quota_us').write_text('300000\n')
    (cgroup / 'cpu/cpu.cfs_period_us').write_text('100000\n')
    assert available_cores(cgroup=cgroup) == 3


def test_what_slurm_gives_counts(cgroup, monkeypatch):
    monkeypatch.setenv('SLURM_CPUS_PER_TASK', '2')
    assert available_cores(cgroup=cgroup) == 2


def test_memory_is_nine_tenths_of_the_limit(cgroup):
    (cgroup / 'memory.max').write_text('2000000000\n')
    assert available_memory(cgroup=cgroup) == pytest.approx(1.8)


def test_no_limit_leaves_the_machine(cgroup):
    (cgroup / 'memory.max').write_text('max\n')
    assert available_memory(cgroup=cgroup) > 0.1


@pytest.mark.parametrize(('sessions', 'cores', 'memory', 'threads'), [
    (6, 2, 20.0, 1),  # sessions side by side
    (1, 2, 20.0, 2),  # one alone takes all cores
    (3, 16, 100.0, 5),
    (1, 64, 100.0, 8),  # more do not help
    (300, 16, 8.0, 4),  # memory for four at once
    (6, 4, 1.0, 4),  # not even for one: told elsewhere
])
def test_threads_take_what_sessions_side_by_side_leave(sessions, cores, memory, threads):
    assert step_threads(sessions=sessions, cores=cores, memory=memory, each=2.0) == threads
