"""Train the DIST-CLIP generator on simulated slices, styles given by a trained MR-CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.networks.generator import PRESETS, Generator, GeneratorOptions
from bids_distclip.networks.mrclip import MRCLIP, fit_slices
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.loop import run_task
from bids_distclip.training.loss_weights import Weights
from bids_distclip.training.losses import gradient_l1, patch_contrast, structure_loss, weighted_l1
from bids_distclip.training.prompts import training_prompt
from bids_distclip.training.split import training_heads


class DistClipTask(nn.Module):
    """The generator with its MR-CLIP; calling ``losses`` on a batch gives the terms.

    With ``tune_clip`` the image tower goes on learning, at the generator's wish, towards what the text tower says of
    the same acquisition. The text tower stays as it is (two towers that only have to agree would agree on one point),
    and so do the statistics of batch norms.
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
        self.clip = clip.eval().requires_grad_(False)
        self.clip.towers.visual.requires_grad_(tune_clip)
        if not options.physical:
            self.log_scale = nn.Parameter(torch.tensor(1 / 0.1).log())

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
            outputs = self._outputs(x, theta, batch.physical.to(device), alike=_alike(batch).to(device))
        terms = self._terms(batch, x.float(), clean, {k: v.float() for k, v in outputs.items()}, step=step)
        return terms | ({'read': self.weights.read * read} if self.tune_clip else {})

    def _styles(self, batch: Batch, rng: np.random.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return θ ``(S, 2, 512)``: of the prompt, or of an image with that protocol, preferably of another head.

        Second comes the image tower's own loss: how far image and the words of the full prompt are apart.
        """
        clip, (slices, count) = self.clip, batch.noisy.shape[:2]
        rows = [(p, plane) for row, plane in zip(batch.protocols, batch.planes, strict=True) for p in row]
        with torch.no_grad():
            prompts = [training_prompt(p.acquisition, rng, family=p.family, plane=plane) for p, plane in rows]
            told = clip.encode_text(prompts).reshape(slices, count, -1)
            if self.guidance == 'text' and not self.tune_clip:
                return told, told.new_zeros(())
            whole = clip.encode_words([whole_prompt(p.acquisition, p.family) for p, _ in rows])
        with torch.set_grad_enabled(self.tune_clip):
            fitted = [
                fit_slices(images.to(device), pixel=(pixel, pixel), size=clip.image_size)
                for images, pixel in zip(batch.noisy, batch.pixels, strict=True)
            ]
            seen = clip.encode_image(torch.cat(fitted))
        read = (1 - F.cosine_similarity(seen.float(), whole.float())).mean()
        seen = seen.reshape(slices, count, -1)
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

    def _outputs(self, x: Tensor, theta: Tensor, truth: Tensor, *, alike: Tensor) -> dict[str, Tensor]:
        """Return β ``(S, 2, C, H, W)`` and the renderings ``own`` and ``cross`` ``(2S, 1, H, W)``.

        Where β is nothing but the physical maps, the decoder is taught with the true maps: ``own`` then is what it
        makes of them, and mapper and decoder need not wait for each other. Where both protocols are of one family
        (``alike`` ``(S,)``) ``own`` is made from the mapper's β: there its difference to ``cross`` is the output.
        """
        slices, count, height, width = x.shape
        beta = self.generator.anatomy(x.flatten(0, 1)[:, None], theta.flatten(0, 1))
        beta = beta.reshape(slices, count, -1, height, width)
        first, second = beta[:, 0], beta[:, 1]
        base = [first, second]
        if self.taught:
            base = [torch.where(alike[:, None, None, None], b, truth.to(b.dtype)) for b in base]
        own, cross = self.generator.render(
            torch.cat([*base, first, second]), torch.cat([theta[:, 0], theta[:, 1], theta[:, 1], theta[:, 0]])
        ).chunk(2)
        return {'beta': beta, 'own': own, 'cross': cross}

    @property
    def taught(self) -> bool:
        """Tell whether the decoder learns from true maps: only where the mapper is asked for them as well.

        Else the mapper's β is whatever the decoder can render from, and both learn end to end.
        """
        options = self.generator.options
        return options.physical and options.channels == 3 and self.weights.physical > 0

    def _terms(
        self, batch: Batch, x: Tensor, clean: Tensor, outputs: Mapping[str, Tensor], *, step: int
    ) -> dict[str, Tensor]:
        w, beta, own, cross = self.weights, outputs['beta'], outputs['own'], outputs['cross']
        head, brain, lesion = (getattr(batch, n).to(x.device)[:, None] for n in ('head', 'brain', 'lesion'))
        place = (0.05 + 0.25 * head + 0.7 * brain + 2.0 * lesion).repeat(2, 1, 1, 1)
        other = torch.cat([clean[:, 1], clean[:, 0]])[:, None]
        same = torch.cat([clean[:, 0], clean[:, 1]])[:, None]
        terms = {
            'cross': w.cross * weighted_l1(cross, other, place),
            'identity': w.identity * weighted_l1(own, same, place),
            'gradient': w.gradient
            * gradient_l1(torch.cat([cross, own]), torch.cat([other, same]), place.repeat(2, 1, 1, 1)),
            'structure': w.structure * structure_loss(cross, other),
            'consistency': w.consistency * weighted_l1(beta[:, 0], beta[:, 1], place[: len(x)]),
        }
        alike = _alike(batch).to(x.device).repeat(2)[:, None, None, None]
        terms['residual'] = w.residual * weighted_l1(cross - own, other - same, place * alike)
        if self.generator.options.physical and w.physical > 0:
            truth = batch.physical.to(x.device)
            inside = 0.05 + 0.2 * head + 0.75 * brain + 2.0 * lesion
            errors = [weighted_l1(beta[:, p, :3], truth, inside) for p in range(2)]
            terms['physical'] = 0.5 * w.physical * (errors[0] + errors[1])
        elif not self.generator.options.physical and w.contrast > 0:
            temperature = self.log_scale.clamp(max=4.6).neg().exp()
            terms['contrast'] = w.contrast * patch_contrast(
                beta[:, 0], beta[:, 1], brain, temperature=temperature, seed=step
            )
        with torch.no_grad():
            mse = ((cross - other).clamp(-1, 1) ** 2).mean((1, 2, 3))
            terms['_psnr'] = (-10 * torch.log10(mse + 1e-8)).mean()
        return terms


def _alike(batch: Batch) -> Tensor:
    """Tell for each slice whether its two protocols are of one contrast family, ``(S,)``."""
    return torch.tensor([a.family == b.family for a, b in batch.protocols])


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
    size: int = 128,
    learning_rate: float = 1.5e-3,
    guidance: str = 'both',
    weights: Weights | None = None,
    options: Mapping[str, Any] | None = None,
    lesions: bool = True,
    texture: bool = True,
    tune_clip: bool = True,
    init: Generator | None = None,
) -> dict[str, Any]:
    """Train a generator on the label maps below ``labels``; checkpoints and curves go to ``out``; return the card."""
    torch.manual_seed(seed)
    chosen = replace(PRESETS[preset], **(options or {}))
    task = DistClipTask(
        chosen, clip.to(device), weights=weights or Weights(), guidance=guidance, tune_clip=tune_clip
    ).to(device)
    if init is not None:
        task.generator.load_state_dict(init.state_dict())
    anatomies = training_heads(labels)
    stream = _stream_options(slices=slices, size=size, lesions=lesions, texture=texture, seed=seed + 1)
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
        'losses': task.weights.to_dict(),
    }
    return run_task(
        task, data, folder=out, card=card, steps=steps, learning_rate=learning_rate, minutes=minutes, workers=workers
    )


def _stream_options(*, slices: int, size: int, lesions: bool, texture: bool, seed: int) -> StreamOptions:
    """Return how batches are made: two protocols per slice, every other slice within one contrast family."""
    return StreamOptions(
        slices=slices,
        protocols=2,
        size=size,
        pixel=(0.95, 1.45),
        pool=slices + 1,
        same_family=0.5,
        lesions=lesions,
        texture=texture,
        seed=seed,
    )
