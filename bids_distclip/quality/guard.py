"""Where local structure of the source is gone from the output, or structure appears that the source lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_distclip.quality.gradient import box, gradient, magnitude

#: Gaussian width of the gradients and of the neighbourhood that is compared, in millimetres.
FINE = 1.0
NEIGHBOURHOOD = 3.0
#: Findings lie so many millimetres apart, and smaller changes (of 1) are not told.
APART, LEAST = 20.0, 0.1
_TINY = 1e-12


@dataclass(frozen=True)
class Guard:
    """What the comparison of local structure found.

    ``map`` is float32 ``(X, Y, Z)`` in -1..1: negative where structure was lost, positive where it was
    invented, 0 outside the mask. ``lost`` and ``invented`` are its mean parts within the mask (0 is best).
    ``worst_lost`` and ``worst_invented`` are the voxels of the extremes, or None where there is none,
    ``peak_lost`` and ``peak_invented`` the values there.

    These are measurements without a verdict; :mod:`bids_distclip.quality.trust` knows limits. Between contrast
    families some loss is physics, not a fault: what is isointense in the target cannot be seen there.
    """

    map: np.ndarray
    lost: float
    invented: float
    worst_lost: tuple[int, int, int] | None
    worst_invented: tuple[int, int, int] | None
    peak_lost: float = 0.0
    peak_invented: float = 0.0


def compare_structure(
    source: np.ndarray, output: np.ndarray, *, mask: np.ndarray, spacing: Sequence[float]
) -> Guard:
    """Compare the local gradient structure of two images on one grid, blind to the sign of the contrast.

    Both are ``(X, Y, Z)`` in any units, ``mask`` is boolean, ``spacing`` in millimetres. Each gradient field
    is divided by its own root mean square within the mask. In a Gaussian neighbourhood let *s* and *o* be the
    mean squared gradients and *c* the mean absolute inner product: lost = max(0, s - c) / (s + o + 1) and
    invented = max(0, o - c) / (s + o + 1). The 1 (the average energy of the image) keeps noise in flat
    places from counting. Equal or sign-inverted structure gives 0 in both.
    """
    found = np.zeros(mask.shape, dtype=np.float32)
    if not mask.any():
        return Guard(found, 0.0, 0.0, None, None)
    part = box(mask, margin=8)
    inside = mask[part]
    first = _unit_energy(source[part], mask=inside, spacing=spacing)
    second = _unit_energy(output[part], mask=inside, spacing=spacing)
    near = [NEIGHBOURHOOD / s for s in spacing]
    energy = [ndimage.gaussian_filter(magnitude(g) ** 2, near, truncate=2.5) for g in (first, second)]
    common = ndimage.gaussian_filter(np.abs(np.einsum('i...,i...->...', first, second)), near, truncate=2.5)
    total = energy[0] + energy[1] + 1.0
    lost = np.where(inside, np.maximum(energy[0] - common, 0) / total, 0)
    invented = np.where(inside, np.maximum(energy[1] - common, 0) / total, 0)
    found[part] = invented - lost
    return Guard(
        map=found,
        lost=float(lost[inside].mean()),
        invented=float(invented[inside].mean()),
        worst_lost=_place(lost, part=part),
        worst_invented=_place(invented, part=part),
        peak_lost=float(lost.max()),
        peak_invented=float(invented.max()),
    )


@dataclass(frozen=True)
class Finding:
    """One place where structure changed most: ``kind`` is lost or invented, ``value`` its part in 0..1.

    ``place`` is in the scanner's millimetres (RAS+), ``voxel`` the index in the image's grid.
    """

    kind: str
    value: float
    place: tuple[float, float, float]
    voxel: tuple[int, int, int]


def find_places(guard: Guard, *, affine: np.ndarray, most: int = 3) -> list[Finding]:
    """Return the places of the largest changes, at least :data:`APART` millimetres apart, the largest first.

    ``affine`` is ``(4, 4)``, voxel to RAS+ millimetres. Changes below :data:`LEAST` are not told: every image has
    a place that changed most.
    """
    size = np.abs(guard.map)
    found: list[Finding] = []
    candidates = np.flatnonzero((size >= LEAST) & (size == ndimage.maximum_filter(size, size=3)))
    for index in candidates[np.argsort(size.ravel()[candidates])[::-1]]:
        voxel = tuple(int(i) for i in np.unravel_index(index, size.shape))
        place = (affine @ [*voxel, 1.0])[:3]
        if len(found) < most and all(np.linalg.norm(place - other.place) >= APART for other in found):
            value = float(guard.map[voxel])
            kind = 'lost' if value < 0 else 'invented'
            x, y, z = (round(float(p), 1) for p in place)
            found.append(Finding(kind, round(abs(value), 3), (x, y, z), (voxel[0], voxel[1], voxel[2])))
    return found


def _unit_energy(data: np.ndarray, *, mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    field = gradient(data, spacing=spacing, sigma=FINE)
    size = float(np.sqrt(np.mean(magnitude(field)[mask] ** 2)))
    return field / size if size > _TINY else np.zeros_like(field)


def _place(values: np.ndarray, *, part: tuple[slice, ...]) -> tuple[int, int, int] | None:
    if values.max() <= 0:
        return None
    index = np.unravel_index(int(values.argmax()), values.shape)
    return tuple(int(i) + p.start for i, p in zip(index, part, strict=True))
