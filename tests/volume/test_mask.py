from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage as ndi

from bids_distclip.errors import BadData
from bids_distclip.volume.coarse import covered, onto, resampled
from bids_distclip.volume.image import Volume, read_volume
from bids_distclip.volume.mask import brain_mask, head_mask, refined, stripped_brain
from bids_distclip.volume.template import load_template

_BRAINS = Path(__file__).parents[2] / '..' / 'shared' / 'data' / 'brains'


def _volume(data, affine):
    header = nib.Nifti1Header()
    header.set_data_shape(data.shape)
    return Volume(np.asarray(data, np.float32), np.asarray(affine, float), header)


def _head(*, invert=False, spacing=(3, 3, 3), turn=0.15, scale=0.93):
    """Make a head of the template's brain: skull, scalp and neck around it, turned, moved, under a coil."""
    template = load_template()
    brain, grid = resampled(template.brain, affine=template.affine, size=2, margin=30)
    t1, _ = resampled(template.t1, affine=template.affine, size=2, margin=30)
    inside = brain > 0.5
    distance = ndi.distance_transform_edt(~inside) * 2
    image = np.where(inside, 250 - t1 if invert else t1, 5.0)
    image[(distance > 6) & (distance <= 12)] = 120 if invert else 330
    neck = np.zeros_like(inside)
    neck[20:-20, 25:-30, :40] = True
    image[neck & (distance > 6)] = 150
    move = np.eye(4)
    c, s = np.cos(turn), np.sin(turn)
    move[:3, :3] = scale * np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    move[:3, 3] = 12, -25, 40
    native = np.diag([*spacing, 1.0])
    native[:3, 3] = -85, -140, -75
    shape = tuple(int(n) for n in np.array([190, 230, 220]) / spacing)
    out, truth = (onto(a, affine=move @ grid, grid=native, shape=shape) for a in (image, inside))
    coil = np.linspace(0.7, 1.4, shape[1])[:, None]
    noise = np.random.default_rng(0).normal(0, 4, shape)
    return _volume(np.abs(out * coil + noise), native), truth > 0.5


def _dice(one, two):
    return 2 * (one & two).sum() / (one.sum() + two.sum())


@pytest.mark.parametrize(
    ('invert', 'spacing', 'turn'),
    [(False, (2, 2, 2), 0.15), (True, (1.5, 1.5, 5), -0.2)],
    ids=['T1', 'T2 thick'],
)
def test_the_brain_is_found_in_a_turned_head_of_any_contrast(invert, spacing, turn):
    volume, truth = _head(invert=invert, spacing=spacing, turn=turn)
    mask = brain_mask(volume)
    assert mask.shape == truth.shape
    assert _dice(mask, truth) > 0.93


def test_a_head_is_found_without_holes_and_without_specks():
    volume, truth = _head()
    data = volume.data.copy()
    data[:2, :2, :2] = 500
    mask = head_mask(data)
    assert mask[truth].all()
    assert not mask[:2, :2, :2].any()
    assert 1.2 < mask.sum() / truth.sum() < 4


def test_noise_alone_has_no_head():
    with pytest.raises(BadData, match='stands out'):
        head_mask(np.where(np.arange(8000).reshape(20, 20, 20) == 4210, 100.0, 0.0))


def test_a_stripped_brain_is_its_own_mask():
    template = load_template()
    stripped = _volume(template.t1[::2, ::2, ::2], template.affine @ np.diag([2, 2, 2, 1]))
    mask = stripped_brain(stripped)
    np.testing.assert_array_equal(mask, brain_mask(stripped))
    assert _dice(mask, template.brain[::2, ::2, ::2]) > 0.99
    assert mask[stripped.data > 0].mean() > 0.999


def test_a_head_in_a_background_of_zeros_is_not_taken_for_a_stripped_brain():
    volume, _ = _head()
    zeroed = volume.with_data(np.where(head_mask(volume.data), volume.data, 0))
    assert (zeroed.data == 0).mean() > 0.4
    assert stripped_brain(zeroed) is None
    assert stripped_brain(volume) is None


def test_half_a_brain_cut_by_the_border_is_not_taken_for_a_stripped_one():
    template = load_template()
    half = template.t1[:, :, : template.t1.shape[2] // 2]
    assert stripped_brain(_volume(half, template.affine)) is None


@pytest.mark.skipif(not _BRAINS.is_dir(), reason='the development scans are not on this machine')
def test_real_stripped_scans_are_recognised():
    path = sorted(_BRAINS.glob('sub-*/anat/*_T2w.nii.gz'))[0]
    volume = read_volume(path)
    assert _dice(stripped_brain(volume), volume.data != 0) > 0.99


def test_refining_moves_an_edge_out_of_the_bright_scalp():
    axes = np.indices((64, 64, 64)) - 31.5
    radius = np.sqrt((axes**2).sum(axis=0)) * 2
    rng = np.random.default_rng(0)
    image = np.where(radius < 44, 100, np.where(radius < 56, 200, 3))
    image = image + rng.normal(0, 5, radius.shape)
    prior = radius < 50
    soft = refined(image, prior=prior, seen=np.ones_like(prior))
    truth = radius < 44
    assert _dice(soft > 0.5, truth) > _dice(prior, truth) + 0.03
    assert not (soft > 0.5)[radius > 51].any()


def test_resampling_keeps_places_and_finds_its_way_back():
    affine = np.array([[0, 0, 2.0, -30], [-1.0, 0, 0, 20], [0, 3.0, 0, 5], [0, 0, 0, 1]])
    east = np.einsum('j,jxyz->xyz', affine[0, :3], np.indices((40, 20, 25))) + affine[0, 3]
    coarse, grid = resampled(east, affine=affine, size=2.5)
    back = onto(coarse, affine=grid, grid=affine, shape=(40, 20, 25))
    assert np.abs(back - east)[4:-4, 2:-2, 3:-3].max() < 0.2


def test_a_grid_is_covered_between_the_outer_voxels_and_nowhere_else():
    affine = np.array([[0, 0, 2.0, -30], [-1.0, 0.2, 0, 20], [0, 3.0, 0.1, 5], [0, 0, 0, 1]])
    shape = (40, 20, 25)
    coarse, grid = resampled(np.ones(shape), affine=affine, size=2.5, margin=6)
    found = covered(shape, affine=affine, grid=grid, on=coarse.shape)
    places = np.einsum('ij,jxyz->ixyz', (np.linalg.inv(affine) @ grid)[:3, :3], np.indices(coarse.shape))
    places += (np.linalg.inv(affine) @ grid)[:3, 3].reshape(3, 1, 1, 1)
    inside = ((places >= 0) & (places <= np.array(shape).reshape(3, 1, 1, 1) - 1)).all(0)
    np.testing.assert_array_equal(found, inside)
    assert 0.1 < found.mean() < 0.9
