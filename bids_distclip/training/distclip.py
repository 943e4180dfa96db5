"""Train the DIST-CLIP generator on simulated slices, styles given by a trained MR-CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.networks.generator import PRESETS, Generator, GeneratorOptions
from bids_distclip.networks.mrclip import MRCLIP, fit_slices
from bids_distclip.simulation.anatomy import read_anatomies
from bids_distclip.simulation.signature import signature
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.loop import run_loop
from bids_distclip.training.losses import gradient_l1, patch_contrast, structure_loss, weighted_l1
from bids_distclip.training.mrclip import HELD_OUT
from bids_distclip.training.prompts import training_prompt


@dataclass(frozen=True)
class Weights:
    """How much each loss counts. ``physical`` is ignored where β is free; ``contrast`` is InfoNCE, only there."""

    physical: float = 0.5
    consistency: float = 0.1
    contrast: float = 0.3
    cross: float = 2.0
    identity: float = 1.0
    residual: float = 2.0
    gradient: float = 1.0
    structure: float = 0.2
    read: float = 0.5


class DistClipTask(nn.Module):
    """The generator with its MR-CLIP; calling ``losses`` on a batch gives the terms.

    With ``tune_clip`` the towers go on learning, at the generator's wish and held by their own read-out loss; the
    statistics of their batch norms stay as they are.
    """

    def __init__(
        self,
        options: GeneratorOptions,
        clip: MRCLIP,
        *,
        weights: Weights,
        guidance: str = 'both',
        tune_clip: bool = True,
    ) -> None:
        super().__init__()
        self.generator = Generator(options)
        self.weights, self.guidance, self.tune_clip = weights, guidance, tune_clip
        self.clip = clip.eval().requires_grad_(tune_clip)

    def train(self, mode: bool = True) -> DistClipTask:
        """Set the generator's mode; the towers stay in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def losses(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Return the loss terms of S slices, each seen under two protocols."""
        rng = np.random.default_rng([78, step])
        device = next(self.generator.parameters()).device
        with torch.autocast(device.type, torch.bfloat16):
            theta, read = self._styles(batch, rng, device)
            x, clean = batch.noisy.to(device), batch.clean.to(device)
            outputs = self._outputs(x, theta)
        terms = self._terms(batch, x.float(), clean, {k: v.float() for k, v in outputs.items()})
        return terms | ({'read': self.weights.read * read} if self.tune_clip else {})

    def _styles(self, batch: Batch, rng: np.random.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return θ ``(S, 2, 512)``: of the prompt, or of an image with that protocol, preferably of another head.

        Second comes the towers' own loss: what they tell of the physics, and how near image and prompt are.
        """
        clip, (slices, count) = self.clip, batch.noisy.shape[:2]
        with torch.set_grad_enabled(self.tune_clip):
            fitted = torch.cat(
                [
                    fit_slices(images.to(device), pixel=(pixel, pixel), size=clip.image_size)
                    for images, pixel in zip(batch.noisy, batch.pixels, strict=False)
                ]
            )
            seen = clip.encode_image(fitted)
            told = clip.encode_text(
                [
                    training_prompt(p.acquisition, rng, family=p.family, plane=plane)
                    for row, plane in zip(batch.protocols, batch.planes, strict=False)
                    for p in row
                ]
            )
            truth = torch.stack(
                [
                    signature(p, scale=float(scale))
                    for row, scales in zip(batch.protocols, batch.scales, strict=False)
                    for p, scale in zip(row, scales, strict=False)
                ]
            ).to(device)
            physics = [F.smooth_l1_loss(clip.read_out(t).float(), truth, beta=0.1) for t in (seen, told)]
            read = physics[0] + physics[1] + (1 - F.cosine_similarity(seen.float(), told.float())).mean()
        seen, told = seen.reshape(slices, count, -1), told.reshape(slices, count, -1)
        return torch.stack(
            [torch.stack([self._guide(batch, s, p, seen, told, rng) for p in range(count)]) for s in range(slices)]
        ), read

    def _guide(self, batch: Batch, s: int, p: int, seen: Tensor, told: Tensor, rng: np.random.Generator) -> Tensor:
        if self.guidance == 'text' or (self.guidance == 'both' and rng.random() < 0.5):
            return told[s, p]
        wanted = batch.protocols[s][p]
        others = [
            (i, j) for i, row in enumerate(batch.protocols) for j, made in enumerate(row) if i != s and made is wanted
        ]
        i, j = others[rng.integers(len(others))] if others and rng.random() < 0.7 else (s, p)
        return seen[i, j]

    def _outputs(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        """Return β ``(S, 2, C, H, W)`` and ``rendered`` ``(S, 2, 2, H, W)``: [slice, from, to]."""
        slices, count, height, width = x.shape
        flat = theta.flatten(0, 1)
        beta = self.generator.anatomy(x.flatten(0, 1)[:, None], flat)
        target = theta[:, None].expand(slices, count, count, -1).flatten(0, 2)
        twice = beta.repeat_interleave(count, 0)
        rendered = self.generator.render(twice, target).reshape(slices, count, count, height, width)
        return {'beta': beta.reshape(slices, count, -1, height, width), 'rendered': rendered}

    def _terms(self, batch: Batch, x: Tensor, clean: Tensor, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        w, beta, rendered = self.weights, outputs['beta'], outputs['rendered']
        head, brain, lesion = (getattr(batch, n).to(x.device) for n in ('head', 'brain', 'lesion'))
        place = (0.05 + 0.25 * head + 0.7 * brain + 2.0 * lesion)[:, None]
        cross = torch.cat([rendered[:, 0, 1], rendered[:, 1, 0]])[:, None]
        other = torch.cat([clean[:, 1], clean[:, 0]])[:, None]
        own = torch.cat([rendered[:, 0, 0], rendered[:, 1, 1]])[:, None]
        self_clean = torch.cat([clean[:, 0], clean[:, 1]])[:, None]
        source = torch.cat([x[:, 0], x[:, 1]])[:, None]
        places = torch.cat([place, place])
        alike = torch.tensor([a.family == b.family for a, b in batch.protocols] * 2, device=x.device)[
            :, None, None, None
        ]
        terms = {
            'cross': w.cross * weighted_l1(cross, other, places),
            'identity': w.identity * weighted_l1(own, self_clean, places),
            'residual': w.residual * weighted_l1(source + cross - own, other, places * alike),
            'gradient': w.gradient
            * gradient_l1(torch.cat([cross, own]), torch.cat([other, self_clean]), torch.cat([places, places])),
            'structure': w.structure * structure_loss(cross, other),
            'consistency': w.consistency * weighted_l1(beta[:, 0], beta[:, 1], place),
        }
        if self.generator.options.physical:
            truth = batch.physical.to(x.device)
            inside = (0.2 * head + 0.8 * brain + 2.0 * lesion)[:, None]
            errors = [weighted_l1(beta[:, p, :3], truth, inside) for p in range(2)]
            terms['physical'] = 0.5 * w.physical * (errors[0] + errors[1])
        else:
            terms['contrast'] = w.contrast * patch_contrast(beta[:, 0], beta[:, 1], brain[:, None])
        with torch.no_grad():
            mse = ((cross - other).clamp(-1, 1) ** 2).mean((1, 2, 3))
            terms['_psnr'] = (-10 * torch.log10(mse + 1e-8)).mean()
        return terms


def train_distclip(
    labels: Path,
    out: Path,
    *,
    clip: MRCLIP,
    preset: str = 'tiny',
    steps: int = 6000,
    minutes: float = float('inf'),
    device: str = 'cpu',
    workers: int = 1,
    seed: int = 0,
    slices: int = 4,
    size: int = 144,
    learning_rate: float = 1.5e-3,
    guidance: str = 'both',
    weights: Weights | None = None,
    options: Mapping[str, Any] | None = None,
    lesions: bool = True,
    texture: bool = True,
    tune_clip: bool = True,
) -> dict[str, Any]:
    """Train a generator on the label maps below ``labels``; checkpoints and curves go to ``out``; return the card."""
    torch.manual_seed(seed)
    chosen = replace(PRESETS[preset], **(options or {}))
    task = DistClipTask(
        chosen, clip.to(device), weights=weights or Weights(), guidance=guidance, tune_clip=tune_clip
    ).to(device)
    anatomies = [a for a in read_anatomies(labels) if a.name not in HELD_OUT]
    stream = StreamOptions(
        slices=slices,
        protocols=2,
        size=size,
        pixel=(0.9, 1.35),
        pool=slices + 1,
        same_family=0.5,
        lesions=lesions,
        texture=texture,
        seed=seed + 1,
    )
    data = SliceStream(anatomies, stream, length=steps, device=device if workers == 0 else 'cpu')
    card = {
        'model': preset,
        'task': 'distclip',
        'options': chosen.to_dict(),
        'anatomies': [a.name for a in anatomies],
        'steps': steps,
        'seed': seed,
        'slices_per_step': slices,
        'size': size,
        'learning_rate': learning_rate,
        'guidance': guidance,
        'tune_clip': tune_clip,
        'clip': clip.config_name,
        'losses': vars(task.weights),
    }
    card['reached'] = run_loop(
        task,
        data,
        task.losses,
        folder=out,
        steps=steps,
        learning_rate=learning_rate,
        minutes=minutes,
        workers=workers,
        card=card,
    )
    return card
