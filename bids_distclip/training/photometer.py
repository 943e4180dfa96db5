"""Learn to read the brightness of tissues off slices, and collect acquisitions that pictures are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.errors import BadData
from bids_distclip.networks.memory import keep_freed_memory
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.photometer import FEATURES, SIDE, TISSUES, Photometer, describe_slices
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.simulation.signature import TISSUES as SIGNED
from bids_distclip.simulation.signature import signature
from bids_distclip.simulation.slices import usual_scales
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.split import training_heads

#: Slices with less brain than this share of the picture are left out.
LEAST_BRAIN = 0.06
#: Every so manieth batch is kept from the fit, to see how wrong it is.
KEPT_OUT = 5
#: Weight of the coefficients' squares in the fit (ridge regression).
RIDGE = 1.0


def train_photometer(
    labels: Path,
    *,
    clip: MRCLIP,
    batches: int = 100,
    workers: int = 1,
    seed: int = 0,
    known: int = 300,
) -> tuple[Photometer, dict[str, np.ndarray]]:
    """Return a photometer learnt on ``batches`` of 8 simulated slices under 12 protocols each, and how well it reads.

    Second are the shares of variance explained ``(T,)`` per family on slices it was not fitted to; ``known``
    acquisitions per family are collected.
    """
    keep_freed_memory()
    anatomies = training_heads(labels)
    options = StreamOptions(
        slices=8, protocols=12, size=SIDE, pixel=(1.35, 1.65), pool=24, same_family=0.6, seed=seed + 3
    )
    loader = DataLoader(
        SliceStream(anatomies, options, length=batches),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context='forkserver' if workers else None,
    )
    rows = [row for number, batch in enumerate(loader) for row in _rows(batch, number)]
    fits = [_fit([row for row in rows if row[0] == family], family) for family in FAMILIES]
    brightness, theta = zip(*(_acquisitions(anatomies, clip, f, count=known, seed=seed) for f in FAMILIES), strict=True)
    made = Photometer(
        tuple(FAMILIES),
        torch.stack([slope for slope, _, _ in fits]),
        torch.stack([error for _, error, _ in fits]),
        torch.stack(brightness),
        torch.stack(theta),
    )
    return made, {family: explained for family, (_, _, explained) in zip(FAMILIES, fits, strict=True)}


def _rows(batch: Batch, number: int) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Yield family, batch number, description ``(FEATURES,)`` and brightness ``(T,)`` of every image with brain."""
    for s, protocols in enumerate(batch.protocols):
        inside = batch.brain[s] > 0.5
        if inside.float().mean() < LEAST_BRAIN:
            continue
        described = describe_slices(batch.noisy[s], inside.expand(len(protocols), -1, -1)).numpy()
        for p, protocol in enumerate(protocols):
            yield protocol.family, number, described[p], _brightness(protocol, float(batch.scales[s, p])).numpy()


def _brightness(protocol: Protocol, scale: float) -> Tensor:
    assert SIGNED[: len(TISSUES)] == TISSUES
    return signature(protocol, scale=scale)[: len(TISSUES)]


def _fit(rows: Sequence[tuple], family: str) -> tuple[Tensor, Tensor, np.ndarray]:
    """Return the map, the covariance of its errors on batches kept out, and the variance explained there."""
    kept = np.array([number % KEPT_OUT == 0 for _, number, _, _ in rows], dtype=bool)
    if kept.sum() < 2 * len(TISSUES) or (~kept).sum() < 2 * len(TISSUES):
        raise BadData(f'Too few slices show {family}', cure='Give more --steps.')
    x, y = (np.stack([row[i] for row in rows]).astype(np.float64) for i in (2, 3))
    wrong = y[kept] - x[kept] @ _ridge(x[~kept], y[~kept])
    error = np.cov(wrong.T) + 1e-5 * np.eye(len(TISSUES))
    explained = 1 - (wrong**2).mean(0) / y[kept].var(0)
    return *(torch.as_tensor(a, dtype=torch.float32) for a in (_ridge(x, y), error)), explained


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    penalty = RIDGE * np.eye(FEATURES)
    penalty[-1, -1] = 1e-6
    return np.linalg.solve(x.T @ x + penalty, x.T @ y)


def _acquisitions(
    anatomies: Sequence[Anatomy], clip: MRCLIP, family: str, *, count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return brightness ``(N, T)``, its scale the mean over some heads, and styles ``(N, 512)`` of N acquisitions."""
    rng = np.random.default_rng([seed, 5, FAMILIES.index(family)])
    protocols = [draw_protocol(rng, family=family).usual() for _ in range(count)]
    scales = usual_scales(anatomies, protocols)
    words = [whole_prompt(p.acquisition, family) for p in protocols]
    with torch.inference_mode():
        theta = clip.encode_text(words)
    return torch.stack([_brightness(p, s) for p, s in zip(protocols, scales, strict=True)]), theta.float()
