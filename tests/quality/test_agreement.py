"""Agreement of raters, against published examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bids_distclip.quality.agreement import bootstrap, cohen, fleiss

#: Fourteen raters, ten subjects, five categories: the worked example that articles on Fleiss' kappa share.
COUNTS = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)


def test_fleiss_gives_the_number_of_the_worked_example():
    rows = [[value for value, count in enumerate(row) for _ in range(count)] for row in COUNTS]
    assert fleiss(rows) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize('weighted', [False, True])
def test_cohen_agrees_with_scikit_learn(weighted):
    metrics = pytest.importorskip('sklearn.metrics')
    draw = np.random.default_rng(1)
    first = draw.integers(1, 5, 60)
    second = np.clip(first + draw.integers(-1, 2, 60), 1, 4)
    expected = metrics.cohen_kappa_score(first, second, weights='quadratic' if weighted else None)
    assert cohen(first, second, weighted=weighted) == pytest.approx(expected)


def test_perfect_agreement_is_one_and_perfect_disagreement_below_zero():
    assert cohen([1, 2, 3], [1, 2, 3]) == fleiss([[1, 1, 1], [2, 2, 2]]) == 1
    assert cohen([1, 2, 1, 2], [2, 1, 2, 1]) == -1


def test_where_everybody_always_says_the_same_there_is_no_kappa():
    assert math.isnan(cohen([3, 3], [3, 3]))
    assert math.isnan(fleiss([[3, 3], [3, 3]]))
    assert math.isnan(cohen([], []))
    assert math.isnan(fleiss([]))


def test_the_range_holds_the_value_and_needs_three_images():
    draw = np.random.default_rng(2)
    rows = np.stack([draw.integers(1, 5, 40)] * 2, axis=1)
    rows[:10, 1] = draw.integers(1, 5, 10)
    low, high = bootstrap(rows, statistic=lambda t: cohen(t[:, 0], t[:, 1]))
    assert low < cohen(rows[:, 0], rows[:, 1]) < high <= 1
    assert math.isnan(bootstrap(rows[:2], statistic=fleiss)[0])
