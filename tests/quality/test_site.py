"""The site probe and its distances, on looks whose site effect is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bids_distclip.quality.profile import look
from bids_distclip.quality.site import _folds, distances, outlying, probe


def travelers(shift: float, *, people: int = 8):
    draw = np.random.default_rng(0)
    rows, sites, names = [], [], []
    for person in range(people):
        own = draw.normal(0, 0.1, 6)
        for number, site in enumerate('AB'):
            rows.append(own + shift * number + draw.normal(0, 0.1, 6))
            sites.append(site)
            names.append(f'sub-{person}')
    return np.array(rows), sites, names


def test_a_site_that_shifts_intensities_is_told_and_one_that_does_not_is_not():
    rows, sites, names = travelers(2.0)
    found = probe(rows, sites, people=names)
    assert found.score == 1
    assert found.p < 0.05
    assert found.chance == pytest.approx(0.5, abs=0.1)
    rows, sites, names = travelers(0.0)
    assert probe(rows, sites, people=names).p > 0.05


def test_a_number_is_told_by_its_correlation_in_unseen_people():
    draw = np.random.default_rng(1)
    age = draw.uniform(20, 80, 30)
    rows = np.stack([age / 50 + draw.normal(0, 0.1, 30), draw.normal(0, 1, 30)], axis=1)
    found = probe(rows, age.tolist(), people=[f'sub-{n}' for n in range(30)])
    assert found.score > 0.8
    assert found.p < 0.05
    assert found.limit < 0.6


def test_the_probe_predicts_as_the_ridge_regression_of_scikit_learn():
    linear = pytest.importorskip('sklearn.linear_model')
    draw = np.random.default_rng(3)
    rows, wanted = draw.normal(0, 1, (20, 30)), draw.normal(0, 1, 20)
    test, train, solve = _folds(rows, values=wanted, people=[f'sub-{n}' for n in range(20)])[0]
    mean, spread = rows[train].mean(axis=0), rows[train].std(axis=0)
    ridge = linear.Ridge().fit((rows[train] - mean) / spread, wanted[train])
    told = wanted[train].mean() + solve @ (wanted[train] - wanted[train].mean())
    assert told == pytest.approx(ridge.predict((rows[test] - mean) / spread))


def test_the_distance_between_sites_is_their_shift_and_without_pairs_it_is_not_known():
    rows = np.array([[0.1, 0.2], [0.1, 0.2], [0.4, 0.5]])
    assert distances(rows, ['A', 'A', 'B']) == pytest.approx((0.3, 0.0))
    assert math.isnan(distances(rows[1:], ['A', 'B'])[1])


def test_one_image_far_from_the_others_lies_out_and_among_four_none_does():
    rows = np.zeros((8, 3)) + np.arange(8)[:, None] * 0.01
    rows[3] = 5
    assert outlying(rows).tolist() == [number == 3 for number in range(8)]
    assert not outlying(rows[:4]).any()


def test_the_look_of_an_image_is_its_quantiles_and_of_no_brain_nothing():
    data = np.random.default_rng(0).uniform(0, 1, (20, 20, 20))
    kept = look(data, brain=np.ones(data.shape, dtype=bool))
    assert kept['quantiles'][0] == pytest.approx(0.01, abs=0.01)
    assert len(kept['quantiles']) == 50
    assert look(data, brain=np.zeros(data.shape, dtype=bool)) == {}
