"""What continuous integration and the image are made with: scripts that are there, say what they do, and do it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / 'scripts'
CIRCLE = yaml.safe_load((ROOT / '.circleci' / 'config.yml').read_text())


def commands_of(steps: list) -> list[str]:
    """Return the shell commands among the steps of a job."""
    runs = [step['run'] for step in steps if isinstance(step, dict) and 'run' in step]
    return [run if isinstance(run, str) else run['command'] for run in runs]


def steps_of_all_jobs() -> list[tuple[str, str]]:
    parts = {**CIRCLE['jobs'], **CIRCLE['commands']}
    return [(name, command) for name, part in parts.items() for command in commands_of(part['steps'])]


def jobs_of(workflow: str) -> set[str]:
    return {name for job in CIRCLE['workflows'][workflow]['jobs'] for name in ([job] if isinstance(job, str) else job)}


@pytest.mark.parametrize(('job', 'command'), steps_of_all_jobs())
def test_every_command_of_continuous_integration_is_one_script_of_the_repository(job, command):
    words = [word for word in command.split() if not re.fullmatch(r'[A-Z_]+=\S+', word)]
    script = ROOT / words[0]
    assert script.parent == SCRIPTS, f'{job}: {command}'
    assert os.access(script, os.X_OK)
    assert not set(command) & set(';&|\n')


def test_every_job_is_in_a_workflow_and_a_release_waits_for_all_that_run_on_a_commit():
    commit = jobs_of('every-commit')
    assert commit | jobs_of('weekly') == set(CIRCLE['jobs'])
    release = next(job['release'] for job in CIRCLE['workflows']['every-commit']['jobs'] if 'release' in job)
    assert set(release['requires']) == commit - {'release'}
    assert release['filters']['branches'] == {'ignore': '/.*/'}
    pattern = release['filters']['tags']['only'].strip('/')
    assert re.search(pattern, 'v0.1.0')
    assert not re.search(pattern, 'v0.1.0-rc')


@pytest.mark.parametrize('script', sorted(SCRIPTS.iterdir()), ids=lambda path: path.name)
def test_every_script_can_be_run_and_says_what_it_is_for(script):
    assert os.access(script, os.X_OK)
    first, second = script.read_text().splitlines()[:2]
    assert first.startswith('#!/usr/bin/env ')
    assert re.match(r'(# |""")[A-Z].{20}', second)


def requirements(variant: str) -> subprocess.CompletedProcess:
    call = [sys.executable, SCRIPTS / 'image-requirements', variant, ROOT]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_one_argument_makes_the_image_for_processors_or_for_cards():
    processors, cards = (requirements(variant).stdout.splitlines() for variant in ('cpu', 'cuda'))
    assert 'torch>=2.4' in cards
    assert processors == [*cards, f'-c {ROOT / "constraints-cpu.txt"}']
    refused = requirements('rocm')
    assert refused.returncode != 0
    assert 'cpu or cuda' in refused.stderr


@pytest.fixture
def environment(tmp_path):
    """Return a folder like a virtual environment, with a library whose symbols can be removed."""
    site = tmp_path / 'lib' / 'python3.11' / 'site-packages'
    for name in ('numpy/core.py', 'numpy/tests/test_core.py', 'numpy/core.c', 'torch/include/torch.h', 'torch/nn.py',
                 'pip/main.py', 'skimage/data/brain.png'):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text('x = 1\n')
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'pip3').touch()
    (tmp_path / 'tools').mkdir()
    # Stands in for binutils: notes what it is asked to strip.
    strip = tmp_path / 'tools' / 'strip'
    strip.write_text(f'#!/bin/sh\necho "$2" >> {tmp_path}/stripped\n')
    strip.chmod(0o755)
    return tmp_path


def test_the_image_keeps_what_a_run_reads_and_nothing_else(environment):
    path = f'{environment / "tools"}:{os.environ["PATH"]}'
    call = [sys.executable, SCRIPTS / 'image-slim', environment]
    subprocess.run(call, capture_output=True, check=True, env={**os.environ, 'PATH': path})
    site = environment / 'lib' / 'python3.11' / 'site-packages'
    left = {file.relative_to(site).as_posix() for file in site.rglob('*') if file.is_file()}
    assert left == {'numpy/core.py', 'torch/nn.py'}
    assert not list((environment / 'bin').iterdir())
    stripped = (environment / 'stripped').read_text().splitlines()
    assert [Path(line).name for line in stripped] == ['libtorch_cpu.so', 'libtorch_python.so']
