"""Whole simulated volumes: one head under one protocol, with the noise-free truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import Protocol
from bids_distclip.simulation.scanner import draw_effects
from bids_distclip.simulation.slices import SliceGeometry, intensity_scales, render_slice


@dataclass(frozen=True)
class SimulatedVolume:
    """Arrays ``(X, Y, Z)`` in RAS: ``image`` as scanned, ``truth`` without noise and shading, ``brain`` and ``lesion``
    fractions; ``tissue`` the uint8 class of every voxel (:data:`bids_distclip.quality.tissue.TISSUES`); ``affine`` to
    millimetres; images in units of the protocol's intensity scale."""

    image: np.ndarray
    truth: np.ndarray
    brain: np.ndarray
    lesion: np.ndarray
    tissue: np.ndarray
    affine: np.ndarray


def simulate_volumes(
    head: Head,
    protocols: Sequence[Protocol],
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    size: tuple[int, int, int] = (176, 224, 208),
    seed: int = 0,
    noisy: bool = True,
    shaded: bool = True,
    strip: float | None = None,
    effect_strength: float = 1.0,
    every: int = 1,
    resolution: tuple[tuple[float, float], float] = ((1.0, 1.0), 0.4),
) -> list[SimulatedVolume]:
    """Image a head under each protocol on one RAS grid of ``size`` voxels, axial slices ``spacing[2]`` thick.

    Of these, every ``every``-th slice is imaged, from the middle of the first so many on. The in-plane spacing must be
    square. All images are as sharp as ``resolution`` lets them
    (:func:`bids_distclip.simulation.scanner.limit_resolution`). Every protocol has its own shading, which is the same
    for all its slices, or none if not ``shaded``.
    """
    if abs(spacing[0] - spacing[1]) > 1e-6:
        raise ValueError('in-plane voxels must be square')
    rng = np.random.default_rng(seed)
    scales = intensity_scales(head, protocols, seed=seed)
    strengths = [draw_effects(rng, resolution=resolution, strength=effect_strength) for _ in protocols]
    made = []
    chosen = range(every // 2, size[2], every)
    for index in chosen:
        offset = (index - (size[2] - 1) / 2) * spacing[2]
        geometry = SliceGeometry(axis=2, offset=offset, pixel=spacing[0], thickness=spacing[2], size=size[:2])
        effects = [_per_slice(e, index) if noisy else None for e in strengths]
        made.append(
            render_slice(
                head,
                protocols,
                geometry,
                effects=effects,
                resolution=resolution,
                scales=scales,
                seed=seed,
                strip=strip,
            )
        )
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(size, spacing, strict=False)]
    affine[2, 3] += chosen[0] * spacing[2]
    affine[2, 2] *= every
    kept = ('brain', 'lesion', 'tissue')
    brain, lesion, tissue = (torch.stack([getattr(m, name) for m in made], -1).numpy() for name in kept)
    volumes = []
    for p, strength in enumerate(strengths):
        image = torch.stack([m.noisy[p] for m in made], -1).numpy()
        truth = torch.stack([m.clean[p] for m in made], -1).numpy()
        if noisy and shaded:
            image = image * shading(size, amplitude=strength.bias, seed=strength.seed)[..., chosen]
        volumes.append(SimulatedVolume(image.astype(np.float32), truth, brain, lesion, tissue, affine))
    return volumes


def _per_slice(effects, index: int):
    """Return the effects of one slice: its own noise, no shading (that is put on the whole volume)."""
    from dataclasses import replace

    return replace(effects, seed=effects.seed + index + 1, bias=0.0)


def shading(size: tuple[int, int, int], *, amplitude: float, seed: int) -> np.ndarray:
    """Return a smooth random field ``(X, Y, Z)`` whose logarithm varies by about ``amplitude``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 4, 4, 4, generator=generator)
    field = torch.nn.functional.interpolate(coarse, size=size, mode='trilinear', align_corners=True)[0, 0]
    return torch.exp(amplitude * field).numpy()
