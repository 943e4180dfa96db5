"""Train MR-CLIP's image tower alone: to say of a picture what the text tower, which stays, says of its metadata.

Locked-tower tuning (Zhai et al. 2022, arXiv 2111.07991) with the text tower locked: the styles a generator has learnt
to render keep their places, and pictures are taught to find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.loop import run_task
from bids_distclip.training.mrclip import flatten
from bids_distclip.training.split import training_heads


@dataclass(frozen=True)
class TowerWeights:
    """How much each loss counts: to name the acquisition, to lie where its metadata lie, to show its physics."""

    contrast: float = 0.3
    near: float = 2.0
    read: float = 3.0


class TowerTask(nn.Module):
    """MR-CLIP with everything locked but the image tower; calling ``losses`` on a batch gives the terms.

    ``strangers`` further acquisitions, of the families in the batch, are offered as wrong answers.
    """

    def __init__(self, clip: MRCLIP, *, weights: TowerWeights | None = None, strangers: int = 40) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.clip.towers.visual.requires_grad_(True).to(memory_format=torch.channels_last)
        self.weights, self.strangers = weights or TowerWeights(), strangers
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def train(self, mode: bool = True) -> TowerTask:
        """Set the image tower's mode; the text tower stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        self.clip.towers.visual.train(mode)
        return self

    def losses(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Return the loss terms of S slices, each seen under P protocols."""
        rng, w = np.random.default_rng([79, step]), self.weights
        device = self.log_scale.device
        flat = flatten(batch)
        # In the order of the labels, each once.
        shown = list({id(protocol): protocol for protocol in flat.protocols}.values())
        known = [*shown, *(draw_protocol(rng, family=shown[i % len(shown)].family) for i in range(self.strangers))]
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                told = self.clip.encode_words([whole_prompt(p.acquisition, p.family) for p in known]).float()
            seen = self.clip.encode_image(flat.images.to(device, memory_format=torch.channels_last)).float()
        label, truth = flat.label.to(device), flat.signature.to(device)
        logits = self.log_scale.clamp(max=4.0).exp() * seen @ told.T
        with torch.no_grad():
            hit = (logits.argmax(1) == label).float().mean()
        return {
            'contrast': w.contrast * F.cross_entropy(logits, label),
            'near': w.near * (seen - told[label]).square().sum(1).mean(),
            'read': w.read * F.smooth_l1_loss(self.clip.read_out(seen), truth, beta=0.1),
            '_top1': hit,
        }


def train_tower(
    labels: Path,
    out: Path,
    *,
    clip: MRCLIP,
    steps: int = 3000,
    minutes: float = float('inf'),
    device: str = 'cpu',
    workers: int = 1,
    seed: int = 0,
    slices: int = 8,
    learning_rate: float = 6e-4,
) -> dict[str, Any]:
    """Train the image tower of ``clip`` on label maps; checkpoints and curves go to ``out``; return the card."""
    torch.manual_seed(seed)
    task = TowerTask(clip).to(device)
    anatomies = training_heads(labels)
    stream = StreamOptions(
        slices=slices,
        protocols=12,
        size=clip.image_size,
        pixel=(1.35, 1.65),
        pool=24,
        same_family=0.5,
        seed=seed + 2,
    )
    data = SliceStream(anatomies, stream, length=steps, device=device if workers == 0 else 'cpu')
    card = {
        'model': clip.config_name,
        'task': 'tower',
        'clip': clip.config_name,
        'anatomies': [a.name for a in anatomies],
        'steps': steps,
        'seed': seed,
        'images_per_step': slices * stream.protocols,
        'learning_rate': learning_rate,
        'losses': vars(task.weights),
    }
    return run_task(
        task, data, folder=out, card=card, steps=steps, learning_rate=learning_rate, minutes=minutes, workers=workers
    )
