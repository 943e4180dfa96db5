"""The app as users call it, on phantom datasets, with an engine that needs no weights."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest

from bids_distclip.cli.app import main
from bids_distclip.dataset.validate import find_validator

FAST = (
    '--engine', 'identity', '--bias-correction', 'none', '--skip-bids-validation', '--device', 'cpu', '--nprocs', '2'
)


def call(*words: object) -> list[str]:
    return [sys.executable, '-m', 'bids_distclip', *map(str, words)]


def app(*words: object, **options) -> subprocess.CompletedProcess:
    """Run the app in a process of its own, as a user does."""
    return subprocess.run(call(*words), capture_output=True, text=True, check=False, **options)


def images(out: Path, pattern: str = '*_desc-harmonized_*.nii.gz') -> list[str]:
    return sorted(path.name for path in out.rglob(pattern))


def status(out: Path) -> dict:
    newest = max((out / 'logs').glob('*/status.json'), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(newest.read_text())


def test_a_dataset_is_harmonized_validates_and_is_not_done_again(make_dataset, tmp_path, complaints):
    data, out, work = make_dataset(2, session='a'), tmp_path / 'out', tmp_path / 'work'
    done = app(data, out, 'participant', 'group', *FAST, '-w', work)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == 'bids_distclip: finished, exit 0'
    assert images(out) == [f'sub-{s}_ses-a_desc-harmonized_{c}.nii.gz' for s in ('01', '02') for c in ('T1w', 'T2w')]
    assert images(out, '*_mask.nii.gz') == [
        f'sub-{s}_ses-a_desc-{mask}_mask.nii.gz' for s in ('01', '02') for mask in ('brainT2w', 'brain')]
    for name in ('sub-01.html', 'sub-02.html', 'group.html', 'group_images.tsv', 'dataset_description.json',
                 'descriptions.tsv', 'scans.json', 'sub-01/ses-a/sub-01_ses-a_scans.tsv'):
        assert (out / name).stat().st_size > 0, name
    told = status(out)
    assert (told['exit_code'], told['counts']) == (0, {'harmonized': 4})
    assert (out / 'logs' / told['run_id'] / 'config.toml').is_file()
    assert not list(work.rglob('*.npz'))
    assert complaints(out) == []

    before = {path: path.stat().st_mtime_ns for path in out.rglob('sub-*') if path.is_file()}
    again = app(data, out, 'participant', *FAST, '-w', work)
    assert again.returncode == 0, again.stdout + again.stderr
    assert 'Nothing to do' in again.stdout
    assert status(out)['counts'] == {'reused': 4}
    assert {path: path.stat().st_mtime_ns for path in out.rglob('sub-*') if path.is_file()} == before


def test_the_output_lies_on_the_grid_of_its_source_and_says_how_it_came_to_be(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'
    assert app(data, out, 'participant', *FAST).returncode == 0
    source = nib.load(data / 'sub-01/anat/sub-01_T1w.nii.gz')
    path = out / 'sub-01/anat/sub-01_desc-harmonized_T1w.nii.gz'
    made = nib.load(path)
    assert made.shape == source.shape
    assert np.array_equal(made.affine, source.affine)
    for code in ('qform_code', 'sform_code', 'xyzt_units'):
        assert made.header[code] == source.header[code]
    # The identity changes nothing but the scale.
    before, after = source.get_fdata().ravel(), made.get_fdata().ravel()
    assert np.corrcoef(before, after)[0, 1] > 0.999
    told = json.loads(path.with_name('sub-01_desc-harmonized_T1w.json').read_text())
    assert told['Sources'] == ['bids:raw:sub-01/anat/sub-01_T1w.nii.gz']
    assert told['SkullStripped'] is False
    assert told['SpatialReference'] == 'orig'
    block = told['Harmonization']
    assert block['Target']['Kind'] == 'protocol'
    assert block['SourceMetadata']['EchoTime'] == 0.003
    assert 'EchoTime' not in told
    assert {'Seed', 'Device', 'Versions', 'SourceSHA256', 'OutputSHA256', 'Fingerprint'} <= set(block)
    assert gzip.decompress(path.read_bytes())[:4]


def test_bad_images_are_told_with_their_codes_and_never_stop_the_good_ones(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(1, suffixes=('T1w', 'T2w')), tmp_path / 'out'
    four = make_scan(data, subject='02', suffix='T1w')
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((9, 9, 9, 3)).astype(np.float32), np.eye(4)), four)
    empty = make_scan(data, subject='03', suffix='T1w')
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), empty)
    cut = make_scan(data, subject='01', suffix='FLAIR')
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    done = app(data, out, 'participant', *FAST)
    assert done.returncode == 1, done.stdout + done.stderr
    assert images(out) == ['sub-01_desc-harmonized_T1w.nii.gz', 'sub-01_desc-harmonized_T2w.nii.gz']
    lines = [line for line in done.stdout.splitlines() if line.startswith('distclip: FAILED')]
    assert len(lines) == 3
    assert any(line.startswith('distclip: FAILED sub-02 (exit 65): sub-02_T1w.nii.gz') for line in lines)
    assert any(line.startswith('distclip: FAILED sub-03 (exit 65)') for line in lines)
    assert any(line.startswith('distclip: FAILED sub-01 (exit 74): sub-01_FLAIR.nii.gz') for line in lines)
    assert status(out)['counts'] == {'failed': 3, 'harmonized': 2}
    assert (out / 'sub-02.html').is_file()

    alone = app(data, out, 'participant', '--participant-label', '02', '03', *FAST)
    assert alone.returncode == 65


def test_a_killed_run_goes_on_where_it_stopped(make_dataset, tmp_path):
    data, out = make_dataset(4, suffixes=('T1w',)), tmp_path / 'out'
    words = call(data, out, 'participant', *FAST, '--nprocs', '1')
    quiet = {'stdout': subprocess.PIPE, 'stderr': subprocess.DEVNULL, 'text': True}
    with subprocess.Popen(words, start_new_session=True, **quiet) as run:
        deadline = time.monotonic() + 120
        while not any(line.startswith('[1/4]') for line in run.stdout) and time.monotonic() < deadline:
            pass
        os.killpg(run.pid, signal.SIGKILL)
    whole = images(out)
    assert whole, 'nothing was written before the end'
    for name in whole:
        nib.load(next(out.rglob(name))).get_fdata()
    again = app(data, out, 'participant', *FAST)
    assert again.returncode == 0, again.stdout + again.stderr
    counts = status(out)['counts']
    assert counts['reused'] >= 1
    assert sum(counts.values()) == 4
    assert len(images(out)) == 4


def test_a_run_that_is_told_to_end_ends_at_once_with_the_code_for_trying_again(make_dataset, tmp_path):
    data, out = make_dataset(4, suffixes=('T1w',)), tmp_path / 'out'
    plain = (*FAST, '--report-figures', 'none')
    words = call(data, out, 'participant', *plain, '--nprocs', '1')
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline().startswith('device:')
        while not images(out):
            time.sleep(0.05)
        workers = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGTERM)
        said, complained = run.communicate(timeout=60)
    assert run.returncode == 75, complained
    assert said.splitlines()[-1] == 'bids_distclip: finished, exit 75'
    assert 'run the same command again' in complained
    assert len(images(out)) < 4
    assert workers
    assert not psutil.wait_procs(workers, timeout=20)[1]
    assert app(data, out, 'participant', *plain).returncode == 0
    assert len(images(out)) == 4


#: Kills every worker that opens a file of this name, as the system does where memory runs out.
KILLER = """
import multiprocessing, os, signal, sys

def watch(event, args):
    if event == 'open' and str(args[0]).endswith('{name}') and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
"""


def test_an_image_that_kills_its_worker_is_told_and_takes_no_other_with_it(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(2), tmp_path / 'out'
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site/sitecustomize.py').write_text(KILLER.format(name='sub-01_T2w.nii.gz'))
    paths = os.pathsep.join([str(tmp_path / 'site'), os.environ.get('PYTHONPATH', '')])
    plain = (*FAST, '--report-figures', 'none')
    done = app(data, out, 'participant', 'group', *plain, env={**os.environ, 'PYTHONPATH': paths})
    assert done.returncode == 1, done.stdout + done.stderr
    assert status(out)['counts'] == {'failed': 1, 'harmonized': 3}
    (line,) = (line for line in done.stdout.splitlines() if line.startswith('distclip: FAILED'))
    assert line.startswith('distclip: FAILED sub-01 (exit 75): sub-01_T2w.nii.gz: The process that worked on it was')
    assert 'was killed' in (out / 'sub-01.html').read_text()
    table = {row['image'].rpartition('/')[2]: row['status'] for row in read_tsv(out / 'group_images.tsv')}
    assert table == {'sub-01_T1w.nii.gz': 'harmonized', 'sub-01_T2w.nii.gz': 'failed',
                     'sub-02_T1w.nii.gz': 'harmonized', 'sub-02_T2w.nii.gz': 'harmonized'}
    again = app(data, out, 'participant', *plain)
    assert again.returncode == 0, again.stdout + again.stderr
    assert status(out)['counts'] == {'reused': 3, 'harmonized': 1}
    assert 'was killed' not in (out / 'sub-01.html').read_text()


def test_a_run_for_other_images_erases_nothing_that_pages_tell(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(1), tmp_path / 'out'
    plain = (*FAST, '--report-figures', 'none')
    assert app(data, out, 'participant', *plain).returncode == 0
    assert app(data, out, 'participant', *plain, '--target-protocol', t2_protocol()).returncode == 0
    assert status(out)['counts'] == {'skipped': 1, 'reused': 1}
    assert app(data, out, 'participant', *plain, '--target-protocol', t2_protocol(), '--synthesize').returncode == 0
    assert status(out)['counts'] == {'synthetic': 1, 'reused': 1}
    done = app(data, out, 'participant', 'group', *plain)
    assert 'Nothing to do' in done.stdout
    rows = [(row['image'].rpartition('/')[2], row['status']) for row in read_tsv(out / 'group_images.tsv')]
    assert sorted(rows) == [('sub-01_T1w.nii.gz', 'harmonized'), ('sub-01_T1w.nii.gz', 'synthetic'),
                            ('sub-01_T2w.nii.gz', 'harmonized')]
    # What fails now is told, and that an image of other settings still lies there.
    make_scan(data, subject='01', suffix='T1w', seed=5)
    broken = data / 'sub-01/anat/sub-01_T1w.nii.gz'
    broken.write_bytes(broken.read_bytes()[:5000])
    assert app(data, out, 'participant', *plain).returncode == 1
    assert 'is not of this run: an earlier one made it' in (out / 'sub-01.html').read_text()


def read_tsv(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as stream:
        return list(csv.DictReader(stream, delimiter='\t'))


def test_two_runs_write_into_one_folder_at_once_and_nothing_is_lost(make_dataset, tmp_path, complaints):
    data, out, people = make_dataset(3, suffixes=('T1w',)), tmp_path / 'out', ('01', '02', '03')
    plain = (*FAST, '--report-figures', 'none')
    runs = [
        subprocess.Popen(
            call(data, out, 'participant', '--participant-label', *labels, *plain, '-w', tmp_path / labels[0]),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for labels in (people[:2], people[1:])
    ]
    said = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert images(out) == [f'sub-{person}_desc-harmonized_T1w.nii.gz' for person in people]
    assert app(data, out, 'group', *plain).returncode == 0
    rows = (out / 'group_images.tsv').read_text().splitlines()[1:]
    assert len(rows) == 3, rows
    for person in people:
        assert any(f'sub-{person}' in row or row.startswith(person) for row in rows), rows
        assert len((out / f'sub-{person}' / f'sub-{person}_scans.tsv').read_text().splitlines()) == 2
        assert (out / f'sub-{person}.html').stat().st_size > 0
    again = app(data, out, 'participant', *plain)
    assert 'Nothing to do' in again.stdout, again.stdout
    assert complaints(out) == []


def test_another_target_or_another_source_is_done_anew(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(2, suffixes=('T1w',)), tmp_path / 'out'
    assert app(data, out, 'participant', *FAST).returncode == 0
    make_scan(data, subject='02', suffix='T1w', seed=99)
    assert app(data, out, 'participant', *FAST).returncode == 0
    assert status(out)['counts'] == {'reused': 1, 'harmonized': 1}
    assert app(data, out, 'participant', *FAST, '--target-protocol', 'siemens-trio-mprage').returncode == 0
    assert status(out)['counts'] == {'harmonized': 2}


def test_a_target_image_serves_its_own_family_and_the_others_are_skipped(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(1), tmp_path / 'out'
    target = make_scan(tmp_path / 'elsewhere', subject='t', suffix='T1w', seed=7, gain=3)
    words = ('--engine', 'histogram', '--bias-correction', 'none', '--skip-bids-validation', '--device', 'cpu')
    done = app(data, out, 'participant', *words, '--target-image', target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert images(out) == ['sub-01_desc-harmonized_T1w.nii.gz']
    assert status(out)['counts'] == {'harmonized': 1, 'skipped': 1}
    made = nib.load(out / 'sub-01/anat/sub-01_desc-harmonized_T1w.nii.gz').get_fdata()
    mask = nib.load(out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz').get_fdata() > 0
    wanted = nib.load(target).get_fdata()
    source = nib.load(data / 'sub-01/anat/sub-01_T1w.nii.gz').get_fdata()
    mean = wanted[mask].mean()
    assert abs(made[mask].mean() - mean) < 0.2 * abs(source[mask].mean() - mean)


def test_another_family_is_synthesized_only_when_asked_for_and_validates(make_dataset, tmp_path, capsys, complaints):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'
    target = ('--target-protocol', t2_protocol())
    assert main([str(data), str(out), 'participant', *FAST, *target]) == 64
    assert '--synthesize' in capsys.readouterr().err
    done = app(data, out, 'participant', *FAST, *target, '--synthesize')
    assert done.returncode == 0, done.stdout + done.stderr
    assert images(out, '*_desc-synthetic_*.nii.gz') == ['sub-01_desc-synthetic_T2w.nii.gz']
    assert complaints(out) == []


def t2_protocol() -> str:
    from bids_distclip.acquisition.protocols import default_protocol

    return default_protocol('T2w').name


def test_a_dry_run_lists_every_file_with_its_reason_and_writes_nothing(make_dataset, make_scan, tmp_path, capsys):
    data, out = make_dataset(1), tmp_path / 'out'
    make_scan(data, subject='01', suffix='FLAIR', sidecar=False)
    (data / 'sub-01/anat/sub-01_UNIT1.nii.gz').write_bytes((data / 'sub-01/anat/sub-01_T1w.nii.gz').read_bytes())
    assert main([str(data), str(out), 'participant', '--dry-run', *FAST, '-m', 'T1w', 'FLAIR']) == 0
    told = capsys.readouterr().out
    assert 'harmonize sub-01/anat/sub-01_T1w.nii.gz -> sub-01/anat/sub-01_desc-harmonized_T1w.nii.gz' in told
    assert 'rejected  sub-01/anat/sub-01_T2w.nii.gz' in told
    assert 'rejected  sub-01/anat/sub-01_UNIT1.nii.gz' in told
    assert 'no metadata' in told
    assert '2 to harmonize, 0 done already, 0 skipped, 2 rejected' in told
    assert not out.exists()


@pytest.mark.parametrize(
    ('words', 'code'),
    [
        (['--participant-label', '99'], 18), (['--session-label', 'x'], 18), (['-m', 'PDw'], 18), (['-m', 'bold'], 64),
        (['--target-protocol', 'nonsense'], 64), (['--target-image', '/nowhere_T1w.nii.gz'], 64),
        (['--engine', 'nonsense'], 64), (['--weights', '/nowhere', '--engine', 'distclip'], 66),
        (['--derivatives', '/nowhere/fmriprep'], 64),
    ],
)
def test_a_run_that_cannot_start_says_why_and_ends_with_its_code(make_dataset, tmp_path, words, code, capsys):
    data = make_dataset(1, suffixes=('T1w',))
    assert main([str(data), str(tmp_path / 'out'), 'participant', *FAST, *words]) == code
    assert 'What to do' in capsys.readouterr().err


@pytest.mark.parametrize(('choice', 'code'), [('skip', 66), ('error', 65)])
def test_images_without_metadata_may_be_refused(make_dataset, tmp_path, choice, code):
    data = make_dataset(1, suffixes=('T1w',))
    next(data.rglob('*_T1w.json')).unlink()
    assert main([str(data), str(tmp_path / 'out'), 'participant', *FAST, '--missing-metadata', choice]) == code


def test_a_folder_without_images_of_a_known_kind_is_no_input(make_dataset, tmp_path):
    data = make_dataset(1, suffixes=('T1w',))
    image = next(data.rglob('*_T1w.nii.gz'))
    image.rename(image.with_name('sub-01_UNIT1.nii.gz'))
    assert main([str(data), str(tmp_path / 'out'), 'participant', *FAST]) == 66


def test_an_output_folder_that_cannot_be_made_is_told_before_anything_is_read(make_dataset, tmp_path, capsys):
    data = make_dataset(1, suffixes=('T1w',))
    (tmp_path / 'file').write_text('no folder')
    assert main([str(data), str(tmp_path / 'file' / 'out'), 'participant', *FAST]) == 73
    assert 'mount' in capsys.readouterr().err


@pytest.mark.skipif(find_validator() is None, reason='the BIDS validator is not installed')
def test_an_invalid_dataset_is_refused_unless_validation_is_skipped(make_dataset, tmp_path, capsys):
    data = make_dataset(1, suffixes=('T1w',))
    (data / 'dataset_description.json').unlink()
    fast = [word for word in FAST if word != '--skip-bids-validation']
    assert main([str(data), str(tmp_path / 'out'), 'participant', '--dry-run', *fast]) == 16
    assert '--skip-bids-validation' in capsys.readouterr().err
    assert main([str(data), str(tmp_path / 'out'), 'participant', '--dry-run', *FAST]) == 0


def test_the_group_level_says_so_where_there_is_nothing(make_dataset, tmp_path, capsys):
    assert main([str(make_dataset(1)), str(tmp_path / 'out'), 'group']) == 0
    assert 'nothing to gather' in capsys.readouterr().out


def test_a_card_that_is_not_there_ends_the_run_at_once(make_dataset, tmp_path, capsys):
    from bids_distclip.workflow.gpu import visible_cards

    if visible_cards():
        pytest.skip('this machine has a card')
    began = time.monotonic()
    assert main([str(make_dataset(1)), str(tmp_path / 'out'), 'participant', *FAST, '--device', 'cuda']) == 64
    assert time.monotonic() - began < 10
    assert '--device cpu' in capsys.readouterr().err


def test_pages_without_pictures_say_so_and_draw_none(make_dataset, tmp_path, capsys):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'
    words = [str(data), str(out), 'participant', *FAST, '--report-figures', 'none', '-w', str(tmp_path / 'work')]
    assert main(words) == 0
    page = (out / 'sub-01.html').read_text()
    assert 'No pictures were drawn' in page
    assert '<img' not in page
    assert [path.name for path in (out / 'sub-01' / 'figures').iterdir()] == ['sub-01_T1w_record.json']
    assert main([*words, '--report-viewer', 'niivue']) == 64
    assert '--report-figures none' in capsys.readouterr().err


def test_brain_masks_of_other_apps_are_used_and_those_that_cannot_be_are_told(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'
    make_scan(data, subject='01', suffix='T2w', size=6.0)
    source = nib.load(data / 'sub-01/anat/sub-01_T1w.nii.gz')
    mask = np.zeros(source.shape, np.uint8)
    mask[10:25, 12:30, 12:28] = 1
    folder = tmp_path / 'smriprep' / 'sub-01' / 'anat'
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image(mask, source.affine), folder / 'sub-01_desc-brain_mask.nii.gz')
    done = app(data, out, 'participant', *FAST, '-d', f'smriprep={tmp_path / "smriprep"}')
    assert done.returncode == 0
    said = 'The brain mask smriprep/sub-01/anat/sub-01_desc-brain_mask.nii.gz is not used'
    assert f'sub-01/anat/sub-01_T2w.nii.gz: {said}' in done.stderr
    assert 'sub-01/anat/sub-01_T1w.nii.gz: The brain mask' not in done.stderr
    assert said in (out / 'sub-01.html').read_text()
    written = nib.load(out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz').get_fdata()
    assert np.array_equal(written > 0, mask > 0)
