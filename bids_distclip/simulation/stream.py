"""An endless, reproducible stream of training batches: batch *i* of a seed is always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.lesions import LESIONS
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.simulation.scanner import draw_effects, draw_resolution
from bids_distclip.simulation.slices import PLANES, Slice, SliceGeometry, intensity_scales, render_slice


@dataclass(frozen=True)
class StreamOptions:
    """How a batch is made: ``slices`` anatomies × ``protocols`` each, ``size`` pixels a side, ``same_family`` the share
    of slices whose protocols all belong to one contrast family, ``pool`` the number of protocols a whole batch shares
    (0: every slice draws its own), ``lesions``/``texture`` off for ablations,
    ``reach`` how far out slices are cut, 1 where the brain is large in them. With ``neighbours`` every other slice is
    the one beside the slice before it, of the same head under the same protocols."""

    slices: int = 4
    protocols: int = 2
    size: int = 160
    pixel: tuple[float, float] = (0.85, 1.25)
    same_family: float = 0.35
    pool: int = 0
    stripped: float = 0.5
    lesions: bool = True
    texture: bool = True
    reach: float = 1.0
    seed: int = 0
    neighbours: bool = False


@dataclass(frozen=True)
class Batch:
    """S slices × P protocols. Images are ``(S, P, H, W)``, ``physical`` ``(S, 3, H, W)``, masks ``(S, H, W)``.

    ``tissue`` ``(S, H, W)`` is that of :class:`bids_distclip.simulation.slices.Slice`.
    ``protocols[s][p]`` made ``clean[s, p]``; ``planes[s]`` names the slice's plane; ``heads[s]`` the anatomy's number;
    ``scales`` ``(S, P)`` the raw signals that became 1.0; ``pixels`` their size in mm; ``neighbours`` whether slices
    2i and 2i + 1 lie side by side.
    """

    clean: Tensor
    noisy: Tensor
    physical: Tensor
    brain: Tensor
    head: Tensor
    lesion: Tensor
    tissue: Tensor
    protocols: tuple[tuple[Protocol, ...], ...]
    planes: tuple[str, ...]
    heads: tuple[int, ...]
    scales: Tensor
    pixels: tuple[float, ...]
    neighbours: bool


class SliceStream(Dataset):
    """Batches by number. Each is computed from ``(seed, number)`` alone: a resumed training sees the same ones."""

    def __init__(
        self,
        anatomies: Sequence[Anatomy],
        options: StreamOptions,
        *,
        length: int,
        device: torch.device | str = 'cpu',
    ) -> None:
        self.anatomies = list(anatomies)
        self.options = options
        self.length = length
        self.device = device

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Batch:
        rng = np.random.default_rng([self.options.seed, number])
        pool = _draw_pool(rng, self.options)
        count = self.options.slices // (2 if self.options.neighbours else 1)
        made = [cut for _ in range(count) for cut in self._cuts(rng, pool)]
        slices, protocols, geometries, heads = zip(*made, strict=False)
        stack = {
            name: torch.stack([getattr(s, name) for s in slices])
            for name in ('clean', 'noisy', 'physical', 'brain', 'head', 'lesion', 'tissue')
        }
        return Batch(
            **stack,
            protocols=protocols,
            planes=tuple(PLANES[g.axis] for g in geometries),
            heads=heads,
            scales=torch.tensor([s.scales for s in slices], dtype=torch.float32),
            pixels=tuple(g.pixel for g in geometries),
            neighbours=self.options.neighbours,
        )

    def _cuts(
        self, rng: np.random.Generator, pool: Sequence[Protocol]
    ) -> list[tuple[Slice, tuple[Protocol, ...], SliceGeometry, int]]:
        """Return a slice of a head drawn anew, and the one beside it if asked for."""
        options = self.options
        number = int(rng.integers(len(self.anatomies)))
        kinds = [k for k in LESIONS if rng.random() < 0.15] if options.lesions else []
        head = Head(
            self.anatomies[number],
            seed=int(rng.integers(2**31)),
            deform_mm=float(rng.uniform(1.0, 4.0)),
            texture_scale=float(rng.uniform(0.3, 2.2)) if options.texture else 0.0,
            lesion_kinds=kinds,
            ventricles_mm=float(rng.uniform(-1.0, 5.0)) if rng.random() < 0.4 else 0.0,
            device=self.device,
        )
        protocols = _draw_protocols(rng, options, pool)
        geometry = _draw_geometry(rng, options, head)
        resolution = draw_resolution(rng)
        seed = int(rng.integers(2**31))
        scales = [s * rng.normal(1.0, 0.02) for s in intensity_scales(head, protocols, seed=seed)]
        strip = float(rng.uniform(0.5, 4.0)) if rng.random() < options.stripped or not head.anatomy.whole_head else None
        effects = [draw_effects(rng, resolution=resolution) for _ in protocols]
        b1_spread = float(rng.uniform(0.0, 0.25))
        cuts = [(geometry, effects)]
        if options.neighbours:
            beside = replace(geometry, offset=geometry.offset + geometry.thickness)
            cuts.append((beside, [replace(e, noise_seed=e.seed + 1) for e in effects]))
        return [
            (
                render_slice(
                    head,
                    protocols,
                    where,
                    resolution=resolution,
                    scales=scales,
                    seed=seed,
                    strip=strip,
                    effects=seen,
                    b1_spread=b1_spread,
                ),
                protocols,
                where,
                number,
            )
            for where, seen in cuts
        ]


def _draw_protocols(rng: np.random.Generator, options: StreamOptions, pool: Sequence[Protocol]) -> tuple[Protocol, ...]:
    alike = rng.random() < options.same_family
    if pool and alike:
        return tuple(pool[i] for i in rng.permutation(options.protocols))
    if pool:
        return tuple(pool[i] for i in rng.choice(len(pool), options.protocols, replace=False))
    family = _draw_family(rng) if alike else None
    return tuple(draw_protocol(rng, family=family) for _ in range(options.protocols))


def _draw_pool(rng: np.random.Generator, options: StreamOptions) -> list[Protocol]:
    """Draw the protocols a batch shares; the first ones, for slices within one family, belong to the same family."""
    if not options.pool:
        return []
    family = _draw_family(rng)
    alike = [draw_protocol(rng, family=family) for _ in range(options.protocols)]
    return alike + [draw_protocol(rng) for _ in range(options.pool - options.protocols)]


def _draw_family(rng: np.random.Generator) -> str:
    return str(rng.choice(['T1w', 'T2w', 'FLAIR', 'PDw', 'T2starw'], p=[0.35, 0.25, 0.2, 0.1, 0.1]))


def _draw_geometry(rng: np.random.Generator, options: StreamOptions, head: Head) -> SliceGeometry:
    axis = int(rng.choice(3, p=[0.28, 0.28, 0.44]))
    reach = ((-55, 55), (-75, 70), (-50, 65))[axis]
    pixel = float(rng.uniform(*options.pixel))
    thick = float(rng.uniform(2.0, 5.0)) if rng.random() < 0.2 else pixel
    across, along = rng.normal(0, 10, 2)
    return SliceGeometry(
        axis=axis,
        offset=options.reach * float(rng.uniform(*reach)),
        center=(float(across), float(along)),
        pixel=pixel,
        thickness=thick,
        size=(options.size, options.size),
    )
