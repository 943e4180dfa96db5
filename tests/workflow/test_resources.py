"""What a job may use, under container limits and schedulers."""

from __future__ import annotations

import os

import pytest

from bids_distclip.workflow.resources import available_cores, available_memory, step_threads


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith('SLURM_')]:
        monkeypatch.delenv(name)
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


@pytest.mark.parametrize(('given', 'gigabytes'), [
    ({'SLURM_MEM_PER_NODE': '1024'}, 1.0),
    ({'SLURM_MEM_PER_CPU': '256', 'SLURM_CPUS_ON_NODE': '3', 'SLURM_CPUS_PER_TASK': '1'}, 0.75),
    ({'SLURM_MEM_PER_CPU': '256', 'SLURM_CPUS_PER_TASK': '2'}, 0.5),
])
def test_the_memory_slurm_gives_counts(cgroup, monkeypatch, given, gigabytes):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert available_memory(cgroup=cgroup) == pytest.approx(0.9 * gigabytes * 2**30 / 1e9)


@pytest.mark.parametrize('given', [
    {'SLURM_MEM_PER_NODE': '0'}, {'SLURM_MEM_PER_NODE': ''}, {'SLURM_MEM_PER_CPU': '1'},
])
def test_a_word_of_slurm_that_says_no_amount_is_no_limit(cgroup, monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert available_memory(cgroup=cgroup, own=cgroup / 'none') > 0.1


@pytest.mark.parametrize(('group', 'told'), [
    ('', '0::/job/step\n'),
    ('memory', '12:pids:/elsewhere\n4:cpu,memory:/job/step\n0::/\n'),
])
@pytest.mark.parametrize(('outer', 'inner', 'least'), [(3, 1, 1), (1, 3, 1), (2, None, 2), (None, 2, 2)])
def test_the_least_limit_from_the_process_own_group_to_the_root_counts(cgroup, group, told, outer, inner, least):
    name = 'memory.limit_in_bytes' if group else 'memory.max'
    folder = cgroup / group / 'job' / 'step'
    folder.mkdir(parents=True)
    for place, gigabytes in ((folder.parent, outer), (folder, inner)):
        # Version 1 writes a number no machine has where there is no limit, version 2 a word.
        free = str(2**63 - 4096) if group else 'max'
        (place / name).write_text(f'{gigabytes}00000000\n' if gigabytes else f'{free}\n')
    (cgroup / group / name).write_text('900000000\n')
    own = cgroup / 'own'
    own.write_text(told)
    assert available_memory(cgroup=cgroup, own=own) == pytest.approx(0.9 * least * 0.1)


def test_the_smallest_of_group_and_slurm_wins(cgroup, monkeypatch):
    monkeypatch.setenv('SLURM_MEM_PER_NODE', '100')
    (cgroup / 'memory.max').write_text('90000000\n')
    assert available_memory(cgroup=cgroup) == pytest.approx(0.081)
    (cgroup / 'memory.max').write_text('9000000000\n')
    assert available_memory(cgroup=cgroup) == pytest.approx(0.09 * 1.048576)


def test_a_group_that_the_container_does_not_see_is_passed_over(cgroup):
    (cgroup / 'own').write_text('0::/../../job\n')
    (cgroup / 'memory.max').write_text('700000000\n')
    assert available_memory(cgroup=cgroup, own=cgroup / 'own') == pytest.approx(0.63)


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
