"""The app on a real Slurm, in both ways; started with scripts/slurm-start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bids_distclip.workflow.gpu import visible_cards

SPEC = Path(__file__).parents[2] / 'bids_app_spec'
FAST = ('--engine', 'identity', '--bias-correction', 'none', '--device', 'cpu', '--skip-bids-validation')

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(shutil.which('sbatch') is None, reason='there is no Slurm here'),
]


#: Kills every job that opens the first person's image, as Slurm does where memory runs out.
KILLER = """
import os, signal, sys

def watch(event, args):
    if event == 'open' and str(args[0]).endswith('sub-01_T1w.nii.gz') and 'SLURM_JOB_ID' in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
"""


def call(words, **options) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def people_of(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob('sub-*/anat/*_desc-harmonized_T1w.nii.gz'))


def test_nipypes_plugin_runs_every_step_as_a_job_of_its_own(make_dataset, tmp_path):
    data, out, plugin = make_dataset(2, suffixes=('T1w',)), tmp_path / 'out', tmp_path / 'plugin.yaml'
    plugin.write_text('plugin: SLURM\nplugin_args: {sbatch_args: "--mem=1500M --cpus-per-task=1"}\n')
    environment = {key: value for key, value in os.environ.items() if key != 'LOGNAME'}
    first = call(['squeue', '-h', '-t', 'all', '-o', '%i'])
    words = [data, out, 'participant', '--use-plugin', plugin, '-w', tmp_path / 'work', *FAST]
    call([sys.executable, '-m', 'bids_distclip', *words], env=environment, timeout=1500)
    assert people_of(out) == ['sub-01_desc-harmonized_T1w.nii.gz', 'sub-02_desc-harmonized_T1w.nii.gz']
    jobs = set(call(['squeue', '-h', '-t', 'all', '-o', '%i']).split()) - set(first.split())
    nodes = set(call(['squeue', '-h', '-t', 'all', '-o', '%N', '-j', ','.join(jobs)]).split())
    assert len(jobs) >= 8
    assert nodes == {'node1', 'node2'}


def test_only_the_step_that_harmonizes_asks_for_a_card_and_the_submitting_machine_needs_none(make_dataset, tmp_path):
    data, out, plugin = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out', tmp_path / 'plugin.yaml'
    plugin.write_text('plugin: SLURM\nplugin_args: {sbatch_args: "--mem=1500M --cpus-per-task=1"}\n')
    first = set(call(['squeue', '-h', '-t', 'all', '-o', '%i']).split())
    words = [data, out, 'participant', '--use-plugin', plugin, '-w', tmp_path / 'work', *FAST, '--device', 'cuda']
    done = subprocess.run([sys.executable, '-m', 'bids_distclip', *map(str, words)], capture_output=True, text=True,
                          check=False, timeout=1500)
    listed = [line.split() for line in call(['squeue', '-h', '-t', 'all', '-o', '%i %j %b']).splitlines()]
    asked = {name.partition('.')[0]: gres for job, name, gres in listed if job not in first}
    assert {name for name, gres in asked.items() if 'gpu:1' in gres} == {'harmonize_sub_01_T1w'}
    assert 'prepare_sub_01_T1w' in asked
    assert 'of the card that the scheduler gives to each job' in done.stdout
    if visible_cards():
        assert done.returncode == 0, done.stdout
        assert people_of(out) == ['sub-01_desc-harmonized_T1w.nii.gz']
        return
    # The stand-in for a card is none that torch could compute on, and the job says so.
    assert done.returncode == 64, done.stdout + done.stderr
    status = json.loads(next(out.glob('logs/*/status.json')).read_text())
    assert 'torch sees no such card' in status['images'][0]['reason']


def test_the_array_harmonizes_everybody_into_one_folder_at_once(make_dataset, tmp_path):
    data, out, people = make_dataset(4, suffixes=('T1w',)), tmp_path / 'out', tmp_path / 'people.txt'
    people.write_text('01\n02\n03\n04\n')
    environment = {**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    job = call(['sbatch', '--parsable', '--array=1-4', '--cpus-per-task=1', '--mem=1500M', SPEC / 'slurm_array.sh',
                data, out, people, *FAST], cwd=tmp_path, env=environment).strip()
    deadline = time.monotonic() + 1500
    while call(['squeue', '-h', '-j', job]).strip() and time.monotonic() < deadline:
        time.sleep(1)
    logs = [path.read_text() for path in sorted(tmp_path.glob(f'distclip_{job}_*.log'))]
    assert len(logs) == 4
    assert all(log.splitlines()[-1] == 'bids_distclip: finished, exit 0' for log in logs), logs
    assert len(people_of(out)) == 4
    states = [json.loads(path.read_text())['counts'] for path in out.glob('logs/*/status.json')]
    assert states == [{'harmonized': 1}] * 4
    assert (out / 'dataset_description.json').stat().st_size > 0
    assert len(list(out.glob('sub-*.html'))) == 4


def test_a_job_that_is_killed_costs_its_own_image_alone(make_dataset, tmp_path):
    data, out, plugin = make_dataset(2, suffixes=('T1w',)), tmp_path / 'out', tmp_path / 'plugin.yaml'
    plugin.write_text('plugin: SLURM\nplugin_args: {sbatch_args: "--mem=1500M --cpus-per-task=1"}\n')
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site/sitecustomize.py').write_text(KILLER)
    paths = os.pathsep.join([str(tmp_path / 'site'), os.environ.get('PYTHONPATH', '')])
    words = [data, out, 'participant', '--use-plugin', plugin, '-w', tmp_path / 'work', *FAST]
    done = subprocess.run([sys.executable, '-m', 'bids_distclip', *map(str, words)], capture_output=True, text=True,
                          check=False, timeout=1500, env={**os.environ, 'PYTHONPATH': paths})
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'FAILED sub-01 (exit 75): sub-01_T1w.nii.gz: The process that worked on it was killed' in done.stdout
    assert people_of(out) == ['sub-02_desc-harmonized_T1w.nii.gz']
    assert 'was killed' in (out / 'sub-01.html').read_text()
