"""Train the tissue segmenter: simulated slices of every contrast, finely and coarsely sampled, with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from bids_distclip.networks.segmenter import BRIGHT, Segmenter
from bids_distclip.quality.tissue import TISSUES
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.loop import run_task
from bids_distclip.training.split import training_heads

#: Pixel sizes in mm and sides in pixels of the slices: as fine as tissue needs, and as coarse as finding a brain needs.
FINE = StreamOptions(pixel=(0.8, 1.25), size=192)
COARSE = StreamOptions(pixel=(1.7, 2.3), size=112)


class Alternating(Dataset):
    """Batches of several streams in turn; batch *i* is always the same."""

    def __init__(self, streams: Sequence[Dataset]) -> None:
        self.streams = streams

    def __getitem__(self, number: int) -> Any:
        return self.streams[number % len(self.streams)][number // len(self.streams)]


class SegmenterTask(nn.Module):
    """The segmenter; calling ``losses`` on a batch gives cross-entropy and soft Dice (Milletari 2016)."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def losses(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Return the loss terms of S slices, each seen under P protocols."""
        device = self.segmenter.out.weight.device
        images = spoiled(batch.noisy, rng=np.random.default_rng([83, step])).flatten(0, 1)[:, None].to(device)
        truth = batch.tissue.long().repeat_interleave(batch.noisy.shape[1], 0).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = self.segmenter(images.to(memory_format=torch.channels_last))
        logits = logits.float()
        overlap = soft_dice(logits.softmax(1), truth)
        return {
            'entropy': F.cross_entropy(logits, truth),
            'dice': (1 - overlap).mean(),
            '_white': overlap[1],
            '_cortex': overlap[2],
        }


def soft_dice(shares: Tensor, truth: Tensor) -> Tensor:
    """Return the overlap ``(C,)`` of shares ``(B, C, H, W)`` with classes ``(B, H, W)``, over the whole batch."""
    wanted = F.one_hot(truth, shares.shape[1]).movedim(-1, 1).to(shares.dtype)
    both = (shares * wanted).sum((0, 2, 3))
    total = shares.sum((0, 2, 3)) + wanted.sum((0, 2, 3))
    return (2 * both + 1) / (total + 1)


def spoiled(images: Tensor, *, rng: np.random.Generator) -> Tensor:
    """Return slices ``(S, P, H, W)`` with another gain, gamma and shading each, and a floor below all of some.

    To the first of the P pictures of a slice a multiple of the second is added: a contrast no scanner makes.
    """
    count = images.shape[:2]

    def drawn(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32)[..., None, None]

    share = rng.normal(0, 0.6, count)
    share[:, 1:] = 0
    images = (images + drawn(share) * images.roll(-1, 1)).abs()
    bright = torch.quantile(images.flatten(2), BRIGHT, dim=2).clamp(min=1e-3)[..., None, None]
    gain, gamma = drawn(np.exp(rng.normal(0, 0.25, count))), drawn(np.exp(rng.normal(0, 0.2, count)))
    shading, floor = drawn(rng.uniform(0, 0.3, count)), drawn(np.maximum(0, rng.normal(-0.05, 0.05, count)))
    coarse = torch.as_tensor(rng.normal(0, 1, (*count, 4, 4)), dtype=torch.float32)
    field = F.interpolate(coarse, size=images.shape[-2:], mode='bicubic', align_corners=True)
    return (images / bright).clamp(0, 4) ** gamma * gain * torch.exp(shading * field) + floor


def train_segmenter(
    labels: Path,
    out: Path,
    *,
    init: Segmenter | None = None,
    steps: int = 6000,
    minutes: float = float('inf'),
    device: str = 'cpu',
    workers: int = 1,
    seed: int = 0,
    slices: int = 4,
    learning_rate: float = 2e-3,
) -> dict[str, Any]:
    """Train the segmenter on label maps; checkpoints and curves go to ``out``; return the card."""
    torch.manual_seed(seed)
    task = SegmenterTask(init.requires_grad_(True).train() if init else Segmenter()).to(device)
    anatomies = training_heads(labels)
    simulate_on = device if workers == 0 else 'cpu'
    streams = [
        SliceStream(
            anatomies,
            replace(sampling, slices=count, protocols=3, same_family=0.1, stripped=0.3, reach=1.45, seed=seed + 11 + i),
            length=steps,
            device=simulate_on,
        )
        for i, (sampling, count) in enumerate(((FINE, slices), (COARSE, 2 * slices)))
    ]
    card = {
        'model': 'segmenter',
        'task': 'segmenter',
        'widths': task.segmenter.widths,
        'classes': [tissue.abbreviation for tissue in TISSUES],
        'anatomies': [a.name for a in anatomies],
        'steps': steps,
        'seed': seed,
        'images_per_step': f'{3 * slices} fine or {6 * slices} coarse',
        'learning_rate': learning_rate,
    }
    return run_task(
        task, Alternating(streams), folder=out, card=card, steps=steps, learning_rate=learning_rate, minutes=minutes,
        workers=workers,
    )
