"""Which style guides: that of a prompt with fields dropped, or of a picture, preferably of another head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.networks.mrclip import MRCLIP, fit_slices
from bids_distclip.simulation.stream import Batch
from bids_distclip.training.batch import RealBatch, is_told
from bids_distclip.training.prompts import training_prompt

#: Kinds of guides that a training can be held to.
GUIDANCE = ('both', 'image', 'text')


@dataclass(frozen=True)
class Guides:
    """Styles ``(S, P, 512)`` of a batch: ``theta`` guides, ``seen`` is what the image tower sees in each picture, and
    ``words`` what the text tower says of its whole metadata; None where nobody asked for them."""

    theta: Tensor
    seen: Tensor | None = None
    words: Tensor | None = None


def draw_guides(
    clip: MRCLIP, batch: Batch, rng: np.random.Generator, *, guidance: str, tune: bool, look: bool = False
) -> Guides:
    """Return the styles of a batch, on the model's device.

    Parameters
    ----------
    guidance
        One of :data:`GUIDANCE`.
    tune
        Whether the image tower learns from what is made of the styles it sees.
    look
        Whether pictures are looked at even where only prompts guide.
    """
    slices, count = batch.noisy.shape[:2]
    device = clip.read_out.weight.device
    rows = [(p, plane) for row, plane in zip(batch.protocols, batch.planes, strict=True) for p in row]
    with torch.no_grad():
        prompts = [training_prompt(p.acquisition, rng, family=p.family, plane=plane) for p, plane in rows]
        told = clip.encode_text(prompts).reshape(slices, count, -1)
        if isinstance(batch, RealBatch):
            told = torch.where(batch.told.to(device)[..., None], told, batch.pictured.to(told))
        if guidance == 'text' and not (tune or look):
            return Guides(told)
        words = clip.encode_words([whole_prompt(p.acquisition, p.family) for p, _ in rows])
    with torch.set_grad_enabled(tune):
        seen = see(clip, batch.noisy.to(device), batch.pixels)
    words = words.reshape(slices, count, -1)
    shown = batch.pictured.to(told) if isinstance(batch, RealBatch) else seen
    theta = [
        torch.stack([_guide(batch, s, p, shown, told, rng, guidance=guidance) for p in range(count)])
        for s in range(slices)
    ]
    return Guides(torch.stack(theta), seen, words)


def see(clip: MRCLIP, images: Tensor, pixels: tuple[float, ...]) -> Tensor:
    """Return what the image tower sees ``(S, P, 512)`` in slices ``(S, P, H, W)`` with square pixels in mm."""
    fitted = [
        fit_slices(row, pixel=(pixel, pixel), size=clip.image_size)
        for row, pixel in zip(images, pixels, strict=True)
    ]
    return clip.encode_image(torch.cat(fitted)).reshape(*images.shape[:2], -1)


def read_loss(guides: Guides, batch: Batch) -> Tensor:
    """Return the image tower's own loss: how far what it sees is from the words of the same acquisition."""
    assert guides.seen is not None
    assert guides.words is not None
    apart = 1 - F.cosine_similarity(guides.seen.flatten(0, 1).float(), guides.words.flatten(0, 1).float())
    if not isinstance(batch, RealBatch):
        return apart.mean()
    kept = is_told(batch).to(apart.device).flatten()
    return (apart * kept).sum() / kept.sum().clamp(min=1)


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Leave a module's parameters out of the gradients of what is computed within."""
    learning = [p for p in module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _guide(
    batch: Batch, s: int, p: int, seen: Tensor, told: Tensor, rng: np.random.Generator, *, guidance: str
) -> Tensor:
    if guidance == 'text' or (guidance == 'both' and rng.random() < 0.5):
        return told[s, p]
    wanted = batch.protocols[s][p]
    others = [
        (i, j) for i, row in enumerate(batch.protocols) for j, made in enumerate(row) if i != s and made is wanted
    ]
    i, j = others[rng.integers(len(others))] if others and rng.random() < 0.7 else (s, p)
    return seen[i, j]
