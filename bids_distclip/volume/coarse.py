"""A coarse, isotropic, RAS-oriented copy of an image, for finding the head and the brain in it."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage as ndi


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


def ball(radius: float, *, size: float) -> np.ndarray:
    """Return a boolean ball of a radius in mm on cubic voxels of a size in mm, for morphology."""
    reach = int(radius // size)
    axes = np.ogrid[tuple(slice(-reach, reach + 1) for _ in range(3))]
    squared = (axes[0] * size) ** 2 + (axes[1] * size) ** 2 + (axes[2] * size) ** 2
    return np.asarray(squared <= radius**2)


def largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected component of a mask (all of it where it is empty)."""
    labels, count = ndi.label(mask)
    if count <= 1:
        return mask
    return labels == int(np.argmax(np.bincount(labels.ravel())[1:])) + 1
