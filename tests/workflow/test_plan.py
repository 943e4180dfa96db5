"""What a run would do with each image, and when an output counts as done."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import pytest

from bids_distclip.acquisition.protocols import default_protocol
from bids_distclip.dataset.atomic import sha256
from bids_distclip.dataset.inputs import find_scans
from bids_distclip.dataset.outputs import bids_uri
from bids_distclip.errors import BadData, NoInput, ReadFailed, UsageError
from bids_distclip.quality.record import ImageRecord, read_record, record_path, write_record
from bids_distclip.settings import make_settings
from bids_distclip.volume.image import read_volume
from bids_distclip.workflow.plan import Plan, fingerprint, make_plan
from bids_distclip.workflow.targets import resolve_targets

MPRAGE = 'siemens-trio-mprage'


def plan_of(data, out, *, weights: str | None = 'w', **given) -> Plan:
    settings = make_settings({}, bids_dir=data, output_dir=out, **given)
    return make_plan(find_scans(data), settings=settings, targets=resolve_targets(settings), weights_sha256=weights)


def test_every_image_of_a_dataset_aims_at_the_protocol_of_its_family(make_dataset, tmp_path):
    plan = plan_of(make_dataset(1), tmp_path / 'out')
    assert [(job.suffix, job.state, job.desc) for job in plan.jobs] == [
        ('T1w', 'process', 'harmonized'), ('T2w', 'process', 'harmonized')]
    assert [job.output for job in plan.jobs] == [
        'sub-01/anat/sub-01_desc-harmonized_T1w.nii.gz', 'sub-01/anat/sub-01_desc-harmonized_T2w.nii.gz']
    assert plan.jobs[0].mask_output != plan.jobs[1].mask_output
    assert plan.jobs[0].spread_output != plan.jobs[1].spread_output


def test_an_image_of_another_family_is_skipped_with_its_reason(make_dataset, tmp_path):
    plan = plan_of(make_dataset(1), tmp_path / 'out', target_protocol=(MPRAGE,))
    assert [job.state for job in plan.jobs] == ['process', 'skip']
    assert '--synthesize' in plan.jobs[1].reason
    plan.check()


def test_when_no_image_has_a_target_the_plan_is_refused(make_dataset, tmp_path):
    plan = plan_of(make_dataset(1, suffixes=('T2w',)), tmp_path / 'out', target_protocol=(MPRAGE,))
    with pytest.raises(UsageError, match='--synthesize'):
        plan.check()


def test_synthesis_takes_the_suffix_of_the_target_and_never_overwrites_another_image(make_dataset, make_scan, tmp_path):
    data = make_dataset(1, suffixes=('T2w',))
    make_scan(data, subject='01', suffix='FLAIR', sidecar=False)
    plan = plan_of(data, tmp_path / 'out', target_protocol=(MPRAGE,), synthesize=True)
    states = {job.suffix: (job.state, job.output) for job in plan.jobs}
    assert states['FLAIR'] == ('process', 'sub-01/anat/sub-01_desc-synthetic_T1w.nii.gz')
    assert states['T2w'] == ('skip', None)


def test_an_image_whose_physics_contradict_its_name_is_aimed_by_its_physics_and_says_so(make_dataset, tmp_path):
    data = make_dataset(1, suffixes=('T2w',))
    (data / 'sub-01/anat/sub-01_T2w.json').write_text(
        '{"EchoTime": 0.12, "RepetitionTime": 9.0, "InversionTime": 2.5, "ScanningSequence": "SE\\\\IR"}')
    (job,) = plan_of(data, tmp_path / 'out').jobs
    assert job.family == 'FLAIR'
    assert job.warnings
    assert job.out_suffix == 'T2w'


@pytest.mark.parametrize('choice', ['warn', 'skip', 'error'])
def test_an_image_without_metadata_is_treated_as_asked(make_dataset, tmp_path, choice):
    data = make_dataset(1, suffixes=('T1w',))
    next(data.rglob('*_T1w.json')).unlink()
    if choice == 'error':
        with pytest.raises(BadData):
            plan_of(data, tmp_path / 'out', missing_metadata=choice)
        return
    plan = plan_of(data, tmp_path / 'out', missing_metadata=choice)
    assert plan.jobs[0].state == {'warn': 'process', 'skip': 'skip'}[choice]
    if choice == 'warn':
        assert plan.jobs[0].warnings
    else:
        with pytest.raises(NoInput):
            plan.check()


def test_the_fingerprint_changes_with_what_decides_the_output_and_with_nothing_else(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'

    def mark(**given) -> str:
        return plan_of(data, out, **given).jobs[0].fingerprint

    first = mark()
    assert first == mark(device='cpu', nprocs=1, mem_gb=3.0, work_dir=tmp_path, verbose=2)
    others = [mark(weights='v'), mark(bias_correction='none'), mark(target_protocol=(MPRAGE,)), mark(random_seed=1),
              mark(engine='identity'), mark(output_level='full'), mark(planes=1), mark(tissue_brightness='rendered')]
    make_scan(data, subject='01', suffix='T1w', seed=77)
    others.append(mark())
    assert len({first, *others}) == len(others) + 1


def test_a_fingerprint_does_not_depend_on_where_files_lie(make_dataset, tmp_path):
    data = make_dataset(1, suffixes=('T1w',))
    settings = make_settings({}, bids_dir=data, output_dir=tmp_path / 'out')
    (job,) = plan_of(data, tmp_path / 'out').jobs
    moved = make_settings({}, bids_dir='/elsewhere', output_dir='/other')
    target = next(t for t in resolve_targets(settings) if t.name == job.target)
    assert fingerprint(job, settings=settings, target=target, weights_sha256=None) == fingerprint(
        job, settings=moved, target=target, weights_sha256=None)


def written(job, out, *, sources: tuple[str, ...] = ()) -> None:
    """Write what a run would leave of a job: the image, its sidecar and its record."""
    path = out / job.output
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'image')
    receipt = {'Fingerprint': job.fingerprint, 'OutputSHA256': sha256(path)}
    named = [bids_uri(name) for name in sources or (job.relative,)]
    beside = path.with_name(path.name.replace('.nii.gz', '.json'))
    beside.write_text(json.dumps({'Sources': named, 'Harmonization': receipt}))
    state = 'synthetic' if job.synthesize else 'harmonized'
    record = ImageRecord({'path': job.relative}, state, output=job.output, fingerprint=job.fingerprint)
    write_record(record, path=record_path(out, job.subject, job.result))


@pytest.mark.parametrize('lost', [None, 'gone', 'broken', 'skipped', 'of other settings'])
def test_an_image_is_done_only_if_its_record_tells_of_it(make_dataset, tmp_path, lost):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'
    (job,) = plan_of(data, out).jobs
    written(job, out)
    path = record_path(out, '01', job.result)
    record = read_record(path)
    if lost == 'gone':
        path.unlink()
    elif lost == 'broken':
        path.write_text('{')
    elif lost == 'skipped':
        write_record(replace(record, status='skipped'), path=path)
    elif lost:
        write_record(replace(record, fingerprint='another'), path=path)
    assert plan_of(data, out).jobs[0].state == ('process' if lost else 'reuse')


def test_a_synthetic_image_has_a_record_beside_that_of_the_harmonized_one(make_dataset, tmp_path):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'
    to_t2w = {'target_protocol': (default_protocol('T2w').name,), 'synthesize': True}
    for given in ({}, to_t2w):
        written(plan_of(data, out, **given).jobs[0], out)
    assert [plan_of(data, out, **given).jobs[0].state for given in ({}, to_t2w)] == ['reuse', 'reuse']


def test_a_synthetic_image_never_replaces_one_that_an_earlier_run_made_of_another(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(1, suffixes=('T2w',)), tmp_path / 'out'
    make_scan(data, subject='01', suffix='FLAIR', sidecar=False)
    settings = make_settings({}, bids_dir=data, output_dir=out, target_protocol=(MPRAGE,), synthesize=True)

    def job_of(modality: str):
        plan = make_plan(find_scans(data, modalities=(modality,)), settings=settings, weights_sha256='w',
                         targets=resolve_targets(settings))
        return plan.jobs[0]

    first = job_of('T2w')
    written(first, out)
    assert job_of('T2w').state == 'reuse'
    second = job_of('FLAIR')
    assert second.state == 'skip'
    assert f'{first.output} is there, made of {first.relative}' in second.reason
    both = {job.suffix: job.state for job in plan_of(data, out, target_protocol=(MPRAGE,), synthesize=True).jobs}
    assert both == {'FLAIR': 'skip', 'T2w': 'reuse'}
    # Where its source is no longer part of the dataset, the image is of nobody's use.
    (data / first.relative).unlink()
    assert job_of('FLAIR').state == 'process'


def test_an_image_that_may_not_be_read_is_planned_and_left_to_fail_by_itself(make_dataset, tmp_path, monkeypatch):
    data = make_dataset(2, suffixes=('T1w',))
    loaded = nib.load

    def refusing(opened):
        def refuse(path, *how, **more):
            if str(path).endswith('sub-01_T1w.nii.gz'):
                raise PermissionError(13, 'Permission denied')
            return opened(path, *how, **more)

        return refuse

    def load(path, **more):
        # With indexed_gzip this would end the process.
        assert path.name != 'sub-01_T1w.nii.gz'
        return loaded(path, **more)

    monkeypatch.setattr(Path, 'open', refusing(Path.open))
    monkeypatch.setattr(builtins, 'open', refusing(open))
    monkeypatch.setattr(nib, 'load', load)
    first, second = plan_of(data, tmp_path / 'out').jobs
    assert [first.state, second.state] == ['process', 'process']
    assert second.shape == (36, 44, 40)
    with pytest.raises(ReadFailed, match='may not be read'):
        read_volume(Path(first.source))


def test_what_was_left_as_it_is_in_both_ways_has_a_name_in_each(make_dataset, tmp_path):
    data = make_dataset(1, suffixes=('T1w',))
    (plain,) = plan_of(data, tmp_path / 'out').jobs
    plan = plan_of(data, tmp_path / 'out', target_protocol=(default_protocol('T2w').name,), synthesize=True)
    assert plain.untouched_output == 'sub-01/anat/sub-01_desc-untouched_T1w.nii.gz'
    assert plan.jobs[0].untouched_output == 'sub-01/anat/sub-01_desc-untouchedToT2w_T1w.nii.gz'
    assert 'untouchedToT2w' in plan.descriptions()
