"""The loop every training here runs in: batches by number, progress, checkpoints, a time limit, exact resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bids_distclip.networks.memory import keep_freed_memory
from bids_distclip.training.checkpoint import load_state, save_state
from bids_distclip.training.curve import Curve
from bids_distclip.training.devices import ALONE, Crew
from bids_distclip.training.learner import Learner


def run_loop(
    model: nn.Module,
    data: Dataset,
    losses: Callable[[Any, int], Mapping[str, Tensor]],
    *,
    folder: Path,
    steps: int,
    learning_rate: float,
    minutes: float = math.inf,
    workers: int = 0,
    warmup: int = 200,
    clip: float = 1.0,
    average_decay: float = 0.998,
    save_every: int = 250,
    log_every: int = 25,
    card: Mapping[str, Any] | None = None,
    on_save: Callable[[int], None] | None = None,
    on_step: Callable[[int], None] | None = None,
    rival: Any = None,
    crew: Crew = ALONE,
) -> int:
    """Train from the last checkpoint in ``folder`` to ``steps`` or until ``minutes`` are over; return the step.

    ``losses(batch, number)`` returns named scalars; those whose name starts with ``_`` are only logged, the others are
    summed. Batch *i* is ``data[i]``, so that a resumed run sees what an unbroken one would have seen; of N processes
    step *s* takes batches s·N … s·N+N−1, one each, and their gradients are averaged. The learning rate warms up
    linearly and falls as a cosine to 2 % at ``steps``. A running average of the weights is kept.

    ``rival`` is a part of the model that learns against the rest: after each step it takes one of its own, down its
    own ``losses()``, with its own optimizer. ``on_step`` and ``on_save`` are called by the first process alone.
    """
    keep_freed_memory()
    learner = Learner(model, rival, learning_rate=learning_rate, clip=clip, crew=crew)
    start = load_state(folder, **learner.state)
    loader = _loader(data, range(start, steps), workers=workers, crew=crew)
    began, curve = time.monotonic(), Curve(folder / 'curve.tsv')
    for step, batch in enumerate(loader, start):
        learner.set_rate(learning_rate * schedule(step, steps=steps, warmup=warmup))
        curve.add(learner.learn(losses(batch, step * crew.size + crew.rank)))
        learner.follow(decay=min(average_decay, (step + 1) / (step + 10)))
        done = step + 1
        if done % log_every == 0:
            curve.write(done, seconds=(time.monotonic() - began) / (done - start), crew=crew)
        out_of_time = crew.agree(time.monotonic() - began > 60 * minutes)
        last = done == steps or out_of_time
        if crew.first and (done % save_every == 0 or last):
            save_state(folder, **learner.state, step=done, card=card or {})
            if on_save:
                on_save(done)
        if crew.first and on_step:
            on_step(done)
        if out_of_time:
            return done
    return steps


def run_task(
    task: nn.Module, data: Dataset, *, folder: Path, card: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """Train a task by its own ``losses`` with :func:`run_loop`; return the card with the step that was reached."""
    losses: Any = task.losses
    return {**card, 'reached': run_loop(task, data, losses, folder=folder, card=card, **options)}


def schedule(step: int, *, steps: int, warmup: int) -> float:
    """Return the learning-rate factor at a step.

    >>> schedule(0, steps=1000, warmup=100), round(schedule(1000, steps=1000, warmup=100), 2)
    (0.01, 0.02)
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _loader(data: Dataset, steps: range, *, workers: int, crew: Crew) -> DataLoader:
    """Return what passes the batches of these steps that are this process's, one a step."""
    mine = range(steps.start * crew.size + crew.rank, steps.stop * crew.size, crew.size)
    return DataLoader(
        torch.utils.data.Subset(data, mine),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context='forkserver' if workers else None,
    )
