"""Arrays turned to right, anterior, superior and back, without resampling."""

from __future__ import annotations

import nibabel as nib
import numpy as np


def to_ras(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the array with its axes turned to right, anterior, superior; no resampling."""
    return nib.orientations.apply_orientation(data, nib.orientations.io_orientation(affine))


def ras_spacing(affine: np.ndarray) -> tuple[float, ...]:
    """Return the voxel sizes in mm along the axes that :func:`to_ras` gives."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(nib.orientations.io_orientation(affine)[:, 0])
    return tuple(float(v) for v in zooms[order])


def from_ras(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undo :func:`to_ras`."""
    there = nib.orientations.io_orientation(affine)
    back = nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), there)
    return nib.orientations.apply_orientation(data, back)
