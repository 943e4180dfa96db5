"""What pictures and prompts of drawn protocols become in MR-CLIP: what its eye makes of them, else its towers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.networks.eye import Eye, read_prompts
from bids_distclip.networks.look import describe_look
from bids_distclip.networks.mrclip import MRCLIP, fit_slices
from bids_distclip.networks.photometer import SIDE
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import Protocol
from bids_distclip.simulation.scanner import draw_effects, draw_resolution
from bids_distclip.simulation.slices import SliceGeometry, render_slice

#: Protocols that one head is seen under at a time.
TOGETHER = 8


@dataclass(frozen=True)
class Seen:
    """Unit vectors ``(N, D)`` of pictures, and the number of the head ``(N,)`` and protocol ``(N,)`` of each."""

    theta: Tensor
    head: np.ndarray
    protocol: np.ndarray


def see(
    clip: MRCLIP,
    anatomies: Sequence[Anatomy],
    protocols: Sequence[Protocol],
    *,
    seed: int,
    eye: Eye | None = None,
    heads: int = 1,
    slices: int = 3,
) -> Seen:
    """Embed every protocol on ``heads`` heads: ``slices`` axial slices with noise and shading, their mean.

    Eight protocols at a time share their heads, which are drawn anew from the anatomies.
    """
    rng = np.random.default_rng([seed, 1])
    theta: list[Tensor] = []
    number: list[int] = []
    which: list[int] = []
    for start in range(0, len(protocols), TOGETHER):
        some = protocols[start : start + TOGETHER]
        for _ in range(heads):
            anatomy = anatomies[int(rng.integers(len(anatomies)))]
            head = Head(anatomy, seed=int(rng.integers(2**31)), lesion_kinds=('ms',))
            theta.append(_look(clip, head, some, rng, eye=eye, slices=slices))
            number += [len(theta)] * len(some)
            which += range(start, start + len(some))
    return Seen(torch.cat(theta), np.array(number), np.array(which))


def _look(
    clip: MRCLIP,
    head: Head,
    protocols: Sequence[Protocol],
    rng: np.random.Generator,
    *,
    eye: Eye | None,
    slices: int,
) -> Tensor:
    found = []
    for offset in np.linspace(-5, 35, slices):
        resolution = draw_resolution(rng)
        made = render_slice(
            head,
            protocols,
            SliceGeometry(axis=2, offset=float(offset), pixel=1.5, thickness=1.5, size=(144, 144)),
            effects=[draw_effects(rng, resolution=resolution) for _ in protocols],
            resolution=resolution,
            seed=int(rng.integers(2**31)),
            strip=2.0,
        )
        with torch.inference_mode():
            pictures = fit_slices(made.noisy, pixel=(1.5, 1.5), size=clip.image_size if eye is None else SIDE)
            stripped = pictures[:, 0]
            found.append(clip.encode_image(pictures) if eye is None else eye.see(describe_look(stripped, stripped > 0)))
    return F.normalize(torch.stack(found).sum(0), dim=1)


def embed_protocols(clip: MRCLIP, protocols: Sequence[Protocol], *, eye: Eye | None = None) -> Tensor:
    """Return unit vectors ``(P, D)`` of the prompts of protocols, nothing left out, plane unknown."""
    return embed_prompts(clip, [whole_prompt(p.acquisition, p.family) for p in protocols], eye=eye)


def embed_prompts(clip: MRCLIP, prompts: Sequence[str], *, eye: Eye | None = None) -> Tensor:
    """Return unit vectors ``(P, D)`` of prompts, which pictures can be compared with: of their words without an eye."""
    with torch.inference_mode():
        return clip.encode_words(prompts) if eye is None else eye.tell(read_prompts(clip, prompts))
