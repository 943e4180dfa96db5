"""The part of every slice that a network is shown."""

from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.networks.windows import LEAST, batches, network_sides, sides, slice_windows

STEP = 16


def blob(shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    seen = np.zeros(shape, bool)
    seen[slice(*rows), slice(*columns)] = True
    return seen


@pytest.mark.parametrize('rows', [(0, 1), (3, 60), (70, 200), (100, 101), (239, 240), (0, 240), (130, 239)])
@pytest.mark.parametrize('columns', [(0, 3), (5, 150), (90, 181), (180, 181)])
def test_a_window_holds_all_of_the_head_and_never_too_little_around_it(rows, columns):
    seen = blob((240, 191), rows, columns)
    (window,) = slice_windows(seen[None], pixel=(1, 1), step=STEP)
    assert seen[window].sum() == seen.sum()
    assert min(sides(window)) >= LEAST
    for part, (low, high), side in zip(window, (rows, columns), seen.shape, strict=True):
        assert part.start % STEP == 0
        assert part.stop % STEP == 0 or part.stop == side
        assert part.stop - part.start <= max(LEAST, high - low) + 2 * STEP


def test_a_slice_smaller_than_the_least_window_is_shown_whole():
    assert slice_windows(blob((50, 200), (20, 30), (0, 200))[None], pixel=(1, 1), step=STEP) == [
        (slice(0, 50), slice(0, 200))
    ]


def test_an_empty_slice_has_a_window_like_any_other():
    (window,) = slice_windows(np.zeros((1, 200, 200), bool), pixel=(1, 1), step=STEP)
    assert min(sides(window)) >= LEAST


@pytest.mark.parametrize(('pixel', 'size'), [((0.7, 1.2), [300, 200]), ((2.0, 2.0), [600, 400]), ((1, 0.4), [300, 80])])
def test_pixels_far_from_a_millimetre_are_resampled_and_such_slices_shown_whole(pixel, size):
    assert network_sides((300, 200), pixel=pixel) == size
    (window,) = slice_windows(blob((300, 200), (100, 120), (90, 110))[None], pixel=pixel, step=STEP)
    assert (sides(window) == (300, 200)) == (size != [300, 200])


def test_slices_whose_windows_have_the_same_sides_go_together_in_order():
    windows = [(slice(0, 96), slice(k, k + 96)) for k in (0, 16, 16)] + [(slice(0, 112), slice(0, 96))] * 3
    assert list(batches(windows, [0, 1, 2, 3, 5], most=2)) == [[0, 1], [2], [3, 5]]
    assert list(batches(windows, [], most=2)) == []
