"""The structure guard on phantoms whose losses and inventions are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_distclip.quality.guard import Guard, compare_structure, find_places


@pytest.fixture
def head():
    data = np.zeros((48, 48, 32))
    data[8:40, 8:40, 6:26] = 1.0
    data[16:24, 16:24, 10:22] = 2.0
    mask = np.zeros(data.shape, dtype=bool)
    mask[4:44, 4:44, 3:29] = True
    return ndimage.gaussian_filter(data, 0.8), mask


def blob(shape, centre):
    data = np.zeros(shape)
    data[tuple(slice(c - 2, c + 3) for c in centre)] = 1.0
    return ndimage.gaussian_filter(data, 0.8)


@pytest.mark.parametrize('gain', [1.0, 3.0, -1.0])
def test_a_linear_change_of_contrast_loses_and_invents_nothing(head, gain):
    data, mask = head
    found = compare_structure(data, gain * data + 1, mask=mask, spacing=(1, 1, 1))
    assert found.lost == pytest.approx(0, abs=1e-4)
    assert found.invented == pytest.approx(0, abs=1e-4)


def test_a_lesion_taken_away_is_lost_where_it_was(head):
    data, mask = head
    centre = (32, 32, 16)
    found = compare_structure(data + blob(data.shape, centre), data, mask=mask, spacing=(1, 1, 1))
    assert found.lost > found.invented
    assert np.linalg.norm(np.subtract(found.worst_lost, centre)) <= 4
    assert found.map[found.worst_lost] < -0.2


def test_a_lesion_put_there_is_invented_where_it_is(head):
    data, mask = head
    centre = (32, 14, 16)
    found = compare_structure(data, data + blob(data.shape, centre), mask=mask, spacing=(1, 1, 1))
    assert found.invented > found.lost
    assert np.linalg.norm(np.subtract(found.worst_invented, centre)) <= 4


def test_the_map_is_bounded_and_silent_outside_the_mask(head):
    data, mask = head
    other = np.random.default_rng(0).normal(size=data.shape)
    found = compare_structure(data, other, mask=mask, spacing=(0.5, 0.5, 3))
    assert found.map.shape == data.shape
    assert np.abs(found.map).max() < 1
    assert not found.map[~mask].any()


def test_an_empty_mask_gives_no_finding(head):
    data, mask = head
    found = compare_structure(data, data, mask=np.zeros_like(mask), spacing=(1, 1, 1))
    assert (found.lost, found.invented, found.worst_lost) == (0, 0, None)


def test_places_of_the_largest_changes_are_apart_and_in_scanner_millimetres():
    found = np.zeros((40, 40, 40), dtype=np.float32)
    found[10, 10, 10], found[11, 12, 10], found[30, 30, 30], found[20, 5, 5] = -0.9, -0.8, 0.5, 0.05
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -10
    places = find_places(Guard(found, 0, 0, None, None), affine=affine)
    assert [(p.kind, p.voxel, p.place) for p in places] == [
        ('lost', (10, 10, 10), (10, 10, 10)), ('invented', (30, 30, 30), (50, 50, 50))]
