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
from bids_distclip.networks.generator import Generator
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.checkpoint import card_of
from bids_distclip.training.cohort import Cohort
from bids_distclip.training.devices import ALONE, Crew, device_of
from bids_distclip.training.held_out import HeldOut
from bids_distclip.training.loop import run_task
from bids_distclip.training.pictures import Gallery
from bids_distclip.training.recipe import Recipe
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
    recipe: Recipe,
    init: Generator | None = None,
    init_sha256: str = '',
    real: RealData | None = None,
    crew: Crew = ALONE,
) -> dict[str, Any]:
    """Train a generator; checkpoints and curves go to ``out``; return the card.

    It learns from heads simulated on the label maps below ``labels``, from ``real`` images, or from both in turn.
    It starts from ``init``, if given, whose file the card tells by ``init_sha256``.

    Raises
    ------
    UsageError
        If the training in ``out`` was begun by another number of processes, with other images, or with another model;
        if neighbouring slices are compared and their number is odd.
    """
    torch.manual_seed(recipe.seed)
    device = device_of(crew, recipe.device)
    task = DistClipTask(
        recipe.generator,
        clip.to(device),
        weights=recipe.weights,
        guidance=recipe.guidance,
        tune_clip=recipe.tune_clip,
    ).to(device)
    if init is not None:
        _start_from(init, task.generator)
    stream = recipe.stream()
    images = replace(stream, size=recipe.real_size)
    anatomies = training_heads(labels) if labels else []
    simulator = device if recipe.workers == 0 else 'cpu'
    data = _data(anatomies, stream, images, real, length=recipe.steps * crew.size, device=simulator)
    card = _card(recipe, anatomies, clip=clip, real=real, init_sha256=init_sha256, crew=crew)
    before = card_of(out)
    _check_same(before, card, out)
    return run_task(
        task,
        data,
        folder=out,
        card=card,
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        minutes=recipe.minutes,
        workers=recipe.workers,
        warmup=recipe.warmup,
        rival=task.adversary,
        on_save=_judge(out, task, images, real, fresh=not before) if crew.first else None,
        on_step=_gallery(out, task, recipe, labels, real) if crew.first else None,
        crew=crew,
    )


def _card(
    recipe: Recipe, anatomies: Sequence[Anatomy], *, clip: MRCLIP, real: RealData | None, init_sha256: str, crew: Crew
) -> dict[str, Any]:
    """Return what a training tells of itself, and must be gone on with."""
    return {
        'model': recipe.preset,
        'task': 'distclip',
        'options': recipe.generator.to_dict(),
        'anatomies': [a.name for a in anatomies],
        'steps': recipe.steps,
        'seed': recipe.seed,
        'slices_per_step': recipe.slices * crew.size,
        'devices': crew.size,
        'size': recipe.size,
        **({'real_size': recipe.real_size} if real else {}),
        'learning_rate': recipe.learning_rate,
        'guidance': recipe.guidance,
        'tune_clip': recipe.tune_clip,
        'clip': clip.config_name,
        'losses': recipe.weights.to_dict(),
        'lesions': recipe.lesions,
        'texture': recipe.texture,
        **({'bids': real.to_dict()} if real else {}),
        **({'init': init_sha256} if init_sha256 else {}),
    }


def _judge(
    out: Path, task: DistClipTask, images: StreamOptions, real: RealData | None, *, fresh: bool
) -> HeldOut | None:
    """Return what measures the loss on people that are held out, measured once before a fresh training."""
    if real is None or not real.held_out:
        return None
    judge = HeldOut(out / 'held_out.tsv', _held_out(real.held_out, images), task.losses)
    if fresh:
        judge(0)
    return judge


def _gallery(
    out: Path, task: DistClipTask, recipe: Recipe, labels: Path | None, real: RealData | None
) -> Gallery | None:
    """Return what writes pictures while the generator learns, if it is asked for."""
    if not recipe.pictures:
        return None
    stream = recipe.stream()
    shown = _shown(labels, replace(stream, size=recipe.real_size) if real else stream, real)
    return Gallery(out / 'pictures', shown, every=recipe.pictures, render=task.render)


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
