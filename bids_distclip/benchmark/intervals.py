"""How well a mean over people is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

#: Fewest people that an interval is told for.
FEWEST = 3


def half_width(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> float:
    """Return half the width of the confidence interval of the mean (Student 1908) of one value per person.

    nan of fewer than :data:`FEWEST`.

    >>> round(half_width([1.0, 2.0, 3.0]), 2)
    2.48
    """
    known = np.asarray(values, dtype=float)
    if len(known) < FEWEST:
        return float('nan')
    return float(stats.t.ppf(0.5 + level / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
