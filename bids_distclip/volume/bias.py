"""The receive field: slow brightness changes across the head, estimated with N4 and divided out."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from bids_distclip.volume.itk import from_itk, to_itk
from bids_distclip.volume.planes import bounding_box

#: Tustison et al. 2010 use four levels of fifty iterations. The fourth follows a large lesion as it would follow
#: shading and takes much of its contrast (:mod:`bids_distclip.benchmark.shading`).
ITERATIONS = (50, 50, 50)
#: Work on pixels of about this size (mm): shrink factor 4 on a 1 mm image.
WORKING_SIZE = 4.0
#: The first levels know so few control points that pixels of this size (mm) do: on simulated heads of known shading the
#: error grew by 0 to 2 % of itself, and a third of the time went. Used for all levels it grew by up to a third.
_ROUGH_LEVELS, _ROUGH_SIZE = 2, 8.0
#: Control points of a cubic spline that spans its lattice with one patch.
_POINTS = 4
_MARGIN = 2  # voxels
#: White matter whose neighbourhood (mm) is further than so many standard deviations from the middle is a lesion, or
#: none, and tells no shading. Single voxels would not do: where noise is strong a tumour lies within its reach.
_OUTLIER, _AROUND = 2.5, 3.0


def n4_field(
    data: np.ndarray,
    *,
    affine: np.ndarray,
    mask: np.ndarray,
    iterations: tuple[int, ...] = ITERATIONS,
    size: float = WORKING_SIZE,
    threads: int = 1,
) -> np.ndarray:
    """Estimate the bias field of ``(X, Y, Z)`` with N4 (Tustison 2010) inside a mask.

    The image is shrunk along each axis to about ``size`` mm (the first levels of several to 8 mm), and the field
    evaluated on the full grid. Returns a float32 field of that shape to divide by, geometric mean 1 inside the mask;
    outside it the field never leaves the range it has inside.
    """
    if threads < 1:
        raise ValueError('N4 needs at least one thread')
    # Air costs time and tells nothing: work in a box around the mask, and repeat the field's edge beyond.
    box = bounding_box(mask, _MARGIN)
    inside = mask[box]
    image = np.maximum(data[box], 0).astype(np.float32)
    steps = [(iterations, size, _POINTS)]
    if size < _ROUGH_SIZE and len(iterations) > _ROUGH_LEVELS:
        # The lattice of every level has twice as many patches as that of the level before.
        patches = (_POINTS - 3) * 2**_ROUGH_LEVELS
        steps = [(iterations[:_ROUGH_LEVELS], _ROUGH_SIZE, _POINTS), (iterations[_ROUGH_LEVELS:], size, patches + 3)]
    log_field = np.zeros(image.shape, np.float32)
    for some, side, points in steps:
        flat = image / np.exp(log_field)
        log_field += _log_field(
            flat, affine=affine, mask=inside, iterations=some, size=side, points=points, threads=threads
        )
    known = log_field[inside]
    log_field = np.clip(log_field, known.min(), known.max()) - known.mean()
    beyond = [(edge.start, size - edge.stop) for edge, size in zip(box, data.shape, strict=True)]
    return np.exp(np.pad(log_field, beyond, mode='edge'))


def left_field(data: np.ndarray, *, affine: np.ndarray, white: np.ndarray, threads: int = 1) -> np.ndarray:
    """Estimate from white matter alone what is left of the bias field of ``(X, Y, Z)`` that N4 has corrected once.

    One tissue has one brightness, so that whatever varies slowly in it is shading, where in a whole brain it may be a
    lesion or a lobe with more cortex. ``white`` is a boolean mask; its outliers are left out. Returns a field as
    :func:`n4_field` does, geometric mean 1 inside the mask, or ones where white matter has no spread.
    """
    if not white.any():
        return np.ones(data.shape, np.float32)
    box = bounding_box(white, _MARGIN)
    sigma = _AROUND / np.linalg.norm(affine[:3, :3], axis=0)
    inside = white[box]
    parts = (np.where(inside, data[box], 0), inside)
    total, count = (ndimage.gaussian_filter(one.astype(np.float32), sigma)[inside] for one in parts)
    values = np.log(np.maximum(total / count, 1e-6))
    away = np.abs(values - np.median(values))
    # The median deviation of a normal distribution is 0.674 of its standard deviation.
    spread = np.median(away) / 0.674
    if spread <= 1e-6:
        return np.ones(data.shape, np.float32)
    usual = white.copy()
    usual[white] = away <= _OUTLIER * spread
    return n4_field(data, affine=affine, mask=usual, threads=threads)


def _log_field(
    image: np.ndarray,
    *,
    affine: np.ndarray,
    mask: np.ndarray,
    iterations: tuple[int, ...],
    size: float,
    points: int,
    threads: int,
) -> np.ndarray:
    """Return the logarithm of the field ``(X, Y, Z)`` that N4 finds from a lattice of so many points an axis on."""
    full = to_itk(image, affine=affine)
    shrink = [max(1, round(size / side)) for side in full.GetSpacing()]
    # The B-spline lattice needs a few voxels along every axis.
    shrink = [min(factor, max(1, count // 12)) for factor, count in zip(shrink, full.GetSize(), strict=True)]
    region = sitk.Shrink(to_itk(mask.astype(np.uint8), affine=affine), shrink)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(threads)
    n4.SetNumberOfControlPoints([points] * 3)
    n4.SetMaximumNumberOfIterations(list(iterations))
    n4.Execute(sitk.Shrink(full, shrink), region)
    return from_itk(n4.GetLogBiasFieldAsImage(full)).astype(np.float32)


def corrected(data: np.ndarray, *, field: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Divide by the field and scale so that the mean intensity inside the brain stays what it was."""
    flat = data / field
    before, after = float(data[brain].mean()), float(flat[brain].mean())
    return (flat * np.float32(before / after if after > 0 else 1.0)).astype(np.float32)
