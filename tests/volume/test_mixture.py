"""Tissue settled by intensity."""

from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.volume.mixture import settled


@pytest.fixture
def two():
    """Return intensities of two tissues, a prior that is blurred across their border, and the truth."""
    rng = np.random.default_rng(0)
    place = np.linspace(-1, 1, 20_000)
    truth = (place + 0.2 * np.sin(40 * place) > 0).astype(int)
    image = np.where(truth, 0.8, 0.6) + rng.normal(0, 0.04, place.size)
    first = 1 / (1 + np.exp(6 * place))
    return image, np.stack([np.zeros_like(place), first, 1 - first, np.zeros_like(place)]), truth + 1


def test_a_border_moves_to_where_the_image_has_it(two):
    image, shares, truth = two
    found = settled(image, shares, classes=(1, 2))
    assert found.dtype == np.uint8
    assert (shares.argmax(0) == truth).mean() < 0.96
    assert (found == truth).mean() > 0.985


def test_where_brightness_says_nothing_the_prior_stays(two):
    image, shares, _ = two
    flat = np.random.default_rng(1).normal(0.7, 0.04, image.size)
    np.testing.assert_array_equal(settled(flat, shares, classes=(1, 2)), shares.argmax(0))


def test_classes_that_are_not_named_keep_their_voxels(two):
    image, shares, _ = two
    shares = shares.copy()
    shares[3, :500] = 5
    found = settled(image, shares, classes=(1, 2))
    assert (found[:500] == 3).all()
    assert (found[500:] != 3).all()
    np.testing.assert_array_equal(settled(image, shares, classes=(0,)), shares.argmax(0))


def test_a_prior_that_is_surely_wrong_does_not_hold_two_tissues_together(two):
    """A third of what is surely one tissue is the other: as on a real T1w whose folds are finer than learnt."""
    image, shares, truth = two
    rng = np.random.default_rng(2)
    swapped = rng.random(image.size) < 0.33
    sure = np.where(swapped, 3 - truth, truth)
    shares = np.stack([np.zeros(image.size), np.where(sure == 1, 0.97, 0.03), np.where(sure == 2, 0.97, 0.03)])
    found = settled(image, shares, classes=(1, 2))
    assert (sure == truth).mean() < 0.7
    assert (found == truth).mean() > 0.93


def test_two_tissues_that_the_image_parts_are_told_where_the_prior_says_nothing(two):
    """The network mixes both everywhere, so that their medians are alike: as on a simulated T1w it misread."""
    image, _, truth = two
    rng = np.random.default_rng(3)
    told = np.where(rng.random(image.size) < 0.52, truth, 3 - truth)
    shares = np.stack([np.zeros(image.size), np.where(told == 1, 0.6, 0.4), np.where(told == 2, 0.6, 0.4)])
    found = settled(image, shares, classes=(1, 2))
    assert (told == truth).mean() < 0.6
    assert max((found == truth).mean(), (found != truth).mean()) > 0.97
    assert (found == truth).mean() > 0.97
