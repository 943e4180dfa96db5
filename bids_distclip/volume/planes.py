"""Slices of a volume: which planes to run, the size of their pixels, how to fuse them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_distclip.errors import BadData

#: Networks see pixels of about this size (mm); in-plane spacings in the range are left as they are.
NETWORK_PIXEL = 1.0
PIXEL_RANGE = (0.6, 1.3)
#: Voxels thicker than this many times their in-plane size are cut in the acquisition plane only.
THICK = 2.0
#: Mean range of n draws from a unit normal distribution (control chart constant d2).
_RANGE_TO_SD = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534}


def axes_to_run(spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the array axes to cut along, from voxel sizes in mm.

    All three, unless voxels are more than twice as thick along one axis as along both others: then only that
    through-plane axis, because the other two cuts would show pixels of very unequal sides.
    """
    for axis in range(3):
        if spacing[axis] > THICK * max(spacing[other] for other in range(3) if other != axis):
            return (axis,)
    return (0, 1, 2)


def inplane_zoom(spacing: Sequence[float], axis: int) -> tuple[float, float]:
    """Return network pixels per native pixel for the rows and columns of slices along ``axis``.

    1.0 for a spacing of 0.6 to 1.3 mm, otherwise what brings the pixels to 1 mm.
    """
    low, high = PIXEL_RANGE
    sides = [spacing[other] for other in range(3) if other != axis]
    rows, columns = (1.0 if low <= side <= high else side / NETWORK_PIXEL for side in sides)
    return rows, columns


def fuse(passes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Fuse the same volume from several planes: median of three passes, else the mean; and their spread.

    The mean of three is as good, a small 3-D network that weighs them is no better (docs/benchmark.md, Planes).
    The spread is the standard deviation estimated from the range of the passes (control chart constant d2),
    so that it shows one pass that disagrees, where a median absolute deviation of three would be zero.
    It is ``None`` for a single pass, which says nothing of its own uncertainty.
    """
    count = len(passes)
    if count == 1:
        return np.asarray(passes[0], dtype=np.float32), None
    array = np.stack([np.asarray(one, dtype=np.float32) for one in passes])
    fused = np.median(array, axis=0) if count == 3 else array.mean(axis=0)
    if count in _RANGE_TO_SD:
        spread = np.ptp(array, axis=0) / np.float32(_RANGE_TO_SD[count])
    else:
        spread = array.std(axis=0, ddof=1)
    return fused.astype(np.float32), spread.astype(np.float32)


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """Return the smallest box around a mask, widened by a margin in voxels and cut at the borders.

    Raises
    ------
    BadData
        If the mask is empty.
    """
    if not mask.any():
        raise BadData('The mask is empty.', cure='Check that the image shows a head.')
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        where = np.flatnonzero(mask.any(axis=others))
        start, stop = int(where[0]) - margin, int(where[-1]) + 1 + margin
        box.append(slice(max(0, start), min(mask.shape[axis], stop)))
    return tuple(box)
