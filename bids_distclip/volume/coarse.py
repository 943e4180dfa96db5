"""A coarse, isotropic, RAS-oriented copy of an image, for finding the head and the brain in it."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage as ndi

#: What rounding can move a place by, in voxels.
_NOTHING = 1e-6


def resampled(
    data: np.ndarray, *, affine: np.ndarray, size: float, margin: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Resample ``(X, Y, Z)`` on an axis-aligned RAS grid of cubic voxels around its whole field of view.

    ``size`` and ``margin`` are in mm. Axes sampled more finely are smoothed first, so that nothing aliases.
    Returns the float32 array, zero outside the field of view, and its affine.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sigma = [np.sqrt(max(0.0, size**2 - step**2)) / 2 / step for step in spacing]
    smooth = ndi.gaussian_filter(np.asarray(data, dtype=np.float32), sigma, truncate=2.5)
    grid, shape = _grid(data.shape, affine, size, margin)
    return onto(smooth, affine=affine, grid=grid, shape=shape), grid


def _grid(
    shape: tuple[int, ...], affine: np.ndarray, size: float, margin: float
) -> tuple[np.ndarray, tuple[int, ...]]:
    corners = np.array(list(product(*((0, n - 1) for n in shape))))
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    low, high = world.min(axis=0) - margin, world.max(axis=0) + margin
    grid = np.diag([size, size, size, 1.0])
    grid[:3, 3] = low
    return grid, tuple(int(n) for n in np.ceil((high - low) / size).astype(int) + 1)


def onto(
    data: np.ndarray, *, affine: np.ndarray, grid: np.ndarray, shape: tuple[int, ...], outside: float = 0.0
) -> np.ndarray:
    """Interpolate an array linearly on another grid; ``outside`` fills what it does not cover."""
    step = np.linalg.inv(affine) @ grid
    return ndi.affine_transform(
        np.asarray(data, dtype=np.float32),
        step[:3, :3],
        step[:3, 3],
        output_shape=shape,
        order=1,
        cval=outside,
    )


def covered(
    shape: tuple[int, ...], *, affine: np.ndarray, grid: np.ndarray, on: tuple[int, ...]
) -> np.ndarray:
    """Return which voxels of a grid, boolean of shape ``on``, lie between the outer voxels of an array of ``shape``."""
    step = np.linalg.inv(affine) @ grid
    axes = np.ogrid[tuple(slice(n) for n in on)]
    inside = np.ones(on, dtype=bool)
    for row, count in zip(step[:3], shape, strict=True):
        place = row[3] + sum(weight * axis for weight, axis in zip(row[:3], axes, strict=True))
        inside &= (place > -_NOTHING) & (place < count - 1 + _NOTHING)
    return inside
