"""What the guides leave open: how else a result would look if the styles were those of acquisitions much like them.

A prompt or a picture says roughly how bright each tissue is on its scanner. The known acquisitions nearest in style
stand for what it may mean as well; some slices are harmonized with them, and how far the results differ is learnt as
a function of the brightness before and after, which is much the same all over a tissue, and asked at every voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from bids_distclip.networks.inference import run_plane

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bids_distclip.networks.generator import Generator
    from bids_distclip.networks.photometer import Photometer

#: Known acquisitions that stand for one guide, and slices that are harmonized with each.
NEIGHBOURS, SLICES = 5, 8
#: Bins per unit of intensity, highest intensity, and width in bins over which the table is smoothed.
_BINS, _TOP, _SMOOTH = 32, 2.0, 1.5


def neighbours(meter: Photometer | None, theta: Tensor, *, family: str | None) -> Tensor | None:
    """Return the styles ``(NEIGHBOURS, 512)`` of the known acquisitions of a family nearest to ``theta`` ``(1, 512)``.

    None where the photometer does not know the family, or there is none.
    """
    if meter is None or family not in meter.families:
        return None
    known = meter.theta[meter.families.index(family)].to(theta)
    return known[(known @ theta[0]).topk(NEIGHBOURS).indices]


def style_doubt(
    generator: Generator,
    image: np.ndarray,
    out: np.ndarray,
    *,
    brain: np.ndarray,
    head: np.ndarray,
    spacing: Sequence[float],
    styles: tuple[Tensor, Tensor],
    others: tuple[Tensor, Tensor],
    residual: bool,
    precision: torch.dtype,
    batch: int = 8,
) -> np.ndarray:
    """Return per voxel ``(X, Y, Z)`` the root mean square difference that other ``styles`` would make.

    ``image`` and ``out`` are RAS on their normalized scales, ``brain`` and ``head`` boolean masks of their shape,
    ``styles`` θ ``(1, 512)`` of source and target, ``others`` their :func:`neighbours`. Within a family the
    difference vanishes as source and target become one: both guides then err alike.
    """
    source, target = styles
    filled = np.flatnonzero(brain.any((0, 1)))
    if not len(filled):
        return np.zeros_like(image)
    chosen = np.unique(np.quantile(filled, np.linspace(0.1, 0.9, SLICES), method='nearest'))
    part, seen = (np.ascontiguousarray(each[:, :, chosen]) for each in (image, head))

    def made(theta_source: Tensor, theta_target: Tensor) -> np.ndarray:
        return run_plane(
            generator, part, head=seen, axis=2, spacing=spacing, source=theta_source, target=theta_target,
            residual=residual, batch=batch, precision=precision,
        )  # fmt: skip

    answer = made(source, target)
    squares = np.mean([(made(s[None], t[None]) - answer) ** 2 for s, t in zip(*others, strict=True)], axis=0)
    if residual:
        squares *= _apart(source, target, others) ** 2
    inside = brain[:, :, chosen]
    result = answer + part if residual else answer
    table = _table(part[inside], result[inside], squares[inside])
    return np.sqrt(ndimage.map_coordinates(table, _place(image, out), order=1, mode='nearest'))


def _apart(source: Tensor, target: Tensor, others: tuple[Tensor, Tensor]) -> float:
    """Return how far apart two styles are in units of the distance to their neighbours, at most 1."""
    reach = 0.5 * sum(float((o - t).norm(dim=1).mean()) for o, t in zip(others, (source, target), strict=True))
    return min(1.0, float((source - target).norm()) / max(reach, 1e-6))


def _place(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.stack([np.clip(a, 0, _TOP) * _BINS for a in (before, after)])


def _table(before: np.ndarray, after: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mean of values over brightness before and after, smoothed; empty places take after those around."""
    size = int(_TOP * _BINS) + 1
    rows, columns = _place(before, after).round().astype(int)
    flat = rows * size + columns
    sums, counts = (np.bincount(flat, w, size * size).reshape(size, size) for w in (values, None))
    table = np.full((size, size), float(values.mean()))
    # From coarse to fine, so that what is rarely seen takes after its surroundings.
    for width in (8 * _SMOOTH, 4 * _SMOOTH, 2 * _SMOOTH, _SMOOTH):
        weight = ndimage.gaussian_filter(counts.astype(float), width)
        table = (ndimage.gaussian_filter(sums, width) + 0.01 * table) / (weight + 0.01)
    return table
