"""Train the DIST-CLIP generator on simulated slices, or real ones, styles given by a trained MR-CLIP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from bids_distclip.errors import UsageError
from bids_distclip.networks.generator import PRESETS, Generator
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.checkpoint import card_of
from bids_distclip.training.cohort import Cohort
from bids_distclip.training.devices import ALONE, Crew, device_of
from bids_distclip.training.held_out import HeldOut
from bids_distclip.training.loop import run_task
from bids_distclip.training.loss_weights import Weights
from bids_distclip.training.pictures import Gallery
from bids_distclip.training.split import held_out_heads, training_heads
from bids_distclip.training.task import DistClipTask

if TYPE_CHECKING:
    from bids_distclip.training.bids_stream import RealStream

#: What of a card a training must be gone on with, beside its devices, its real images and what it started from.
SAME = ('options', 'seed', 'slices_per_step', 'size', 'learning_rate', 'guidance', 'tune_clip', 'losses', 'anatomies')


@dataclass(frozen=True)
class RealData:
    """Real images to train on, those of people that are held out, and the share of batches that are real."""

    cohort: Cohort
    held_out: Cohort | None = None
    share: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return what a model card tells."""
        out = 0 if self.held_out is None else len(self.held_out.subjects)
        return {**self.cohort.to_dict(), 'people_held_out': out, 'share_of_batches': self.share}


def train_distclip(
    labels: Path | None,
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
    real_size: int = 192,
    learning_rate: float = 1.5e-3,
    guidance: str = 'both',
    weights: Weights | None = None,
    options: Mapping[str, Any] | None = None,
    lesions: bool = True,
    texture: bool = True,
    tune_clip: bool = True,
    init: Generator | None = None,
    init_sha256: str = '',
    pictures: int = 0,
    real: RealData | None = None,
    crew: Crew = ALONE,
) -> dict[str, Any]:
    """Train a generator; checkpoints and curves go to ``out``; return the card.

    Simulated slices have ``size`` pixels a side, real ones ``real_size``: most of a head at the pixels that the app
    works on, because normalization over a slice depends on how much of it is seen.

    It learns from heads simulated on the label maps below ``labels``, from ``real`` images, or from both in turn.
    It starts from ``init``, if given, whose file the card tells by ``init_sha256``. Pictures of heads that are not
    trained on, if there are any, are made every so many steps; 0: none.

    Raises
    ------
    UsageError
        If the training in ``out`` was begun by another number of processes, with other images, or with another model;
        if neighbouring slices are compared and their number is odd.
    """
    torch.manual_seed(seed)
    device = device_of(crew, device)
    chosen = replace(PRESETS[preset], **(options or {}))
    task = DistClipTask(
        chosen, clip.to(device), weights=weights or Weights(), guidance=guidance, tune_clip=tune_clip
    ).to(device)
    if init is not None:
        _start_from(init, task.generator)
    stream = _stream_options(
        slices=slices,
        size=size,
        lesions=lesions,
        texture=texture,
        seed=seed + 1,
        neighbours=task.weights.neighbours > 0,
    )
    anatomies = training_heads(labels) if labels else []
    images = replace(stream, size=real_size)
    data = _data(anatomies, stream, images, real, length=steps * crew.size, device=device if workers == 0 else 'cpu')
    card = {
        'model': preset,
        'task': 'distclip',
        'options': chosen.to_dict(),
        'anatomies': [a.name for a in anatomies],
        'steps': steps,
        'seed': seed,
        'slices_per_step': slices * crew.size,
        'devices': crew.size,
        'size': size,
        **({'real_size': real_size} if real else {}),
        'learning_rate': learning_rate,
        'guidance': guidance,
        'tune_clip': tune_clip,
        'clip': clip.config_name,
        'losses': task.weights.to_dict(),
        'lesions': lesions,
        'texture': texture,
        **({'bids': real.to_dict()} if real else {}),
        **({'init': init_sha256} if init_sha256 else {}),
    }
    before = card_of(out)
    _check_same(before, card, out)
    judge = None
    if crew.first and real and real.held_out:
        judge = HeldOut(out / 'held_out.tsv', _held_out(real.held_out, images), task.losses)
        if not before:
            judge(0)
    gallery = None
    if pictures and crew.first:
        shown = _shown(labels, images if real else stream, real)
        gallery = Gallery(out / 'pictures', shown, every=pictures, render=task.render)
    return run_task(
        task,
        data,
        folder=out,
        card=card,
        steps=steps,
        learning_rate=learning_rate,
        minutes=minutes,
        workers=workers,
        # A training of a few steps would end before the usual warm-up.
        warmup=min(200, max(1, steps // 10)),
        rival=task.adversary,
        on_step=gallery,
        on_save=judge,
        crew=crew,
    )


def _data(
    anatomies: Sequence[Anatomy],
    stream: StreamOptions,
    images: StreamOptions,
    real: RealData | None,
    *,
    length: int,
    device: str,
) -> Dataset:
    simulated = SliceStream(anatomies, stream, length=length, device=device) if anatomies else None
    if real is None:
        assert simulated is not None
        return simulated
    from bids_distclip.training.bids_stream import Mixed

    seen = _real_stream(real.cohort, images, length=length)
    return seen if simulated is None else Mixed(simulated, seen, share=real.share, length=length)


def _real_stream(cohort: Cohort, stream: StreamOptions, *, length: int) -> RealStream:
    from bids_distclip.training.bids_stream import RealOptions, RealStream

    return RealStream(cohort, RealOptions(slices=stream.slices, size=stream.size, seed=stream.seed), length=length)


def _held_out(cohort: Cohort, stream: StreamOptions, *, count: int = 6) -> list[Batch]:
    batches = _real_stream(cohort, replace(stream, slices=4, seed=0), length=count)
    return [batches[number] for number in range(count)]


def _shown(labels: Path | None, stream: StreamOptions, real: RealData | None) -> Batch:
    """Return three slices of heads that are not trained on, of those that are where there are no others."""
    few = replace(stream, slices=3, pool=4, seed=0)
    if real is not None:
        return _real_stream(real.held_out or real.cohort, few, length=1)[0]
    assert labels is not None
    return SliceStream(held_out_heads(labels) or training_heads(labels), few, length=1)[0]


def _start_from(init: Generator, generator: Generator) -> None:
    try:
        generator.load_state_dict(init.state_dict())
    except RuntimeError as error:
        cure = 'Give the --preset, --variant and --free-beta they were trained with.'
        raise UsageError('The weights to start from are of another generator.', cure=cure) from error


def _check_same(before: Mapping[str, Any], card: Mapping[str, Any], out: Path) -> None:
    """Refuse to go on where batches would be others than those of an unbroken training."""
    if not before:
        return
    begun = before.get('devices', 1)
    if begun != card['devices']:
        cure = f'Go on with --devices {begun}, or give another --out.'
        raise UsageError(f'This training was begun on {begun} devices.', file=out, cure=cure)
    if before.get('bids', {}) != card.get('bids', {}):
        cure = 'Give the --bids, --held-out and --bids-share it was begun with, or another --out (and --init).'
        raise UsageError('This training was begun with other real images.', file=out, cure=cure)
    kept = [name for name in SAME if name in before and _plain(before[name]) != _plain(card.get(name))]
    if kept or before.get('init') != card.get('init'):
        what = ', '.join([*kept, *(['init'] if before.get('init') != card.get('init') else [])])
        cure = 'Give the options it was begun with, or another --out.'
        raise UsageError(f'This training was begun with other values of: {what}.', file=out, cure=cure)


def _plain(value: Any) -> Any:
    """Return a value as a card that was written and read again has it."""
    return json.loads(json.dumps(value))


def _stream_options(
    *, slices: int, size: int, lesions: bool, texture: bool, seed: int, neighbours: bool
) -> StreamOptions:
    """Return how batches are made: two protocols per slice, every other slice within one contrast family."""
    if neighbours and slices % 2:
        cure = 'Give an even number of --slices, or leave the neighbours out of --losses.'
        raise UsageError(f'Neighbouring slices come in pairs, and a step has {slices}.', cure=cure)
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
        neighbours=neighbours,
    )
