"""Two grids of the same voxels whose axes may be flipped and in another order, as apps leave them that turn to RAS."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_distclip.errors import BadData
from bids_distclip.volume.image import Volume, read_volume

#: How far two grids that count as one may lie apart anywhere, in sides of the smallest voxel.
TOLERANCE = 0.2


def turn_onto(
    affine: np.ndarray, shape: Sequence[int], *, grid: np.ndarray, grid_shape: Sequence[int]
) -> np.ndarray | None:
    """Return what turns an array onto a grid of the same voxels, as nibabel writes orientations; None if there is none.

    ``affine`` and ``shape`` are the array's, ``grid`` and ``grid_shape`` those of the image it is to lie on.
    """
    if len(shape) != 3 or sorted(shape) != sorted(grid_shape) or abs(np.linalg.det(grid)) < 1e-9:
        return None
    # The array's axes as seen from the grid's own, so that oblique grids are as simple as straight ones.
    turn = nib.orientations.io_orientation(np.linalg.inv(grid) @ affine)
    if np.isnan(turn).any() or tuple(np.array(shape)[np.argsort(turn[:, 0])]) != tuple(grid_shape):
        return None
    apart = affine @ nib.orientations.inv_ornt_aff(turn, tuple(shape)) - grid
    corners = np.array([*itertools.product(*((0, n - 1) for n in grid_shape))])
    most = np.linalg.norm(corners @ apart[:3, :3].T + apart[:3, 3], axis=1).max()
    return turn if most <= TOLERANCE * np.linalg.norm(grid[:3, :3], axis=0).min() else None


def read_mask(path: str | Path, *, like: Volume) -> np.ndarray:
    """Return a mask, boolean ``(X, Y, Z)``, with its axes turned to those of the volume it is a mask of.

    Raises
    ------
    bids_distclip.errors.BadData
        If its voxels are not those of the volume, or it is no readable image.
    bids_distclip.errors.ReadFailed
        If the file is missing or cannot be read.
    """
    mask = read_volume(path)
    turn = turn_onto(mask.affine, mask.data.shape, grid=like.affine, grid_shape=like.data.shape)
    if turn is None:
        cure = f'give a mask made on the grid of {like.path.name if like.path else "the image"}, or none.'
        raise BadData('The brain mask does not lie on the grid of its image.', file=path, cure=cure)
    return np.ascontiguousarray(nib.orientations.apply_orientation(mask.data > 0.5, turn))
