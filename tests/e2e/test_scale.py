"""Many people: time per person stays flat, in planning and through the array on a real Slurm (scripts/slurm-start).

PEOPLE is their number (24 by default), PER_TASK how many a task of the array takes (4):
``PEOPLE=1000 PER_TASK=20 pytest -s -m slurm tests/e2e/test_scale.py``. Processor time is compared, because it hardly
depends on what else the machine does; every step runs in the process of its task (nipype's plugin Linear), so that
the task's own time is all of it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SPEC = Path(__file__).parents[2] / 'bids_app_spec'
PEOPLE, PER_TASK = int(os.environ.get('PEOPLE', '24')), int(os.environ.get('PER_TASK', '4'))
#: Time per person may grow by this factor from few to all people before it counts as not flat.
FLAT = 1.5

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(shutil.which('sbatch') is None, reason='there is no Slurm here'),
]


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    """Return a folder that gets people: each a T1w of 22 × 27 × 25 voxels, and a mask as another app gives it."""
    folder = tmp_path_factory.mktemp('scale')
    (folder / 'linear.yaml').write_text('plugin: Linear\n')
    (folder / 'bin').mkdir()
    timed = folder / 'bin' / 'bids_distclip'
    timed.write_text(f'#!/bin/bash\nTIMEFORMAT="cpu %U %S"\ntime {sys.executable} -m bids_distclip "$@"\n')
    timed.chmod(0o755)
    return folder


def label(number: int) -> str:
    return f'{number:04d}'


def add_people(study: Path, numbers: range, *, write_root, write_scan, head) -> None:
    """Write the images and masks of more people."""
    write_root(study / 'data')
    for number in numbers:
        write_scan(study / 'data', subject=label(number), suffix='T1w', seed=number, gain=1 + number / 1000, size=8)
        _, brain, affine = head('T1w', seed=number, size=8)
        mask = study / 'masks' / f'sub-{label(number)}' / 'anat' / f'sub-{label(number)}_desc-brain_mask.nii.gz'
        mask.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(brain.astype(np.uint8), affine), mask)


def words(study: Path, out: str) -> list[str]:
    return [str(study / 'data'), str(study / out), 'participant', *options(study)]


def options(study: Path) -> list[str]:
    return ['--engine', 'identity', '--bias-correction', 'none', '--device', 'cpu', '--skip-bids-validation',
            '--report-figures', 'none', '--derivatives', f'masks={study / "masks"}',
            '--use-plugin', str(study / 'linear.yaml')]


def processor_seconds(call: list[str]) -> tuple[float, str]:
    """Return the processor time of a call, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, '-m', 'bids_distclip', *call], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout


def test_planning_takes_no_longer_per_person_when_there_are_more(study, make_root, make_scan, make_head):
    sizes = [PEOPLE // 4, PEOPLE]
    everybody, one, made = {}, {}, 0
    for size in sizes:
        add_people(study, range(made + 1, size + 1), write_root=make_root, write_scan=make_scan, head=make_head)
        made = size
        everybody[size], said = processor_seconds([*words(study, 'planned'), '--dry-run'])
        assert f'{size} to harmonize' in said
        one[size], said = processor_seconds([*words(study, 'planned'), '--dry-run', '--participant-label', '0002'])
        assert '1 to harmonize' in said
        print(f'{size} people: planned in {everybody[size]:.2f} s ({1000 * everybody[size] / size:.0f} ms each), '
              f'one of them in {one[size]:.2f} s')
    few, all_ = sizes
    assert everybody[all_] / all_ < FLAT * everybody[few] / few
    assert one[all_] < FLAT * one[few]


def test_the_last_tasks_of_the_array_take_no_longer_per_person_than_the_first(study):
    people = [label(number) for number in range(1, PEOPLE + 1)]
    tasks = [people[first:first + PER_TASK] for first in range(0, PEOPLE, PER_TASK)]
    (study / 'people.txt').write_text('\n'.join(' '.join(task) for task in tasks) + '\n')
    environment = {**os.environ, 'PATH': f'{study / "bin"}:{os.environ["PATH"]}'}
    began = time.monotonic()
    job = subprocess.run(
        ['sbatch', '--parsable', f'--array=1-{len(tasks)}', '--cpus-per-task=1', '--mem=1500M', SPEC / 'slurm_array.sh',
         study / 'data', study / 'out', study / 'people.txt', *options(study)],
        cwd=study, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    nodes = set()
    while queued := subprocess.run(['squeue', '-h', '-j', job, '-o', '%i %N'], capture_output=True, text=True,
                                   check=False).stdout.split():
        nodes |= {word for word in queued if word.startswith('node')}
        assert time.monotonic() - began < 60 + 60 * PEOPLE, 'the array does not end'
        time.sleep(1)
    wall = time.monotonic() - began

    logs = [(study / f'distclip_{job}_{number}.log').read_text() for number in range(1, len(tasks) + 1)]
    assert all('bids_distclip: finished, exit 0' in log for log in logs), [log for log in logs if 'exit 0' not in log]
    spent = [sum(map(float, re.search(r'^cpu (\S+) (\S+)$', log, re.M).groups())) for log in logs]
    each = [seconds / len(task) for seconds, task in zip(spent, tasks, strict=True)]
    part = max(1, len(each) // 4)
    first, last = statistics.median(each[:part]), statistics.median(each[-part:])
    print(f'{PEOPLE} people in {len(tasks)} tasks on {len(nodes)} nodes: {wall:.0f} s, {sum(spent):.0f} s of '
          f'processor; per person {first:.2f} s in the first quarter of the tasks, {last:.2f} s in the last')
    assert nodes == {'node1', 'node2'}
    written = {path.name[4:8] for path in (study / 'out').glob('sub-*/anat/*_desc-harmonized_T1w.nii.gz')}
    assert written == set(people)
    assert len(list((study / 'out').glob('sub-*.html'))) == PEOPLE
    counts = [json.loads(path.read_text())['counts'] for path in (study / 'out').glob('logs/*/status.json')]
    assert sorted(count['harmonized'] for count in counts) == sorted(len(task) for task in tasks)
    assert last < FLAT * first


def test_the_group_level_reads_everybody_once(study):
    seconds, _ = processor_seconds([str(study / 'data'), str(study / 'out'), 'group'])
    print(f'the group level over {PEOPLE} people took {seconds:.1f} s of processor')
    rows = (study / 'out' / 'group_images.tsv').read_text().splitlines()
    assert len(rows) == PEOPLE + 1
