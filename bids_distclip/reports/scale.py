"""The scales that pictures and volumes share: what is black and white, and how far a difference reaches."""

from __future__ import annotations

import numpy as np

#: The normalized intensity that is shown white; 1 is the 99.5th percentile in the brain.
WHITE = 1.2
#: A difference or an uncertainty is drawn on the smallest of these ranges that holds 99 % of it.
RANGES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def shown_range(values: np.ndarray, *, mask: np.ndarray) -> float:
    """Return the smallest range of :data:`RANGES` that holds 99 % of the values in a mask; in an empty one, of all.

    >>> shown_range(np.linspace(0, 0.15, 100), mask=np.ones(100, dtype=bool))
    0.2
    """
    inside = values[mask] if mask.any() else values.ravel()
    high = float(np.percentile(inside, 99))
    return next((r for r in RANGES if r >= high), RANGES[-1])
