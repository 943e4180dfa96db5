"""Whether the scanner can be told from images, before and after, and whether what must stay can still be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bids_distclip.quality.profile import distance

#: Below these numbers nothing is told: images, people, and people for a column that must stay.
IMAGES, PEOPLE, KEPT = 8, 3, 10
#: Permutations behind a chance level, and folds of the cross-validation at most.
PERMUTATIONS, FOLDS = 200, 5
#: Distance from the median image, in normalized intensities, below which no image lies out.
FAR = 0.02


@dataclass(frozen=True)
class Probe:
    """How well something can be told from images that were left out.

    ``score`` is the balanced accuracy, or for numbers the correlation of predicted and true; ``chance`` its mean
    and ``limit`` its 95th percentile over permuted labels; ``p`` the share of permutations that reach it.
    """

    score: float
    chance: float
    limit: float
    p: float


def probe(features: np.ndarray, values: Sequence[str | float], *, people: Sequence[str]) -> Probe:
    """Train a linear probe anew and return what it tells of people it has not seen.

    ``features`` is ``(images, features)``; ``values`` are labels, or floats. The probe is a ridge regression
    (penalty 1 on standardized features) on the number, or on one column per label, the largest of which is its
    answer. No person is in training and test at once. Labels are permuted within people where people have
    several, else between people.
    """
    truth = np.asarray(values)
    numbers = truth.dtype.kind == 'f'
    folds = _folds(features, values=truth, people=people)
    scale = np.unique(truth)

    def score(labels: np.ndarray) -> float:
        wanted = labels[:, None] if numbers else (labels[:, None] == scale).astype(float)
        told = np.zeros(wanted.shape)
        for test, train, solve in folds:
            mean = wanted[train].mean(axis=0)
            told[test] = mean + solve @ (wanted[train] - mean)
        if numbers:
            return float(np.corrcoef(labels, told[:, 0])[0, 1]) if np.std(told) > 0 else 0.0
        right = scale[told.argmax(axis=1)] == labels
        return float(np.mean([right[labels == label].mean() for label in scale]))

    draw = np.random.default_rng(0)
    found = score(truth)
    null = np.array([score(_permuted(values, people=people, draw=draw)) for _ in range(PERMUTATIONS)])
    p = float((1 + (null >= found - 1e-12).sum()) / (1 + len(null)))
    return Probe(found, float(null.mean()), float(np.quantile(null, 0.95)), p)


def _folds(
    features: np.ndarray, *, values: np.ndarray, people: Sequence[str]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return test images, training images, and the matrix that leads from training labels to predictions.

    That matrix depends on the features alone, so that permuted labels cost one product each.
    """
    owners = np.asarray(people)
    first = {name: str(values[owners == name][0]) for name in sorted(set(people))}
    names = sorted(first, key=lambda name: (first[name], name))
    folds = []
    for number in range(min(FOLDS, len(names))):
        mine = np.isin(owners, names[number :: min(FOLDS, len(names))])
        test, train = np.flatnonzero(mine), np.flatnonzero(~mine)
        mean, spread = features[train].mean(axis=0), features[train].std(axis=0)
        known, asked = ((features[part] - mean) / np.where(spread > 0, spread, 1) for part in (train, test))
        gram = known @ known.T + np.eye(len(train))
        folds.append((test, train, np.linalg.solve(gram, known @ asked.T).T))
    return folds


def _permuted(values: Sequence[str | float], *, people: Sequence[str], draw: np.random.Generator) -> np.ndarray:
    """Permute labels within people if anybody has several, else between people."""
    labels, owners = np.asarray(values), np.asarray(people)
    names = list(dict.fromkeys(people))
    if any(len(set(labels[owners == name].tolist())) > 1 for name in names):
        out = labels.copy()
        for name in names:
            mine = np.flatnonzero(owners == name)
            out[mine] = labels[draw.permutation(mine)]
        return out
    own = np.array([labels[owners == name][0] for name in names])
    mixed = dict(zip(names, own[draw.permutation(len(names))], strict=True))
    return np.array([mixed[name] for name in people])


def distances(quantiles: np.ndarray, sites: Sequence[str]) -> tuple[float, float]:
    """Return the mean Wasserstein-1 distance of two images of different sites, and of two of one site.

    ``quantiles`` is ``(images, probabilities)``; nan where there is no such pair.
    """
    pairs = list(combinations(range(len(sites)), 2))
    between = [distance(quantiles[i], quantiles[j]) for i, j in pairs if sites[i] != sites[j]]
    within = [distance(quantiles[i], quantiles[j]) for i, j in pairs if sites[i] == sites[j]]
    return _mean(between), _mean(within)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float('nan')


def outlying(quantiles: np.ndarray) -> np.ndarray:
    """Return which images lie far from the median image: by more than 3.5 robust standard deviations of that distance.

    (Iglewicz and Hoaglin 1993.) With fewer than five images none does, nor below :data:`FAR`: where all images are
    almost alike, the least difference would stand out.
    """
    if len(quantiles) < 5:
        return np.zeros(len(quantiles), dtype=bool)
    far = np.abs(quantiles - np.median(quantiles, axis=0)).mean(axis=1)
    spread = np.median(np.abs(far - np.median(far)))
    return (far > FAR) & (0.6745 * (far - np.median(far)) > 3.5 * max(float(spread), 1e-9))
