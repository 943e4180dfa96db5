"""Brain masks of other apps, from the plan to the prepared image."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.dataset.inputs import find_scans
from bids_distclip.settings import make_settings
from bids_distclip.volume.prepared import Prepared
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.plan import make_plan
from bids_distclip.workflow.products import write_failure
from bids_distclip.workflow.steps import prepare_image
from bids_distclip.workflow.targets import resolve_targets


@pytest.fixture
def planned(make_dataset, tmp_path):
    """Return a function that plans one T1w, turned to other axes, with a mask in a derivative dataset."""
    data = make_dataset(1, suffixes=('T1w',))
    path = data / 'sub-01' / 'anat' / 'sub-01_T1w.nii.gz'
    straight = nib.load(path)
    mask = np.zeros(straight.shape, np.uint8)
    # No turn of the axes leaves this where it is.
    mask[8:22, 12:30, 10:28] = 1
    mask[22:27, 14:20, 12:16] = 1
    mask = nib.Nifti1Image(mask, straight.affine)

    def make(axes: str, *, mask: nib.Nifti1Image = mask):
        there = nib.orientations.axcodes2ornt(axes)
        turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(straight.affine), there)
        # Read whole before it is written over.
        source = nib.Nifti1Image(np.asarray(straight.dataobj), straight.affine).as_reoriented(turn)
        source.header.set_xyzt_units('mm', 'sec')
        nib.save(source, path)
        folder = tmp_path / 'smriprep' / 'sub-01' / 'anat'
        folder.mkdir(parents=True)
        nib.save(mask, folder / 'sub-01_desc-brain_mask.nii.gz')
        settings = make_settings({}, bids_dir=data, output_dir=tmp_path / 'out', engine='identity',
                                 bias_correction='none', derivatives={'smriprep': str(tmp_path / 'smriprep')})
        targets = resolve_targets(settings)
        plan = make_plan(find_scans(data), settings=settings, targets=targets, weights_sha256=None)
        run = Run('r', settings, tmp_path / 'work', targets, ())
        run.work.mkdir()
        return run, plan, mask

    return make


def prepared(run, job) -> Prepared:
    return Prepared.load(prepare_image(str(run.save()), job_file=str(job.save(run.work / 'jobs'))))


@pytest.mark.parametrize('axes', ['PIR', 'LAS', 'RAS', 'ASL'])
def test_a_mask_that_was_turned_to_ras_lies_in_an_image_of_other_axes_where_it_lay(planned, axes):
    run, plan, mask = planned(axes)
    (job,) = plan.jobs
    assert not job.warnings
    ready = prepared(run, job)
    assert ready.brain_from == 'derivatives'
    assert nib.orientations.aff2axcodes(ready.volume.affine) == tuple(axes)
    voxels = np.argwhere(np.ones(ready.brain.shape))
    world = nib.affines.apply_affine(ready.volume.affine, voxels)
    i, j, k = np.rint(nib.affines.apply_affine(np.linalg.inv(mask.affine), world)).astype(int).T
    assert np.array_equal(ready.brain[tuple(voxels.T)], np.asarray(mask.dataobj)[i, j, k] > 0)


def test_a_mask_on_the_grid_of_the_source_is_taken_as_it_is(planned, tmp_path):
    run, plan, _ = planned('PIR')
    source = nib.load(plan.jobs[0].source)
    own = nib.Nifti1Image(np.zeros(source.shape, np.uint8), source.affine)
    own.dataobj[10:20, 8:25, 5:20] = 1
    nib.save(own, tmp_path / 'smriprep' / 'sub-01' / 'anat' / 'sub-01_desc-brain_mask.nii.gz')
    assert np.array_equal(prepared(run, plan.jobs[0]).brain, np.asarray(own.dataobj) > 0)


def test_a_mask_that_cannot_be_used_is_named_in_plan_and_record(planned):
    other = nib.Nifti1Image(np.ones((20, 20, 20), np.uint8), np.diag([8.0, 8, 8, 1]))
    run, plan, _ = planned('PIR', mask=other)
    (job,) = plan.jobs
    assert job.brain_mask is None
    assert 'smriprep/sub-01/anat/sub-01_desc-brain_mask.nii.gz is not used' in plan.describe()
    write_failure(run, job=job, error=KeyError('x'))
    record = (run.output_dir / 'sub-01' / 'figures' / 'sub-01_T1w_record.json').read_text()
    assert 'smriprep/sub-01/anat/sub-01_desc-brain_mask.nii.gz is not used' in record


def test_the_mask_is_part_of_what_decides_whether_an_output_is_done(planned):
    run, plan, _ = planned('PIR')
    without = run.settings.model_copy(update={'derivatives': {}})
    again = make_plan(find_scans(run.settings.bids_dir), settings=without, targets=run.targets, weights_sha256=None)
    assert again.jobs[0].fingerprint != plan.jobs[0].fingerprint
