"""The receive field: slow brightness changes across the head, estimated with N4 and divided out."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from bids_distclip.volume.itk import from_itk, to_itk
from bids_distclip.volume.planes import bounding_box

#: Tustison et al. 2010 use four levels of fifty iterations; the last level is cut where time counts.
ITERATIONS = (50, 50, 40, 20)
#: Work on pixels of about this size (mm): shrink factor 4 on a 1 mm image.
WORKING_SIZE = 4.0
_MARGIN = 2  # voxels


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

    The image is shrunk along each axis to about ``size`` mm, and the field evaluated on the full grid. Returns a
    float32 field of the same shape to divide by, geometric mean 1 inside the mask; outside it the field never
    leaves the range it has inside.
    """
    if threads < 1:
        raise ValueError('N4 needs at least one thread')
    # Air costs time and tells nothing: work in a box around the mask, and repeat the field's edge beyond.
    box = bounding_box(mask, _MARGIN)
    inside = mask[box]
    full = to_itk(np.maximum(data[box], 0).astype(np.float32), affine=affine)
    shrink = [max(1, round(size / side)) for side in full.GetSpacing()]
    # The B-spline lattice needs a few voxels along every axis.
    shrink = [min(factor, max(1, count // 12)) for factor, count in zip(shrink, full.GetSize(), strict=True)]
    region = sitk.Shrink(to_itk(inside.astype(np.uint8), affine=affine), shrink)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(threads)
    n4.SetMaximumNumberOfIterations(list(iterations))
    n4.Execute(sitk.Shrink(full, shrink), region)
    log_field = from_itk(n4.GetLogBiasFieldAsImage(full)).astype(np.float32)
    known = log_field[inside]
    log_field = np.clip(log_field, known.min(), known.max()) - known.mean()
    beyond = [(edge.start, size - edge.stop) for edge, size in zip(box, data.shape, strict=True)]
    return np.exp(np.pad(log_field, beyond, mode='edge'))


def corrected(data: np.ndarray, *, field: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Divide by the field and scale so that the mean intensity inside the brain stays what it was."""
    flat = data / field
    before, after = float(data[brain].mean()), float(flat[brain].mean())
    return (flat * np.float32(before / after if after > 0 else 1.0)).astype(np.float32)
