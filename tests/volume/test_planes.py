from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from bids_distclip.errors import BadData
from bids_distclip.volume import planes


@pytest.mark.parametrize(
    ('spacing', 'axes'),
    [
        ((1, 1, 1), (0, 1, 2)),
        ((1, 1, 2), (0, 1, 2)),
        ((1, 1, 2.1), (2,)),
        ((0.43, 0.43, 2.5), (2,)),
        ((3, 0.7, 0.7), (0,)),
        ((0.9, 5, 0.9), (1,)),
        ((0.5, 2, 2), (0, 1, 2)),
    ],
)
def test_thick_slices_are_cut_in_their_own_plane_only(spacing, axes):
    assert planes.axes_to_run(spacing) == axes


@pytest.mark.parametrize('order', list(permutations(range(3))))
def test_every_array_axis_gets_the_plane_its_direction_says(order):
    names = ('sagittal', 'coronal', 'axial')
    for signs in product((1, -1), repeat=3):
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis, world in enumerate(order):
            affine[world, axis] = signs[axis] * (axis + 1)
        assert [planes.plane_name(affine, axis) for axis in range(3)] == [names[w] for w in order]


def test_an_oblique_affine_at_45_degrees_still_names_three_planes():
    c = np.sqrt(0.5)
    affine = np.eye(4)
    affine[:3, :3] = [[1, 0, 0], [0, c, -c], [0, c, c]]
    assert {planes.plane_name(affine, axis) for axis in range(3)} == {'axial', 'coronal', 'sagittal'}


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_stacking_the_slices_gives_the_volume_back(axis):
    data = np.arange(24.0).reshape(2, 3, 4)
    cut = planes.slices(data, axis)
    assert cut.shape[0] == data.shape[axis]
    np.testing.assert_array_equal(planes.stack(list(cut), axis), data)


@pytest.mark.parametrize('shape', [(17, 31), (16, 32), (5, 1, 33), (2, 3, 16, 15)])
def test_padding_adds_zeros_only_and_crops_back_exactly(shape):
    images = np.random.default_rng(0).random(shape) + 1
    padded, crop = planes.pad_to_multiple(images)
    assert padded.shape[:-2] == images.shape[:-2]
    assert padded.shape[-2] % 16 == 0
    assert padded.shape[-1] % 16 == 0
    assert padded.shape[-2] - shape[-2] < 16
    np.testing.assert_array_equal(padded[crop], images)
    assert padded.sum() == pytest.approx(images.sum())


def test_pixels_near_one_millimetre_are_not_resampled():
    assert planes.inplane_zoom((0.6, 1.3, 5), 2) == (1.0, 1.0)
    assert planes.inplane_zoom((0.43, 0.43, 2.5), 2) == (0.43, 0.43)
    assert planes.inplane_zoom((2, 1, 0.5), 1) == (2.0, 0.5)
    images = np.random.default_rng(0).random((2, 8, 9), dtype=np.float32)
    np.testing.assert_array_equal(planes.to_network_pixels(images, zoom=(1.0, 1.0)), images)


def _wave(shape, height=1.0, width=1.0):
    rows = (np.arange(shape[0]) + 0.5) / shape[0] * height
    columns = (np.arange(shape[1]) + 0.5) / shape[1] * width
    return np.sin(2 * np.pi * rows)[:, None] * np.cos(4 * np.pi * columns)[None] + columns[None]


@pytest.mark.parametrize('zoom', [(0.43, 0.43), (2.0, 2.0), (1.0, 0.5), (1.7, 0.55)])
def test_a_smooth_difference_survives_the_way_to_network_pixels_and_back(zoom):
    native = _wave((96, 120))[None].astype(np.float32)
    network = planes.to_network_pixels(native, zoom=zoom)
    assert network.shape == (1, round(96 * zoom[0]), round(120 * zoom[1]))
    expected = _wave(network.shape[1:])
    assert np.abs(network[0] - expected)[2:-2, 2:-2].max() < 0.01
    back = planes.difference_to_native(network, shape=(96, 120))
    assert np.abs(back - native)[:, 4:-4, 4:-4].max() < 0.01


def test_resampling_keeps_a_constant_image_constant_up_to_its_border():
    ones = np.ones((1, 37, 20), dtype=np.float32)
    for zoom in ((0.4, 0.4), (2.3, 1.5)):
        np.testing.assert_allclose(planes.to_network_pixels(ones, zoom=zoom), 1, atol=1e-5)


def test_shrinking_averages_fine_stripes_away():
    stripes = np.tile([0.0, 1.0], 64)[None, None].repeat(8, axis=1)
    small = planes.to_network_pixels(stripes, zoom=(1.0, 0.4))
    assert np.abs(small - 0.5)[..., 3:-3].max() < 0.05


def test_three_passes_are_fused_by_their_median_and_an_outlier_shows_in_the_spread():
    fused, spread = planes.fuse([np.full((2, 2, 2), v) for v in (1.0, 1.0, 5.0)])
    np.testing.assert_allclose(fused, 1)
    np.testing.assert_allclose(spread, 4 / 1.693)


def test_two_passes_are_averaged_and_one_has_no_spread():
    fused, spread = planes.fuse([np.zeros((1, 1, 1)), np.ones((1, 1, 1))])
    assert float(fused[0, 0, 0]) == 0.5
    assert spread[0, 0, 0] == pytest.approx(1 / 1.128)
    fused, spread = planes.fuse([np.ones((1, 1, 1))])
    assert spread is None
    assert fused.dtype == np.float32


@pytest.mark.parametrize('count', [2, 3, 4])
def test_the_spread_estimates_the_standard_deviation_of_the_passes(count):
    noise = np.random.default_rng(1).normal(0, 3, (count, 20, 20, 20))
    _, spread = planes.fuse(list(noise))
    assert spread.mean() == pytest.approx(3, rel=0.03)


def test_the_bounding_box_is_tight_widened_and_cut_at_the_border():
    mask = np.zeros((10, 10, 10), bool)
    mask[1:4, 5, 9] = True
    assert planes.bounding_box(mask) == (slice(1, 4), slice(5, 6), slice(9, 10))
    assert planes.bounding_box(mask, 2) == (slice(0, 6), slice(3, 8), slice(7, 10))
    with pytest.raises(BadData):
        planes.bounding_box(np.zeros((3, 3, 3), bool))
