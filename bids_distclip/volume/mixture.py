"""Tissue settled by intensity: what a network says of places, and what an image's own brightness says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Rounds of expectation and maximization; the least share a class has anywhere; the least standard deviation of a
#: class, as a share of the image's brightest.
ROUNDS, LEAST, FLOOR = 20, 0.02, 0.02
#: Power of the prior: a network that learnt from simulated heads is surer of its borders than it should be. Where it
#: puts a third of white matter on cortex, no mixture gets that out again that takes it at its word.
TRUST = 0.5
#: How wide classes are taken to be before anything is known of them, as a share of all intensities' standard deviation.
START = 0.5
#: Below this difference of the first two classes' medians, in their standard deviations, intensities say nothing of
#: them: a mixture would then settle on shading and vessels. Of six people's T1w five differ by 0.3 or more, one by
#: 0.01. They do say something where the mixture itself comes out as two (Ashman's D, Ashman et al. 1994, at least 2):
#: a network that takes white matter for cortex here and there leaves their medians alike.
APART, CLEAN = 0.15, 2.0


def settled(image: np.ndarray, shares: np.ndarray, *, classes: Sequence[int]) -> np.ndarray:
    """Return the class of N voxels, uint8, from intensities ``(N,)`` and prior shares ``(C, N)`` that need no sum.

    Voxels whose likeliest class is among ``classes`` are modelled as a mixture of that many normal distributions with
    the shares as spatial prior, by expectation maximization (Van Leemput et al. 1999; Ashburner and Friston 2005),
    starting from the medians of the likeliest classes, which hold where their means and widths do not;
    all others keep their likeliest class, and so do all where the first two classes hardly differ in brightness,
    neither before nor, cleanly, after.
    Intensities are in units of the image's brightest.
    """
    best = shares.argmax(0).astype(np.uint8)
    open_ = np.isin(best, classes)
    if not open_.any():
        return best
    prior = np.stack([shares[number][open_] for number in classes]).astype(np.float32)
    prior /= prior.sum(0)
    values, log_prior = image[open_].astype(np.float32), TRUST * np.log(prior + LEAST)
    members = [values[best[open_] == number] for number in classes]
    if len(classes) < 2 or not all(one.size for one in members[:2]):
        return best
    mean = np.array([np.median(one) if one.size else 0.0 for one in members], np.float32)
    sd = np.full(len(classes), max(START * float(values.std()), FLOOR), np.float32)
    belief = _believed(values, mean, sd, log_prior)
    for _ in range(ROUNDS):
        weight = np.maximum(belief.sum(1), 1e-3)
        mean = (belief @ values) / weight
        sd = np.sqrt((belief * (values - mean[:, None]) ** 2).sum(1) / weight + FLOOR**2)
        belief = _believed(values, mean, sd, log_prior)
    if not _differ(*members[:2]) and np.sqrt(2) * abs(mean[0] - mean[1]) < CLEAN * np.hypot(sd[0], sd[1]):
        return best
    best[open_] = np.asarray(classes, np.uint8)[belief.argmax(0)]
    return best


def _believed(values: np.ndarray, mean: np.ndarray, sd: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    """Return how likely each of N voxels is of each of C classes, ``(C, N)``, summing to one."""
    log = log_prior - np.log(sd)[:, None] - 0.5 * ((values - mean[:, None]) / sd[:, None]) ** 2
    belief = np.exp(log - log.max(0))
    return belief / belief.sum(0)


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two samples of intensities differ by more than :data:`APART`."""
    quartiles = [np.percentile(values, (25, 50, 75)) for values in (one, other)]
    # A quarter to three quarters of a normal distribution are 1.35 standard deviations.
    spread = sum(high - low for low, _, high in quartiles) / 2 / 1.35
    return bool(abs(quartiles[0][1] - quartiles[1][1]) >= APART * spread)
