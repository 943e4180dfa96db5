"""Brain masks and tissue from what a segmenter says."""

from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.quality.tissue import channel
from bids_distclip.volume.tissue import is_whole_brain, tidied

WHITE, CORTEX = channel('WM'), channel('CGM')


@pytest.fixture
def radius():
    return np.sqrt(sum((axis - 29.5) ** 2 for axis in np.ogrid[:60, :60, :60]))


def test_the_brain_is_the_largest_piece_without_bridges_and_holes(radius):
    likely = np.where(radius < 18, 0.9, 0.1)
    likely[radius < 3] = 0.2
    likely[28:31, 28:31, 46:56] = 0.9
    likely[2:6, 2:6, 2:6] = 0.9
    mask = tidied(likely)
    assert mask[29, 29, 29]
    assert not mask[4, 4, 4]
    assert not mask[29, 29, 54]
    assert ((radius < 18) != mask).mean() < 0.002


def test_nothing_likely_gives_an_empty_mask(radius):
    assert not tidied(np.zeros(radius.shape)).any()


def test_a_whole_brain_has_its_volume_and_both_tissues(radius):
    tissue = np.where(radius < 20, WHITE, np.where(radius < 25, CORTEX, 0)).astype(np.uint8)
    litre = (tissue > 0).sum() * 1e-6
    assert is_whole_brain(tissue, voxel=1.3 / litre)
    assert not is_whole_brain(tissue, voxel=0.4 / litre)
    assert not is_whole_brain(tissue, voxel=3.0 / litre)
    assert not is_whole_brain(np.where(tissue > 0, WHITE, 0).astype(np.uint8), voxel=1.3 / litre)
    assert not is_whole_brain(np.zeros_like(tissue), voxel=1.0)
