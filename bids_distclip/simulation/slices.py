"""Slices through a simulated head: the same anatomy under several protocols, with the truth beside each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bids_distclip.quality.physical import PHYSICAL
from bids_distclip.quality.tissue import TISSUES
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head, Sampled
from bids_distclip.simulation.protocol import Protocol
from bids_distclip.simulation.scanner import Effects, apply_effects, limit_resolution
from bids_distclip.simulation.signal import Tissue
from bids_distclip.simulation.tissue import tissue_table

#: Names of the planes by the RAS axis they are perpendicular to.
PLANES = ('sagittal', 'coronal', 'axial')

#: Sulci up to twice as many pixels wide stay in a skull-stripped picture.
CLOSING = 7


@dataclass(frozen=True)
class SliceGeometry:
    """Where a slice lies: ``axis`` it is perpendicular to (0…2, RAS), ``offset`` and in-plane ``center`` in mm from the
    brain's centre, ``pixel`` size and ``thickness`` in mm, ``size`` = (H, W) along the two remaining axes in RAS order.
    """

    axis: int
    offset: float
    center: tuple[float, float] = (0.0, 0.0)
    pixel: float = 1.0
    thickness: float = 1.0
    size: tuple[int, int] = (160, 160)


@dataclass(frozen=True)
class Slice:
    """One slice under P protocols; every image is in units of its own protocol's intensity scale.

    ``clean`` and ``noisy`` are ``(P, H, W)``: without and with noise, shading and filters, equally sharp.
    ``physical`` is ``(3, H, W)``: standardized log T1, log T2, PD; ``brain``, ``head``, ``lesion`` are ``(H, W)``, 0…1.
    ``tissue`` is uint8 ``(H, W)``: the class (:data:`bids_distclip.quality.tissue.TISSUES`) with the largest share;
    lesions keep that of what they lie in. ``scales`` are the raw signals that became 1.0.
    """

    clean: Tensor
    noisy: Tensor
    physical: Tensor
    brain: Tensor
    head: Tensor
    lesion: Tensor
    tissue: Tensor
    scales: tuple[float, ...]


def slice_points(geometry: SliceGeometry, *, oversample: int, device: torch.device | str = 'cpu') -> Tensor:
    """Return the points ``(D, H*n, W*n, 3)`` of a slice in mm, ``n`` per pixel side and ``D`` across its thickness."""
    height, width = geometry.size
    depth = max(1, round(geometry.thickness / 1.25))

    def line(count: int, step: float, middle: float) -> Tensor:
        return (torch.arange(count, device=device) - (count - 1) / 2) * step + middle

    across = line(depth, geometry.thickness / depth, geometry.offset)
    rows = line(height * oversample, geometry.pixel / oversample, geometry.center[0])
    columns = line(width * oversample, geometry.pixel / oversample, geometry.center[1])
    grid = torch.stack(torch.meshgrid(across, rows, columns, indexing='ij'), -1)
    order = {0: (0, 1, 2), 1: (1, 0, 2), 2: (1, 2, 0)}[geometry.axis]
    return grid[..., list(order)]


def intensity_scales(head: Head, protocols: Sequence[Protocol], *, seed: int = 0, count: int = 30_000) -> list[float]:
    """Return each protocol's 99.5th percentile of the signal in this head's brain, from random points."""
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor([75.0, 95.0, 80.0])
    points = ((torch.rand(count, 3, generator=generator) * 2 - 1) * extent).to(head._center.device)
    cache: dict[float, Tissue] = {}
    scales = []
    for protocol in protocols:
        field = protocol.field_strength
        if field not in cache:
            sampled = head.at(points, field_strength=field)
            cache[field] = sampled.tissue[sampled.brain > 0.5]
        signal = protocol.render(cache[field])
        scales.append(max(float(torch.quantile(signal, 0.995)), 1e-6))
    return scales


def usual_scales(anatomies: Sequence[Anatomy], protocols: Sequence[Protocol]) -> list[float]:
    """Return each protocol's intensity scale, the mean over three whole heads if there are so many."""
    some = ([a for a in anatomies if a.whole_head] or list(anatomies))[:3]
    found = [intensity_scales(Head(a, seed=i, deform_mm=2.0), protocols, seed=i) for i, a in enumerate(some)]
    return [sum(scales) / len(scales) for scales in zip(*found, strict=True)]


def render_slice(
    head: Head,
    protocols: Sequence[Protocol],
    geometry: SliceGeometry,
    *,
    effects: Sequence[Effects | None],
    resolution: tuple[tuple[float, float], float] = ((1.0, 1.0), 0.3),
    oversample: int = 2,
    b1_spread: float = 0.0,
    strip: float | None = None,
    scales: Sequence[float] | None = None,
    seed: int = 0,
) -> Slice:
    """Image one slice of a head under every protocol.

    ``effects[i]`` of ``None`` leaves that image without noise. ``strip`` removes what lies further than that many
    millimetres outside the brain tissue, as a skull-stripping program would; ``None`` keeps the whole head.
    """
    points = slice_points(geometry, oversample=oversample, device=head._center.device)
    depth, fine_h, fine_w = points.shape[:3]
    flat = points.reshape(-1, 3)
    sampled = {f: head.at(flat, field_strength=f) for f in {p.field_strength for p in protocols}}
    b1 = _transmit_field(flat, spread=b1_spread, seed=seed)

    def pool(values: Tensor) -> Tensor:
        plane = values.reshape(depth, fine_h, fine_w).mean(0)[None, None]
        return F.avg_pool2d(plane, oversample)[0, 0] if oversample > 1 else plane[0, 0]

    first = sampled[protocols[0].field_strength]
    brain, lesion = pool(first.brain), pool(first.lesion)
    keep = torch.ones_like(brain) if strip is None else _strip_mask(first, pool, strip / geometry.pixel)
    scales = list(scales or intensity_scales(head, protocols, seed=seed))
    clean, noisy = [], []
    for protocol, effect, scale in zip(protocols, effects, scales, strict=False):
        ideal = pool(protocol.render(sampled[protocol.field_strength].tissue, b1=b1)) / scale
        ideal = limit_resolution(ideal, keep=resolution[0], window=resolution[1]).clamp(min=0)
        clean.append(ideal * keep)
        noisy.append(apply_effects(ideal, effect) * keep if effect is not None else clean[-1])
    physical, present = _physical_maps(sampled[max(sampled)].tissue, pool, keep)
    return Slice(
        clean=torch.stack(clean),
        noisy=torch.stack(noisy),
        physical=physical,
        brain=brain * keep,
        head=(present > 0.05).float() * keep,
        lesion=lesion * keep,
        tissue=_largest_share(first, pool) * (keep > 0.5),
        scales=tuple(scales),
    )


def _physical_maps(tissue: Tissue, pool, keep: Tensor) -> tuple[Tensor, Tensor]:
    present = pool(tissue.pd) * keep
    weight = present.clamp(min=1e-3)
    log_t1 = pool(tissue.pd * tissue.t1.log()) / weight
    log_t2 = pool(tissue.pd * tissue.t2.log()) / weight
    maps = [(m - mean) / sd for m, (mean, sd) in zip((log_t1, log_t2, present), PHYSICAL, strict=False)]
    inside = (present > 0.05).float()
    return torch.stack([maps[0] * inside, maps[1] * inside, maps[2]]), present


def _largest_share(sampled: Sampled, pool: Callable[[Tensor], Tensor]) -> Tensor:
    channels = torch.as_tensor(tissue_table(3.0).channel, device=sampled.label.device)
    at = channels[sampled.label] * (sampled.brain > 0.5)
    return torch.stack([pool((at == number).float()) for number in range(len(TISSUES))]).argmax(0).to(torch.uint8)


def _transmit_field(points: Tensor, *, spread: float, seed: int) -> Tensor | float:
    """Return a smooth flip-angle factor: strongest in the middle of the head, weaker outside (Collins 2002)."""
    if spread <= 0:
        return 1.0
    rng = np.random.default_rng(seed)
    center = torch.as_tensor(rng.normal(0, 15, 3), dtype=torch.float32, device=points.device)
    squared = ((points - center) / 100.0).pow(2).sum(1)
    return 1.0 + spread * (0.5 - squared.clamp(max=1.5)) + float(rng.normal(0, spread / 2))


def _strip_mask(sampled, pool, margin: float) -> Tensor:
    """Return what a skull-stripping program keeps: brain and ventricles, sulci closed, and a margin of pixels."""
    outside = tissue_table(3.0).index('subarachnoid')
    core = pool(sampled.brain * (sampled.label != outside).float())
    reach = CLOSING + max(1, round(margin))
    closed = F.max_pool2d((core > 0.3).float()[None, None], 2 * reach + 1, stride=1, padding=reach)
    closed = -F.max_pool2d(-closed, 2 * CLOSING + 1, stride=1, padding=CLOSING)
    return closed[0, 0] * (pool(sampled.brain) > 0.5)
