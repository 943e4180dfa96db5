from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.errors import BadData
from bids_distclip.volume.intensity import brain_scale


def test_the_scale_is_the_99_5th_percentile_inside_the_brain_only():
    data = np.arange(1000.0).reshape(10, 10, 10)
    brain = data < 201
    assert brain_scale(data, brain) == pytest.approx(199.0)


def test_values_that_are_not_finite_do_not_count():
    data = np.ones((4, 4, 4))
    data[0] = np.inf
    data[1] = np.nan
    assert brain_scale(data, np.ones_like(data, bool)) == 1.0


@pytest.mark.parametrize('value', [0.0, -3.0])
def test_a_brain_without_signal_is_refused(value):
    with pytest.raises(BadData, match='no signal'):
        brain_scale(np.full((3, 3, 3), value), np.ones((3, 3, 3), bool))


def test_an_empty_mask_is_refused():
    with pytest.raises(BadData, match='empty'):
        brain_scale(np.ones((3, 3, 3)), np.zeros((3, 3, 3), bool))
