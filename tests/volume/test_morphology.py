from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import ndimage as ndi

from bids_distclip.volume.morphology import closed, eroded, filled, grown, largest, shrunk, within


@pytest.fixture(params=[0.25, 0.6, 0.97], ids='{:.0%}'.format)
def speckles(request):
    """Return a random mask, that much of it full, of pieces of a few voxels; some touch the borders."""
    field = ndi.gaussian_filter(np.random.default_rng(7).normal(size=(21, 18, 24)), 1.0)
    return field < np.quantile(field, request.param)


def _ball(radius, size):
    reach = int(radius // size)
    axes = np.ogrid[tuple(slice(-reach, reach + 1) for _ in range(3))]
    return sum((axis * size) ** 2 for axis in axes) <= radius**2


@pytest.mark.parametrize('steps', [1, 3])
def test_growing_and_shrinking_are_those_of_a_cross(speckles, steps):
    np.testing.assert_array_equal(grown(speckles, steps), ndi.binary_dilation(speckles, iterations=steps))
    np.testing.assert_array_equal(shrunk(speckles, steps), ndi.binary_erosion(speckles, iterations=steps))


def test_shrinking_by_more_than_there_is_leaves_nothing():
    assert not shrunk(np.ones((3, 9, 9), bool), 5).any()


@pytest.mark.parametrize(('radius', 'size'), [(4.0, 2.0), (8.0, 2.0), (3.0, 1.5), (1.0, 2.0), (2.5, 1.0)])
def test_balls_are_round_and_reach_as_far_as_their_radius(speckles, radius, size):
    ball = _ball(radius, size)
    np.testing.assert_array_equal(within(speckles, radius, size=size), ndi.binary_dilation(speckles, ball))
    np.testing.assert_array_equal(eroded(speckles, radius, size=size), ndi.binary_erosion(speckles, ball))
    wide = ndi.binary_closing(np.pad(speckles, 12), ball)[12:-12, 12:-12, 12:-12]
    np.testing.assert_array_equal(closed(speckles, radius, size=size), wide)


def test_holes_are_filled_in_space_or_plane_by_plane(speckles):
    np.testing.assert_array_equal(filled(speckles), ndi.binary_fill_holes(speckles))
    for axis in range(3):
        planes = [ndi.binary_fill_holes(plane) for plane in np.moveaxis(speckles, axis, 0)]
        np.testing.assert_array_equal(filled(speckles, axis=axis), np.stack(planes, axis))


def test_a_tunnel_is_a_hole_of_the_planes_it_crosses_alone():
    block = np.zeros((9, 9, 9), bool)
    block[1:8, 1:8, 1:8] = True
    block[4, 4, :] = False
    assert not filled(block)[4, 4, 4]
    assert filled(block, axis=2)[4, 4, 1:8].all()
    assert not filled(block, axis=0)[4, 4, 4]


def test_of_several_pieces_the_largest_is_kept():
    mask = np.zeros((9, 9, 9), bool)
    mask[0, 0, 0] = mask[4:6, 4:6, 4:6] = True
    assert largest(mask).sum() == 8
    assert not largest(np.zeros((3, 3, 3), bool)).any()
    corners = [largest(mask)[place] for place in product((4, 5), repeat=3)]
    assert all(corners)
