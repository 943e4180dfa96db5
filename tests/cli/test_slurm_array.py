"""The memory that a task of the Slurm array tells the app of, inside of a container too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bids_distclip.cli.app import read_settings

SCRIPT = Path(__file__).parents[2] / 'bids_app_spec' / 'slurm_array.sh'


@pytest.fixture
def task(tmp_path, stand_in):
    """Return a function that runs the first task with variables of Slurm, and returns the app's words."""
    (tmp_path / 'people.txt').write_text('01\n')

    def run(*words: str, **given: str) -> list[str]:
        environment = {'PATH': f'{tmp_path}/bin:/usr/bin:/bin', 'SLURM_ARRAY_TASK_ID': '1', **given}
        call = ['bash', str(SCRIPT), 'data', 'out', 'people.txt', *words]
        return subprocess.run(
            call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    return run


@pytest.mark.parametrize(('given', 'gigabytes'), [
    ({'SLURM_MEM_PER_NODE': '8000'}, 7.2),
    ({'SLURM_MEM_PER_CPU': '2000', 'SLURM_CPUS_ON_NODE': '3'}, 5.4),
    ({'SLURM_MEM_PER_NODE': '0'}, None),
    ({}, None),
])
def test_the_memory_that_slurm_gives_is_passed_on_as_an_option(task, given, gigabytes):
    assert read_settings(task(**given)).mem_gb == gigabytes


def test_what_the_user_says_of_memory_wins(task):
    assert read_settings(task('--mem', '3G', SLURM_MEM_PER_NODE='8000')).mem_gb == 3.0
