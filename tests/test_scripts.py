"""What continuous integration and the image are made with: scripts that are there, say what they do, and do it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bids_distclip import __version__

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


CPU_WHEELS = 'https://download.pytorch.org/whl/cpu'


@pytest.fixture
def checkout(tmp_path):
    """Return a folder like a checkout that a release is made from, and a function that runs its scripts.

    docker, twine and python are stand-ins that note in ``calls`` what they were asked for and what they were sent.
    """
    folder, tools = tmp_path / 'checkout', tmp_path / 'tools'
    shutil.copytree(SCRIPTS, folder / 'scripts')
    (folder / 'bids_distclip').mkdir()
    for name in ('bids_distclip/__init__.py', 'CITATION.cff'):
        shutil.copy(ROOT / name, folder / name)
    (folder / 'CHANGES.md').write_text(f'## {__version__}\n')
    (folder / 'dist').mkdir()
    for name in (f'bids_distclip-{__version__}.tar.gz', f'bids_distclip-{__version__}-py3-none-any.whl'):
        (folder / 'dist' / name).touch()

    def stand_in(path: Path, text: str = '') -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/bash\necho "${{0##*/}} $*" >> {folder}/calls\n{text}')
        path.chmod(0o755)

    stand_in(tools / 'docker', f'case $1 in login) cat >> {folder}/calls ;; $DOCKER_FAILS) exit 1 ;; esac\n')
    stand_in(tools / 'python3')
    stand_in(folder / '.venv/bin/twine', f'echo "as $TWINE_USERNAME" >> {folder}/calls\n')
    stand_in(folder / '.venv/bin/python',
             f'[ "$3" = config ] && echo "$PIP_SAYS" || echo "index: $PIP_EXTRA_INDEX_URL" >> {folder}/calls\n')

    def run(script: str, *words: str, **environment: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        call = [str(folder / 'scripts' / script), *words]
        done = subprocess.run(call, capture_output=True, text=True, check=False,
                              env={'PATH': f'{tools}:/usr/bin:/bin', **environment})
        calls = folder / 'calls'
        return done, calls.read_text().splitlines() if calls.exists() else []

    return run


RELEASE = {'CIRCLE_TAG': f'v{__version__}', 'IMAGE_REPOSITORY': 'ghcr.io/lab/bids_distclip',
           'TWINE_PASSWORD': 'pypi-secret'}


def test_a_release_pushes_the_image_first_and_gives_passwords_by_standard_input_alone(checkout):
    done, calls = checkout('release', **RELEASE, DOCKER_USER='lab', DOCKER_PASSWORD='docker-secret')
    assert done.returncode == 0, done.stderr
    order = [call.split()[:2] for call in calls if call.startswith(('docker ', 'twine '))]
    pushes = [['docker', 'tag'], ['docker', 'push']] * 2
    assert order == [['docker', 'image'], ['docker', 'login'], *pushes, ['twine', 'upload']]
    login = calls.index('docker login --username lab --password-stdin ghcr.io')
    assert calls[login + 1] == 'docker-secret'
    assert f'docker push ghcr.io/lab/bids_distclip:{__version__}' in calls
    assert calls[-1] == 'as __token__'
    assert calls[-2].endswith(f'.whl dist/bids_distclip-{__version__}.tar.gz')
    assert 'secret' not in done.stdout + done.stderr + ''.join(calls[:login] + calls[login + 2:])


def test_a_release_to_docker_hub_names_no_registry_and_without_a_user_nobody_logs_in(checkout):
    _, calls = checkout('release', **RELEASE)
    assert not any('login' in call for call in calls)
    hub = RELEASE | {'IMAGE_REPOSITORY': 'lab/bids_distclip'}
    _, calls = checkout('release', **hub, DOCKER_USER='lab', DOCKER_PASSWORD='docker-secret')
    assert 'docker login --username lab --password-stdin' in calls


@pytest.mark.parametrize(('changed', 'said'), [
    ({'IMAGE_REPOSITORY': ''}, 'IMAGE_REPOSITORY'),
    ({'TWINE_PASSWORD': ''}, 'TWINE_PASSWORD'),
    ({'DOCKER_USER': 'lab'}, 'DOCKER_PASSWORD'),
    ({'DOCKER_FAILS': 'image'}, 'scripts/image-build'),
    ({'CIRCLE_TAG': 'v99.0.0'}, 'tag'),
])
def test_a_release_that_cannot_be_finished_sends_nothing(checkout, changed, said):
    done, calls = checkout('release', **RELEASE | changed)
    assert done.returncode in (64, 66)
    assert said in done.stderr
    assert not any(word in call for call in calls for word in ('push', 'login', 'twine'))


def test_a_dry_run_of_a_release_needs_no_credentials_and_calls_nothing(checkout):
    done, calls = checkout('release', '--dry-run', CIRCLE_TAG=f'v{__version__}')
    assert done.returncode == 0, done.stderr
    assert f'bids_distclip-{__version__}.tar.gz' in done.stdout
    assert not calls


def test_packages_are_not_uploaded_where_the_image_could_not_be_pushed(checkout):
    done, calls = checkout('release', **RELEASE, DOCKER_FAILS='push')
    assert done.returncode != 0
    assert not any('twine' in call for call in calls)


def test_the_place_of_torch_for_processors_reaches_the_build_of_the_image(checkout):
    _, calls = checkout('image-build', '--pull', TORCH_INDEX=CPU_WHEELS, VARIANT='cpu')
    assert f'--build-arg TORCH_INDEX={CPU_WHEELS} ' in calls[-1]
    assert calls[-1].endswith('-t bids_distclip --pull .')
    assert 'ARG TORCH_INDEX' in (ROOT / 'Dockerfile').read_text()
    _, calls = checkout('image-build')
    assert '--build-arg TORCH_INDEX= ' in calls[-1]


def test_continuous_integration_installs_torch_for_processors():
    assert CIRCLE['executors']['python']['environment']['PIP_EXTRA_INDEX_URL'] == CPU_WHEELS
    builds = [job for job in CIRCLE['jobs'].values() if 'scripts/image-build' in commands_of(job['steps'])]
    assert builds
    for job in builds:
        assert CIRCLE['executors'][job['executor']]['environment']['TORCH_INDEX'] == CPU_WHEELS


@pytest.mark.parametrize(('environment', 'index'), [
    ({'PIP_SAYS': "global.timeout='60'"}, CPU_WHEELS),
    ({'PIP_SAYS': "global.index-url='https://mirror.example/simple'"}, ''),
    ({'PIP_SAYS': "global.timeout='60'\n:env:.find-links='/wheels'"}, ''),
    ({'PIP_EXTRA_INDEX_URL': ''}, ''),
    ({'PIP_EXTRA_INDEX_URL': 'https://mirror.example/torch'}, 'https://mirror.example/torch'),
])
def test_setup_looks_for_torch_for_processors_unless_pip_was_told_of_other_places(checkout, environment, index):
    done, calls = checkout('setup', 'test', 'docs', **environment)
    assert done.returncode == 0, done.stderr
    assert calls[-2:] == ['python -m pip install -q -c constraints-cpu.txt -e .[test,docs]', f'index: {index}']


def ablations(tmp_path: Path, *names: str) -> subprocess.CompletedProcess:
    """Run the script with a training that writes down what it was asked for, and makes a card."""
    trainer = tmp_path / 'bin' / 'distclip'
    trainer.parent.mkdir(exist_ok=True)
    trainer.write_text(
        '#!/bin/sh\necho "$@"\nwhile [ "$1" != --export ]; do shift; done\nmkdir -p "$2"\n: > "$2/model_card.json"\n'
    )
    trainer.chmod(0o755)
    return subprocess.run(
        [SCRIPTS / 'ablations', 'labels', tmp_path / 'out', *names], capture_output=True, text=True, check=False,
        env={**os.environ, 'PATH': f'{trainer.parent}:{os.environ["PATH"]}', 'STEPS': '7'},
    )


def test_every_ablation_is_trained_once_for_as_many_steps_with_a_flag_of_its_own(tmp_path):
    from bids_distclip.cli.toolbox import build_parser

    lines = ablations(tmp_path).stdout.splitlines()
    parsed = [vars(build_parser('train').parse_args(line.split())) for line in lines]
    assert len(parsed) == 10
    assert {options['steps'] for options in parsed} == {7}
    whole = parsed[0]
    changed = [{k for k in whole if options[k] != whole[k]} - {'out', 'export'} for options in parsed]
    assert [len(names) for names in changed] == [0] + 9 * [1]
    assert len({tuple((k, options[k]) for k in names) for options, names in zip(parsed, changed, strict=True)}) == 10
    assert ablations(tmp_path, 'adain').stdout == 'adain: trained already\n'


def test_an_ablation_that_is_not_known_is_told(tmp_path):
    done = ablations(tmp_path, 'no-brain')
    assert done.returncode == 64
    assert 'no ablation no-brain' in done.stderr
