"""Smoothed spatial gradients in physical units, the ground that structure measures stand on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_TINY = 1e-12


def gradient(data: np.ndarray, *, spacing: Sequence[float], sigma: float) -> np.ndarray:
    """Return the gradient of a smoothed image.

    ``data`` is ``(X, Y, Z)``; ``spacing`` and ``sigma`` (of the Gaussian) are in millimetres. The answer is
    float32 ``(3, X, Y, Z)``, in the image's units per millimetre. Smoothing in millimetres keeps thick slices
    from being smoothed further than thin ones.
    """
    smooth = ndimage.gaussian_filter(
        np.asarray(data, dtype=np.float32), [sigma / s for s in spacing], truncate=3.0
    )
    return np.stack(np.gradient(smooth, *[float(s) for s in spacing])).astype(np.float32)


def magnitude(field: np.ndarray) -> np.ndarray:
    """Return the length of a vector field ``(3, X, Y, Z)`` as ``(X, Y, Z)``."""
    return np.sqrt(np.einsum('i...,i...->...', field, field))


def alignment(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared cosine between two vector fields, 0 where either vanishes; shape ``(X, Y, Z)``.

    Squaring makes it blind to the sign of the contrast (Haber and Modersitzki 2006, normalized gradient
    fields); two unrelated directions in space give 1/3 on average.
    """
    inner = np.einsum('i...,i...->...', a, b)
    norms = np.einsum('i...,i...->...', a, a) * np.einsum('i...,i...->...', b, b)
    return np.where(norms > _TINY, inner**2 / np.maximum(norms, _TINY), 0.0)


def box(mask: np.ndarray, *, margin: int = 4) -> tuple[slice, ...]:
    """Return the smallest box around a mask, widened by ``margin`` voxels; the whole grid if it is empty."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return tuple(slice(0, n) for n in mask.shape)
    return tuple(
        slice(max(0, part.start - margin), min(n, part.stop + margin))
        for part, n in zip(found[0], mask.shape, strict=True)
    )
