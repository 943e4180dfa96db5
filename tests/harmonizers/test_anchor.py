"""White matter held to what two styles let expect."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.harmonizers.anchor import LIMITS, SCAN, white_matter_factor
from bids_distclip.harmonizers.styles import Styles
from bids_distclip.networks.photometer import FEATURES, TISSUES, Photometer
from bids_distclip.quality.tissue import channel
from bids_distclip.volume.image import Volume
from bids_distclip.volume.prepared import Prepared

#: Expected white matter of the two acquisitions that the photometer here knows.
BEFORE, AFTER = 0.9, 0.8


@pytest.fixture
def meter():
    brightness = torch.full((1, 2, len(TISSUES)), 0.5)
    brightness[0, :, 0] = torch.tensor([BEFORE, AFTER])
    return Photometer(('T1w',), torch.zeros(1, FEATURES, len(TISSUES)), torch.eye(len(TISSUES))[None], brightness,
                      torch.eye(512)[None, :2])


def styles(source: int, target: int) -> Styles:
    both = torch.eye(512)[[source]], torch.eye(512)[[target]]
    return Styles(*both, seen=both[0], told=None, shown=both[1], words={})


def image(white: float, *, gray: float = 0.5) -> Prepared:
    tissue = np.zeros((20, 20, 20), np.uint8)
    tissue[:10], tissue[10:] = channel('WM'), channel('CGM')
    data = np.where(tissue == channel('WM'), white, gray).astype(np.float32) * 200
    brain = np.ones(data.shape, dtype=bool)
    volume = Volume(data, np.eye(4), nib.Nifti1Image(data, np.eye(4)).header)
    return Prepared(volume, brain, brain, 200.0, Acquisition(), 'T1w', tissue)


def test_the_expected_brightness_is_that_of_the_acquisition_of_a_style(meter):
    assert float(meter.expected(torch.eye(512)[[0]], family='T1w')[0]) == pytest.approx(BEFORE, abs=1e-4)
    assert float(meter.expected(torch.eye(512)[[1]], family='T1w')[0]) == pytest.approx(AFTER, abs=1e-4)
    middle = torch.nn.functional.normalize(torch.eye(512)[[0]] + torch.eye(512)[[1]])
    assert float(meter.expected(middle, family='T1w')[0]) == pytest.approx((BEFORE + AFTER) / 2, abs=1e-4)


def test_one_style_and_one_image_is_exactly_one(meter):
    source = image(0.77)
    assert white_matter_factor(meter, source, styles(0, 0), source.volume.data / np.float32(source.scale)) == 1.0


def test_white_matter_that_is_as_expected_becomes_what_is_expected(meter):
    source = image(BEFORE)
    for rendered in (0.7, 0.8, 0.9):
        factor = white_matter_factor(meter, source, styles(0, 1), image(rendered).volume.data / 200)
        assert rendered * factor == pytest.approx(AFTER, rel=1e-3)


def test_of_what_departs_from_its_style_a_share_is_the_persons(meter):
    source = image(1.1 * BEFORE)
    factor = white_matter_factor(meter, source, styles(0, 1), image(0.8).volume.data / 200)
    assert 0.8 * factor == pytest.approx(AFTER * 1.1 ** (1 - SCAN['T1w']), rel=1e-3)


def test_what_would_need_too_large_a_factor_gets_the_largest(meter):
    assert white_matter_factor(meter, image(BEFORE), styles(0, 1), image(0.3).volume.data / 200) == LIMITS[1]


@pytest.mark.parametrize('change', [{'tissue': None}, {'family': 'T2w'}, {'family': None},
                                    {'tissue': np.zeros((20, 20, 20), np.uint8)}])
def test_where_white_matter_is_not_known_or_says_nothing_nothing_is_held(meter, change):
    source = replace(image(BEFORE), **change)
    assert white_matter_factor(meter, source, styles(0, 1), image(0.7).volume.data / 200) == 1.0
    assert white_matter_factor(None, image(BEFORE), styles(0, 1), image(0.7).volume.data / 200) == 1.0
