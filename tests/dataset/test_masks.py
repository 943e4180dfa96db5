"""Brain masks of other apps."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.dataset.inputs import find_scans
from bids_distclip.dataset.masks import find_brain_mask


def mask(path, *, affine=None, shape=(4, 4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, dtype=np.uint8), np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def scan(two):
    return next(s for s in find_scans(two, participants='02').scans if 'run-01' in s.relative)


def test_the_most_specific_mask_on_the_same_grid_is_taken(scan, tmp_path):
    general = mask(tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_desc-brain_mask.nii.gz')
    assert find_brain_mask(scan, {'d': str(tmp_path / 'd')}) == general
    own = mask(tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_acq-hi_run-01_desc-brain_mask.nii.gz')
    mask(tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_acq-hi_run-02_desc-brain_mask.nii.gz')
    assert find_brain_mask(scan, {'d': str(tmp_path / 'd')}) == own


@pytest.mark.parametrize(
    'name', ['sub-02_space-MNI_desc-brain_mask', 'sub-02_desc-head_mask', 'sub-02_run-02_desc-brain_mask']
)
def test_masks_of_other_spaces_kinds_and_runs_do_not_fit(scan, tmp_path, name):
    mask(tmp_path / 'd' / 'sub-02' / 'anat' / f'{name}.nii.gz')
    assert find_brain_mask(scan, [tmp_path / 'd']) is None


def test_a_mask_on_another_grid_or_a_broken_one_does_not_fit(scan, tmp_path):
    path = tmp_path / 'd' / 'sub-02' / 'anat' / 'sub-02_desc-brain_mask.nii.gz'
    mask(path, affine=np.diag([2, 1, 1, 1]))
    assert find_brain_mask(scan, [tmp_path / 'd']) is None
    mask(path, shape=(4, 4, 5))
    assert find_brain_mask(scan, [tmp_path / 'd']) is None
    path.write_bytes(b'broken')
    assert find_brain_mask(scan, [tmp_path / 'd']) is None
