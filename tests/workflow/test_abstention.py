"""An image whose result cannot be trusted: the source is passed through, and everything says why."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.dataset.atomic import sha256
from bids_distclip.dataset.inputs import find_scans
from bids_distclip.dataset.outputs import write_dataset_files
from bids_distclip.dataset.validate import check_dataset, find_validator
from bids_distclip.harmonizers.base import Harmonized, Target
from bids_distclip.quality import trust
from bids_distclip.quality.record import read_record, record_path
from bids_distclip.quality.trust import Limit
from bids_distclip.reports.participant import build_page
from bids_distclip.settings import make_settings
from bids_distclip.volume.image import read_volume
from bids_distclip.volume.prepared import prepare
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.plan import make_plan
from bids_distclip.workflow.products import write_products
from bids_distclip.workflow.targets import resolve_targets

NEVER = Limit('change', ('residual',), 'Everything is too much', 'made up', most=-1.0)
ALWAYS = Limit('change', ('residual',), 'Nothing is too much', 'made up', most=1e9)


@pytest.fixture
def made(make_dataset, make_head, tmp_path, monkeypatch):
    """Write the products of one image with a limit in force, and return run, job and record; may be called again."""
    data = make_dataset(1, suffixes=('T1w',))

    def make(limit: Limit, **given):
        monkeypatch.setattr(trust, 'limits', lambda: (limit,))
        settings = make_settings({}, bids_dir=data, output_dir=tmp_path / 'out', engine='identity', **given)
        targets = resolve_targets(settings)
        (job,) = make_plan(find_scans(data), settings=settings, targets=targets, weights_sha256='w').jobs
        if job.state == 'reuse':
            return None, job, None
        run = Run('r', settings, tmp_path / 'work', targets, ())
        source = prepare(read_volume(job.source), acquisition=Acquisition.from_dict(job.acquisition), family='T1w',
                         bias_correction='none', brain=make_head('T1w', seed=1)[1])
        result = Harmonized((source.volume.data * 2).astype(np.float32), None, {'engine': 'distclip'})
        target = Target('protocol', str(job.target), 'T1w')
        return run, job, write_products(run, job=job, source=source, result=result, target=target)

    return make


def files(out) -> set[str]:
    return {path.name for path in (out / 'sub-01' / 'anat').iterdir()}


def test_the_source_is_passed_through_with_its_values_and_the_reason_in_its_sidecar_and_validates(made):
    run, job, record = made(NEVER)
    path = run.output_dir / job.untouched_output
    assert path.name == 'sub-01_desc-untouched_T1w.nii.gz'
    given, kept = nib.load(job.source), nib.load(path)
    assert np.array_equal(np.asarray(given.dataobj), np.asarray(kept.dataobj))
    assert np.array_equal(given.affine, kept.affine)
    told = json.loads((path.parent / 'sub-01_desc-untouched_T1w.json').read_text())['Harmonization']
    assert told['Abstained'][0].startswith('Everything is too much (size of the change ')
    assert told['OutputSHA256'] == sha256(path)
    assert not any('desc-harmonized' in name for name in files(run.output_dir))
    assert record.status == 'abstained'
    assert record.output == job.untouched_output
    if find_validator():
        write_dataset_files(run.output_dir, bids_dir=run.settings.bids_dir)
        found = check_dataset(run.output_dir)
        assert found.ran
        assert [issue.line() for issue in (*found.errors, *found.elsewhere)] == []


def test_the_page_and_the_table_say_that_and_why(made):
    run, _, _ = made(NEVER)
    stored = read_record(record_path(run.output_dir, '01', 'sub-01_T1w'))
    assert stored.status == 'abstained'
    page = build_page(run.output_dir, '01', [stored]).read_text()
    assert 'Abstained' in page
    assert 'Everything is too much' in page
    table = (run.output_dir / 'sub-01' / 'sub-01_scans.tsv').read_text()
    assert 'desc-untouched' in table
    assert 'abstained' in table


def test_a_warning_writes_the_result_and_says_why_it_is_doubtful(made):
    run, job, record = made(NEVER, on_doubt='warn')
    assert record.status == 'harmonized'
    assert any('Everything is too much' in warning for warning in record.warnings)
    assert (run.output_dir / job.output).exists()
    assert not any('desc-untouched' in name for name in files(run.output_dir))


def test_within_the_limits_nothing_is_said(made):
    run, job, record = made(ALWAYS)
    assert record.status == 'harmonized'
    assert not any('too much' in warning for warning in record.warnings)
    assert (run.output_dir / job.output).exists()


def test_an_abstention_is_not_repeated_and_another_choice_takes_its_place(made):
    run, _, _ = made(NEVER)
    _, job, _ = made(NEVER)
    assert job.state == 'reuse'
    assert job.output == job.untouched_output
    _, job, record = made(NEVER, on_doubt='warn')
    assert record.status == 'harmonized'
    assert not any('desc-untouched' in name for name in files(run.output_dir))
    table = (run.output_dir / 'sub-01' / 'sub-01_scans.tsv').read_text()
    assert 'desc-untouched' not in table
    assert 'desc-harmonized' in table
