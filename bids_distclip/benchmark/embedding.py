"""How well MR-CLIP understands acquisitions: retrieval between images and metadata, and the order of numbers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from bids_distclip.acquisition.family import infer_family
from bids_distclip.acquisition.prompt import prompt
from bids_distclip.acquisition.record import FAMILIES, Acquisition
from bids_distclip.networks.mrclip import MRCLIP, fit_slices
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.simulation.scanner import draw_effects, draw_resolution
from bids_distclip.simulation.slices import SliceGeometry, render_slice

#: Numbers whose order in the embedding is measured.
NUMBERS = ('echo_time', 'repetition_time', 'inversion_time', 'flip_angle')


def embed_protocols(
    clip: MRCLIP, anatomies: Sequence[Anatomy], protocols: Sequence[Protocol], *, seed: int, slices: int = 3
) -> tuple[Tensor, Tensor]:
    """Return unit vectors ``(P, 512)`` of images and of full prompts of P protocols.

    Every protocol is seen on ``slices`` axial slices of one of the anatomies, with noise and shading.
    """
    rng = np.random.default_rng([seed, 1])
    seen = []
    for start in range(0, len(protocols), 8):
        some = protocols[start : start + 8]
        head = Head(anatomies[int(rng.integers(len(anatomies)))], seed=int(rng.integers(2**31)), lesion_kinds=('ms',))
        found = torch.zeros(len(some), clip.config['embed_dim'])
        for offset in np.linspace(-5, 35, slices):
            resolution = draw_resolution(rng)
            made = render_slice(
                head,
                some,
                SliceGeometry(axis=2, offset=float(offset), pixel=1.5, thickness=1.5, size=(144, 144)),
                effects=[draw_effects(rng, resolution=resolution) for _ in some],
                resolution=resolution,
                seed=seed,
                strip=2.0,
            )
            with torch.inference_mode():
                found += clip.encode_image(fit_slices(made.noisy, pixel=(1.5, 1.5), size=clip.image_size))
        seen.append(torch.nn.functional.normalize(found, dim=1))
    with torch.inference_mode():
        told = clip.encode_text([full_prompt(p.acquisition, p.family) for p in protocols])
    return torch.cat(seen), told


def full_prompt(acquisition: Acquisition, family: str) -> str:
    """Return the prompt of an acquisition with nothing left out, plane unknown."""
    return prompt(replace(acquisition, suffix=family), plane='NONE')


def retrieval(seen: Tensor, told: Tensor, families: Sequence[str]) -> dict[str, float]:
    """Return how often an image finds its own metadata among all, and a prompt of its own contrast family.

    ``top1`` and ``top5`` are shares (chance: 1/P, 5/P), ``family`` the share of images whose nearest prompt belongs to
    their family, ``agreement`` the mean cosine between image and own prompt.
    """
    cosine = seen @ told.T
    order = cosine.argsort(1, descending=True)
    own = torch.arange(len(seen))[:, None]
    names = np.array(families)
    return {
        'top1': float((order[:, :1] == own).any(1).float().mean()),
        'top5': float((order[:, :5] == own).any(1).float().mean()),
        'family': float((names[order[:, 0].numpy()] == names).mean()),
        'agreement': float(cosine.diagonal().mean()),
    }


def number_order(clip: MRCLIP, protocols: Sequence[Protocol], *, steps: int = 9) -> dict[str, float]:
    """Return per number the mean rank correlation between how far it was moved and how far the embedding moved.

    Each number of each protocol is moved alone, in equal steps of its logarithm up to a factor of two both ways; what
    would change the contrast family is left out. 1 means that embeddings lie in the order of the numbers, 0 that there
    is no order or that they do not move at all.
    """
    found: dict[str, list[float]] = {name: [] for name in NUMBERS}
    factors = np.exp2(np.linspace(-1, 1, 2 * steps + 1))
    for protocol in protocols:
        for name in NUMBERS:
            value = getattr(protocol.acquisition, name)
            if not value:
                continue
            moved = [replace(protocol.acquisition, suffix=protocol.family, **{name: value * f}) for f in factors]
            kept = [i for i, a in enumerate(moved) if infer_family(a).family == protocol.family]
            for side in ([i for i in kept if i >= steps], [i for i in kept if i <= steps]):
                if len(side) < 5 or steps not in side:
                    continue
                with torch.inference_mode():
                    told = clip.encode_text([prompt(moved[i], plane='NONE') for i in side])
                far = 1 - (told @ told[side.index(steps)]).numpy()
                moves = np.ptp(far) > 1e-6
                ranks = stats.spearmanr([abs(i - steps) for i in side], far).statistic if moves else 0.0
                found[name].append(float(ranks))
    return {name: float(np.mean(values)) if values else float('nan') for name, values in found.items()}


def evaluate_mrclip(
    clip: MRCLIP, anatomies: Sequence[Anatomy], *, count: int = 200, seed: int = 4_000
) -> dict[str, float]:
    """Return :func:`retrieval` among ``count`` protocols drawn anew and :func:`number_order` of 40 of them."""
    rng = np.random.default_rng([seed, 0])
    protocols = [draw_protocol(rng, family=FAMILIES[i % len(FAMILIES)]) for i in range(count)]
    seen, told = embed_protocols(clip, anatomies, protocols, seed=seed)
    found = retrieval(seen, told, [p.family for p in protocols])
    return found | {f'order_{k}': v for k, v in number_order(clip, protocols[:40]).items()}


def write_scores(scores: dict[str, float], path: Path) -> Path:
    """Write one row of scores as TSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', encoding='utf-8', newline='') as stream:
        writer = csv.DictWriter(stream, list(scores), delimiter='\t', lineterminator='\n')
        writer.writeheader()
        writer.writerow({k: f'{v:.4f}' for k, v in scores.items()})
    return path
