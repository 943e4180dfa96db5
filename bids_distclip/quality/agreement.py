"""How well raters agree beyond chance: Cohen's kappa for two, Fleiss' kappa for more, with bootstrap ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: Resamplings of the images behind a range, and the part of them that it holds.
RESAMPLINGS, COVERED = 2000, 0.95


def cohen(first: Sequence[int], second: Sequence[int], *, weighted: bool = False) -> float:
    """Return Cohen's kappa of two raters over the same images; nan where chance alone explains everything.

    ``weighted`` counts a disagreement by the square of its distance (Cohen 1968), which suits an ordered
    scale; otherwise every disagreement counts the same (Cohen 1960).

    >>> round(cohen([1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15), 3)
    0.4
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.size == 0:
        return float('nan')
    scale = np.unique(np.concatenate([a, b]))
    table = np.zeros((scale.size, scale.size))
    np.add.at(table, (np.searchsorted(scale, a), np.searchsorted(scale, b)), 1 / a.size)
    apart = np.subtract.outer(scale, scale)
    cost = apart.astype(float) ** 2 if weighted else (apart != 0).astype(float)
    expected = float((cost * np.outer(table.sum(1), table.sum(0))).sum())
    return 1 - float((cost * table).sum()) / expected if expected > 0 else float('nan')


def fleiss(ratings: Sequence[Sequence[int]] | np.ndarray) -> float:
    """Return Fleiss' kappa (1971) over images that were rated by the same number of raters, two or more.

    One row per image, one rating per rater; which rater gave it does not matter. nan where all agree on one
    and the same rating throughout, or there is nothing to compare.
    """
    rows = np.asarray(ratings)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] < 2:
        return float('nan')
    counts = np.stack([(rows == value).sum(axis=1) for value in np.unique(rows)], axis=1)
    raters = rows.shape[1]
    observed = float(((counts**2).sum(axis=1) - raters).mean() / (raters * (raters - 1)))
    by_chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else float('nan')


def bootstrap(rows: Sequence[Sequence[int]], *, statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """Return the 95 % range of a statistic when images (rows) are drawn anew; nan for fewer than three images."""
    table = np.asarray(rows)
    if table.ndim != 2 or table.shape[0] < 3:
        return float('nan'), float('nan')
    draw = np.random.default_rng(0)
    values = [statistic(table[draw.integers(0, len(table), len(table))]) for _ in range(RESAMPLINGS)]
    found = np.asarray([value for value in values if np.isfinite(value)])
    if not found.size:
        return float('nan'), float('nan')
    low, high = np.quantile(found, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)
