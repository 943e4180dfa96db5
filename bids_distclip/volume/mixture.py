"""Tissue settled by intensity: what a network says of places, and what an image's own brightness says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Rounds of expectation and maximization; the least share a class has anywhere; the least standard deviation of a
#: class, as a share of the image's brightest.
ROUNDS, LEAST, FLOOR = 12, 0.02, 0.02


def settled(image: np.ndarray, shares: np.ndarray, *, classes: Sequence[int]) -> np.ndarray:
    """Return the class of N voxels, uint8, from intensities ``(N,)`` and prior shares ``(C, N)`` that need no sum.

    Voxels whose likeliest class is among ``classes`` are modelled as a mixture of that many normal distributions with
    the shares as spatial prior, by expectation maximization (Van Leemput et al. 1999; Ashburner and Friston 2005);
    all others keep their likeliest class. Intensities are in units of the image's brightest.
    """
    best = shares.argmax(0).astype(np.uint8)
    open_ = np.isin(best, classes)
    if not open_.any():
        return best
    prior = np.stack([shares[number][open_] for number in classes]).astype(np.float32)
    prior /= prior.sum(0)
    values, belief, log_prior = image[open_].astype(np.float32), prior, np.log(prior + LEAST)
    for _ in range(ROUNDS):
        weight = np.maximum(belief.sum(1), 1e-3)
        mean = (belief @ values) / weight
        off = values - mean[:, None]
        sd = np.sqrt((belief * off**2).sum(1) / weight + FLOOR**2)
        log = log_prior - np.log(sd)[:, None] - 0.5 * (off / sd[:, None]) ** 2
        belief = np.exp(log - log.max(0))
        belief /= belief.sum(0)
    best[open_] = np.asarray(classes, np.uint8)[belief.argmax(0)]
    return best
