"""Failures planted into sound results, so that what should notice them can be measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

#: A failure: picture ``(X, Y, Z)``, brain, lesion (or None), random numbers -> the spoilt picture, None
#: if it cannot be.
Failure = Callable[[np.ndarray, np.ndarray, np.ndarray | None, np.random.Generator], np.ndarray | None]


def erased(
    picture: np.ndarray, brain: np.ndarray, lesion: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray | None:
    """Paint over the largest lesion with what surrounds it (normalized convolution of 4 voxels)."""
    if lesion is None:
        return None
    places, count = ndimage.label(lesion > 0.3)
    if not count:
        return None
    sizes = ndimage.sum_labels(np.ones_like(places), places, np.arange(1, count + 1))
    gone = ndimage.binary_dilation(places == 1 + int(np.argmax(sizes)), iterations=2)
    known = (brain & ~(lesion > 0.05) & ~gone).astype(np.float32)
    around = ndimage.gaussian_filter(picture * known, 4) / np.maximum(ndimage.gaussian_filter(known, 4), 1e-3)
    soft = ndimage.gaussian_filter(gone.astype(np.float32), 1)
    return picture * (1 - soft) + around * soft


def invented(
    picture: np.ndarray, brain: np.ndarray, lesion: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray | None:
    """Put a round lesion of 5 voxels' radius deep into the brain, brighter or darker by a third of the range."""
    place = _deep(brain, rng, depth=12)
    distance = np.linalg.norm(np.indices(picture.shape) - place.reshape(3, 1, 1, 1), axis=0)
    low, high = np.quantile(picture[brain], [0.02, 0.98])
    sign = 1 if picture[tuple(place)] < 0.5 * (low + high) else -1
    return picture + sign * 0.33 * (high - low) / (1 + np.exp(2 * (distance - 5)))


def shifted(
    picture: np.ndarray, brain: np.ndarray, lesion: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray | None:
    """Move a patch of cortex by 4 voxels, fading out over 8."""
    place = _deep(brain, rng, depth=4, at_most=8)
    grid = np.indices(picture.shape, dtype=np.float32)
    distance = np.linalg.norm(grid - place.reshape(3, 1, 1, 1), axis=0)
    way = rng.normal(size=3)
    way *= 4 / np.linalg.norm(way)
    weight = np.exp(-0.5 * (distance / 8) ** 2)
    return ndimage.map_coordinates(picture, grid + weight * way.reshape(3, 1, 1, 1), order=1, mode='nearest')


def blurred(
    picture: np.ndarray, brain: np.ndarray, lesion: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray | None:
    """Smooth everything by a Gaussian of 1.5 voxels."""
    return ndimage.gaussian_filter(picture, 1.5)


#: Failures by name. *wrong contrast* is planted by the measurement itself, from the truth of another family.
FAILURES: dict[str, Failure] = {
    'lesion erased': erased,
    'lesion invented': invented,
    'gyrus shifted': shifted,
    'blurred': blurred,
}
WRONG = 'wrong contrast'


def _deep(brain: np.ndarray, rng: np.random.Generator, *, depth: float, at_most: float = np.inf) -> np.ndarray:
    """Return a random voxel that lies so deep below the brain's surface, in voxels; the deepest if there is none."""
    inside = ndimage.distance_transform_edt(ndimage.binary_fill_holes(brain))
    places = np.argwhere((inside >= depth) & (inside <= at_most))
    if not len(places):
        return np.array(np.unravel_index(int(inside.argmax()), inside.shape))
    return places[rng.integers(len(places))]
