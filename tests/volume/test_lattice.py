"""Masks whose axes another app has turned, brought back to those of their image."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.errors import BadData
from bids_distclip.volume.image import read_volume
from bids_distclip.volume.lattice import read_mask, turn_onto

OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, 0.2, -0.6) @ np.diag([1.0, 1.2, 0.9]), [-60, 12, 30])
SHAPE = (9, 11, 13)


@pytest.fixture(scope='module')
def image():
    """Return an oblique image, and a mask of it that no turn leaves as it is."""
    rng = np.random.default_rng(0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 2:4, 3:9] = 1
    mask[1, 1, 1] = 1
    return nib.Nifti1Image(rng.random(SHAPE).astype(np.float32), OBLIQUE), nib.Nifti1Image(mask, OBLIQUE)


def turned(image, order, flips):
    return image.as_reoriented(np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)]))


@pytest.mark.parametrize('order', list(itertools.permutations(range(3))))
@pytest.mark.parametrize('flips', [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_a_mask_lies_where_it_lay_whatever_was_done_to_its_axes(image, tmp_path, order, flips):
    source, mask = image
    nib.save(turned(mask, order, flips), tmp_path / 'mask.nii.gz')
    nib.save(source, tmp_path / 'image.nii.gz')
    found = read_mask(tmp_path / 'mask.nii.gz', like=read_volume(tmp_path / 'image.nii.gz'))
    assert np.array_equal(found, np.asarray(mask.dataobj) > 0)


@pytest.mark.parametrize('moved', [
    nib.affines.from_matvec(np.eye(3), [0.5, 0, 0]),
    nib.affines.from_matvec(np.eye(3) * 1.05, [0, 0, 0]),
    nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1), [0, 0, 0]),
    np.diag([0.0, 1, 1, 1]),
])
def test_a_grid_that_lies_elsewhere_is_none(moved):
    assert turn_onto(moved @ OBLIQUE, SHAPE, grid=OBLIQUE, grid_shape=SHAPE) is None
    assert turn_onto(OBLIQUE, SHAPE, grid=moved @ OBLIQUE, grid_shape=SHAPE) is None
    assert turn_onto(OBLIQUE + 1e-4, SHAPE, grid=OBLIQUE, grid_shape=SHAPE) is not None


def test_equal_numbers_of_voxels_along_other_axes_are_another_grid():
    assert turn_onto(np.eye(4), (9, 11, 13), grid=np.eye(4), grid_shape=(13, 11, 9)) is None


def test_a_mask_of_another_grid_is_refused_with_its_name(image, tmp_path):
    source, mask = image
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), np.eye(4)), tmp_path / 'mask.nii.gz')
    nib.save(source, tmp_path / 'image.nii.gz')
    with pytest.raises(BadData, match=r'mask\.nii\.gz.*image\.nii\.gz'):
        read_mask(tmp_path / 'mask.nii.gz', like=read_volume(tmp_path / 'image.nii.gz'))
