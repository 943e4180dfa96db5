"""What is kept of the look of an image to compare it with others later, without its voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_distclip.quality.gradient import box
from bids_distclip.quality.metrics import sharpness

#: Probabilities of the quantiles that are kept; the ends are left to noise.
PROBABILITIES = np.linspace(0.01, 0.99, 50)


def look(data: np.ndarray, *, brain: np.ndarray) -> dict[str, object]:
    """Return the quantiles of the brain's intensities at :data:`PROBABILITIES`, and the sharpness of the image.

    ``data`` is ``(X, Y, Z)`` on its normalized scale, ``brain`` a mask of it. Empty without a brain.
    """
    if not brain.any():
        return {}
    part = box(brain, margin=6)
    sharp = sharpness(data[part], mask=brain[part])
    quantiles = np.quantile(data[brain], PROBABILITIES)
    return {'quantiles': [round(float(q), 5) for q in quantiles], 'sharpness': sharp}


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the Wasserstein-1 distance of two images from their quantiles, in their normalized units.

    >>> distance([0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
    0.1
    """
    return round(float(np.mean(np.abs(np.subtract(a, b)))), 6)
