"""Brain masks of other apps."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.dataset.inputs import find_scans
from bids_distclip.dataset.masks import MaskChoice, find_brain_mask


def mask(path, *, affine=None, shape=(4, 4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, dtype=np.uint8), np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def scan(two):
    return next(s for s in find_scans(two, participants='02').scans if 'run-01' in s.relative)


def find(scan, *roots):
    return find_brain_mask(scan, list(roots))


def test_the_most_specific_mask_on_the_same_grid_is_taken(scan, tmp_path):
    general = mask(tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_desc-brain_mask.nii.gz')
    assert find_brain_mask(scan, {'d': str(tmp_path / 'd')}).path == general
    own = mask(tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_acq-hi_run-01_desc-brain_mask.nii.gz')
    mask(tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_acq-hi_run-02_desc-brain_mask.nii.gz')
    assert find(scan, tmp_path / 'd') == MaskChoice(own)


@pytest.mark.parametrize(
    'name', ['sub-02_space-MNI_desc-brain_mask', 'sub-02_desc-head_mask', 'sub-02_run-02_desc-brain_mask']
)
def test_masks_of_other_spaces_kinds_and_runs_do_not_fit_and_are_not_told_of(scan, tmp_path, name):
    mask(tmp_path / 'd' / 'sub-02' / 'anat' / f'{name}.nii.gz')
    assert find(scan, tmp_path / 'd') == MaskChoice()


@pytest.mark.parametrize(('given', 'said'), [
    ({'affine': np.diag([2, 1, 1, 1])}, 'are not those of the image'),
    ({'affine': nib.affines.from_matvec(np.eye(3), [0.3, 0, 0])}, 'are not those of the image'),
    ({'shape': (4, 4, 5)}, 'are not those of the image'),
    (None, 'cannot be read'),
])
def test_a_mask_on_another_grid_or_a_broken_one_is_named_with_the_reason(scan, tmp_path, given, said):
    path = tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_desc-brain_mask.nii.gz'
    mask(path, **(given or {}))
    if given is None:
        path.write_bytes(b'broken')
    found = find(scan, tmp_path / 'd')
    assert found.path is None
    (warning,) = found.warnings
    assert 'd/sub-02/anat/sub-02_desc-brain_mask.nii.gz' in warning
    assert said in warning


def test_a_mask_that_datalad_has_not_fetched_is_named_with_the_command_to_type(scan, tmp_path):
    folder = tmp_path / 'd' / 'sub-02' / 'anat'
    folder.mkdir(parents=True)
    (folder / 'sub-02_desc-brain_mask.nii.gz').symlink_to('../../.git/annex/objects/k')
    (warning,) = find(scan, tmp_path / 'd').warnings
    assert 'datalad get sub-02/anat/sub-02_desc-brain_mask.nii.gz' in warning


def test_nothing_is_said_of_an_unusable_mask_where_another_can_be_used(scan, tmp_path):
    mask(tmp_path / 'a' / 'sub-02' / 'anat' / 'sub-02_run-01_desc-brain_mask.nii.gz', shape=(4, 4, 5))
    good = mask(tmp_path / 'b' / 'sub-02' / 'anat' / 'sub-02_desc-brain_mask.nii.gz')
    assert find(scan, tmp_path / 'a', tmp_path / 'b') == MaskChoice(good)


@pytest.mark.parametrize(('sources', 'told'), [
    (['bids:raw:sub-02/anat/sub-02_T1w.nii.gz'], 1), (['bids:raw:sub-02/anat/sub-02_T2w.nii.gz'], 0), (None, 1),
])
def test_the_mask_of_another_suffix_is_not_told_of_where_its_sidecar_says_so(scan, tmp_path, sources, told):
    path = mask(tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_desc-brain_mask.nii.gz', shape=(5, 5, 5))
    path.with_name('sub-02_desc-brain_mask.json').write_text(json.dumps({'Sources': sources} if sources else {}))
    assert len(find(scan, tmp_path / 'd').warnings) == told


def test_an_image_that_cannot_be_read_is_not_told_of_its_masks(scan, tmp_path):
    mask(tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_desc-brain_mask.nii.gz')
    scan.path.write_bytes(b'broken')
    assert find(scan, tmp_path / 'd') == MaskChoice()


@pytest.mark.parametrize(('sources', 'used'), [
    (['bids:raw:sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz'], True),
    (['bids:raw:sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz'], False),
    # The mean of all sessions, and what was made of it.
    (['sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz', 'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz'], True),
    (['bids::sub-01/anat/sub-01_desc-preproc_T1w.nii.gz'], True),
    (['bids::sub-01/ses-b/anat/sub-01_ses-b_desc-preproc_T1w.nii.gz'], False),
    (['bids:raw:sub-01/ses-a/anat/sub-01_ses-a_run-02_T1w.nii.gz'], False),
    (['bids:raw:sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz'], True),
    (['bids:raw:sub-01/ses-b/anat/sub-01_ses-b_T2w.nii.gz'], False),
    (None, True),
])
def test_a_mask_without_a_session_is_that_of_the_images_its_sidecar_names(two, tmp_path, sources, used):
    (scan,) = (s for s in find_scans(two, participants='01').scans if s.relative.endswith('sub-01_ses-a_T1w.nii.gz'))
    path = mask(tmp_path / 'd' / 'sub-01' / 'anat' / 'sub-01_desc-brain_mask.nii.gz')
    path.with_name('sub-01_desc-brain_mask.json').write_text(json.dumps({'Sources': sources} if sources else {}))
    found = find(scan, tmp_path / 'd')
    assert (found.path == path) == used
    if not used and 'T1w' in sources[0]:
        assert 'made of other images' in found.warnings[0]
