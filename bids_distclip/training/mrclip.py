"""Train MR-CLIP on simulated slices: image and metadata of one acquisition meet, whatever head is in the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.networks.mrclip import AUXILIARY, MRCLIP
from bids_distclip.simulation.protocol import Protocol
from bids_distclip.simulation.signature import LENGTH, signature
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.loop import run_task
from bids_distclip.training.prompts import training_prompt
from bids_distclip.training.split import training_heads

#: Slices with a smaller share of head than this teach nothing.
LEAST_HEAD = 0.04


class MRCLIPTask(nn.Module):
    """The model with its learnable temperature; calling ``losses`` on a batch gives the terms.

    The numeric branch stays as it is: it has a training of its own, after this one.
    """

    def __init__(self, config: str, init: MRCLIP | None = None) -> None:
        super().__init__()
        assert LENGTH == AUXILIARY
        self.clip = MRCLIP(config) if init is None else init.requires_grad_(True).train()
        if self.clip.numbers is not None:
            self.clip.numbers.requires_grad_(False)
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def losses(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Return the contrastive and auxiliary losses of one batch."""
        rng = np.random.default_rng([77, step])
        flat = flatten(batch)
        prompts = [
            training_prompt(protocol.acquisition, rng, family=protocol.family, plane=plane)
            for protocol, plane in zip(flat.protocols, flat.planes, strict=True)
        ]
        device = self.log_scale.device
        images, truth, label = (t.to(device) for t in (flat.images, flat.signature, flat.label))
        with torch.autocast(device.type, torch.bfloat16):
            seen, told = self.clip.encode_image(images).float(), self.clip.encode_words(prompts).float()
        logits = self.log_scale.clamp(max=4.6).exp() * seen @ told.T
        positive = (label[:, None] == label[None, :]).float()
        contrast = _many_positives(logits, positive) + _many_positives(logits.T, positive)
        read = F.smooth_l1_loss(self.clip.read_out(seen), truth, beta=0.1)
        read_text = F.smooth_l1_loss(self.clip.read_out(told), truth, beta=0.1)
        with torch.no_grad():
            hit = positive.gather(1, logits.argmax(1, keepdim=True)).mean()
        return {'contrast': 0.5 * contrast, 'read_image': 3 * read, 'read_text': 3 * read_text, '_top1': hit}


def _many_positives(logits: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy against all columns of the same acquisition (Khosla 2020, supervised contrastive)."""
    share = positive / positive.sum(1, keepdim=True)
    return -(share * F.log_softmax(logits, dim=1)).sum(1).mean()


@dataclass(frozen=True)
class Images:
    """The S×P images of a batch one by one: ``images`` ``(N, 1, H, W)``, what made each and in which plane, its
    ``signature`` ``(N, L)`` and the number ``label`` ``(N,)`` of its acquisition among those of the batch."""

    images: Tensor
    protocols: tuple[Protocol, ...]
    planes: tuple[str, ...]
    signature: Tensor
    label: Tensor


def flatten(batch: Batch) -> Images:
    """Return the images of a batch; slices with hardly any head in them are left out."""
    kept = (batch.head.mean((1, 2)) > LEAST_HEAD).nonzero().flatten().tolist() or [0]
    numbers: dict[int, int] = {}
    rows = [(s, p, protocol) for s in kept for p, protocol in enumerate(batch.protocols[s])]
    return Images(
        batch.noisy[kept].flatten(0, 1)[:, None],
        tuple(protocol for _, _, protocol in rows),
        tuple(batch.planes[s] for s, _, _ in rows),
        torch.stack([signature(protocol, scale=float(batch.scales[s, p])) for s, p, protocol in rows]),
        torch.tensor([numbers.setdefault(id(protocol), len(numbers)) for _, _, protocol in rows]),
    )


def train_mrclip(
    labels: Path,
    out: Path,
    *,
    config: str = 'mrclip-tiny',
    steps: int = 4000,
    minutes: float = float('inf'),
    device: str = 'cpu',
    workers: int = 1,
    seed: int = 0,
    slices: int = 8,
    learning_rate: float = 1e-3,
    init: MRCLIP | None = None,
) -> dict[str, Any]:
    """Train the towers on the label maps below ``labels``; checkpoints and curves go to ``out``; return the card.

    ``init`` starts from trained towers instead of drawn ones.
    """
    torch.manual_seed(seed)
    config = config if init is None else init.config_name
    task = MRCLIPTask(config, init).to(device)
    anatomies = training_heads(labels)
    options = StreamOptions(
        slices=slices,
        protocols=6,
        size=task.clip.image_size,
        pixel=(1.35, 1.65),
        pool=8 + slices,
        seed=seed,
    )
    simulate_on = device if workers == 0 else 'cpu'
    data = SliceStream(anatomies, options, length=steps, device=simulate_on)
    card = {
        'model': config,
        'task': 'mrclip',
        'anatomies': [a.name for a in anatomies],
        'steps': steps,
        'seed': seed,
        'images_per_step': slices * 6,
        'learning_rate': learning_rate,
    }
    return run_task(
        task, data, folder=out, card=card, steps=steps, learning_rate=learning_rate, minutes=minutes, workers=workers
    )
