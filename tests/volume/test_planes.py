from __future__ import annotations

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


def test_pixels_near_one_millimetre_are_not_resampled():
    assert planes.inplane_zoom((0.6, 1.3, 5), 2) == (1.0, 1.0)
    assert planes.inplane_zoom((0.43, 0.43, 2.5), 2) == (0.43, 0.43)
    assert planes.inplane_zoom((2, 1, 0.5), 1) == (2.0, 0.5)


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
