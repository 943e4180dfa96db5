"""Slices of a volume: which planes to run, how to cut, pad, resample and fuse them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from bids_distclip.errors import BadData

#: Networks see pixels of about this size (mm); in-plane spacings in the range are left as they are.
NETWORK_PIXEL = 1.0
PIXEL_RANGE = (0.6, 1.3)
#: Voxels thicker than this many times their in-plane size are cut in the acquisition plane only.
THICK = 2.0
#: Mean range of n draws from a unit normal distribution (control chart constant d2).
_RANGE_TO_SD = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534}
_NAMES = ('sagittal', 'coronal', 'axial')


def axes_to_run(spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the array axes to cut along, from voxel sizes in mm.

    All three, unless voxels are more than twice as thick along one axis as along both others: then only that
    through-plane axis, because the other two cuts would show pixels of very unequal sides.
    """
    for axis in range(3):
        if spacing[axis] > THICK * max(spacing[other] for other in range(3) if other != axis):
            return (axis,)
    return (0, 1, 2)


def plane_name(affine: np.ndarray, axis: int) -> str:
    """Return the anatomical plane nearest to slices cut along an array axis: axial, coronal or sagittal.

    The three axes of one affine always get three different names, oblique at 45 degrees or not.
    """
    columns = np.asarray(affine, dtype=float)[:3, :3]
    cosines = np.abs(columns / np.linalg.norm(columns, axis=0))
    best = max(permutations(range(3)), key=lambda world: sum(cosines[w, a] for a, w in enumerate(world)))
    return _NAMES[best[axis]]


def slices(data: np.ndarray, axis: int) -> np.ndarray:
    """Return a view of ``(X, Y, Z)`` as a stack ``(slice, row, column)`` cut along ``axis``."""
    return np.moveaxis(data, axis, 0)


def stack(images: np.ndarray | Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Return the volume whose :func:`slices` along ``axis`` are these."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(images), 0, axis))


def pad_to_multiple(
    images: np.ndarray, *, multiple: int = 16
) -> tuple[np.ndarray, tuple]:
    """Pad the last two axes with zeros, evenly on both sides, up to a multiple.

    Returns the padded array and the index that crops it back: ``padded[index]`` has the old shape.
    """
    pads, index = [(0, 0)] * (images.ndim - 2), []
    for size in images.shape[-2:]:
        extra = -size % multiple
        pads.append((extra // 2, extra - extra // 2))
        index.append(slice(extra // 2, extra // 2 + size))
    return np.pad(images, pads), (Ellipsis, *index)


def inplane_zoom(spacing: Sequence[float], axis: int) -> tuple[float, float]:
    """Return network pixels per native pixel for the rows and columns of slices along ``axis``.

    1.0 for a spacing of 0.6 to 1.3 mm, otherwise what brings the pixels to 1 mm.
    """
    low, high = PIXEL_RANGE
    sides = [spacing[other] for other in range(3) if other != axis]
    rows, columns = (1.0 if low <= side <= high else side / NETWORK_PIXEL for side in sides)
    return rows, columns


def to_network_pixels(images: np.ndarray, *, zoom: tuple[float, float]) -> np.ndarray:
    """Resample the last two axes by :func:`inplane_zoom`, with antialiasing; the field of view is kept.

    The network runs on this stack; the *difference* between its output and this stack goes back through
    :func:`difference_to_native` and is added to the native slices, so that the detail of the source is kept.
    """
    height, width = images.shape[-2:]
    return _resized(images, (max(1, round(height * zoom[0])), max(1, round(width * zoom[1]))))


def difference_to_native(difference: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """Resample the last two axes of a difference image back to the native rows and columns."""
    return _resized(difference, shape)


def _resized(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize the last two axes; a separable product of two small matrices keeps stacks fast."""
    out = np.asarray(images, dtype=np.float32)
    if out.shape[-2] != shape[0]:
        out = np.matmul(_resizing_matrix(out.shape[-2], shape[0]), out)
    if out.shape[-1] != shape[1]:
        out = np.matmul(out, _resizing_matrix(out.shape[-1], shape[1]).T)
    return out


def _resizing_matrix(old: int, new: int) -> np.ndarray:
    """Return ``(new, old)`` weights of Keys' cubic kernel (a = -0.5), widened when shrinking.

    Pixel edges, not centres, of the first and last pixel coincide. Rows sum to one.
    """
    step = old / new
    width = max(step, 1.0)
    centres = (np.arange(new) + 0.5) * step - 0.5
    reach = int(np.ceil(2 * width))
    taps = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 2)
    weights = _keys(np.abs(taps - centres[:, None]) / width)
    matrix = np.zeros((new, old))
    # Beyond the border the edge pixel is repeated.
    np.add.at(matrix, (np.arange(new)[:, None], np.clip(taps, 0, old - 1)), weights)
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


def _keys(x: np.ndarray) -> np.ndarray:
    """Return Keys' cubic convolution kernel (1981) at distances ``x`` >= 0."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


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
