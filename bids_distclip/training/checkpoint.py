"""Checkpoints: weights as safetensors, optimizer state beside them, so that a killed training goes on exactly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from bids_distclip.draft import draft
from bids_distclip.errors import UsageError


def save_state(
    folder: Path,
    *,
    model: nn.Module,
    average: Mapping[str, Tensor] | None,
    optimizers: Mapping[str, Optimizer],
    step: int,
    card: Mapping[str, Any],
) -> None:
    """Write ``model``, its running average, the optimizers by name and the step into a folder, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f'model.{k}': v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    for name, value in (average or {}).items():
        tensors[f'average.{name}'] = value.detach().cpu().contiguous()
    for own, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()['state'].items():
            for name, value in state.items():
                tensors[f'{own}.{index}.{name}'] = torch.as_tensor(value).detach().cpu().contiguous()
    with draft(folder / 'state.safetensors') as hidden:
        save_file(
            {k: v.clone() for k, v in tensors.items()},
            hidden,
            metadata={'step': str(step), 'card': json.dumps(card)},
        )


def load_state(
    folder: Path, *, model: nn.Module, average: dict[str, Tensor] | None, optimizers: Mapping[str, Optimizer]
) -> int:
    """Restore what :func:`save_state` wrote; return the step to go on with, 0 where there is nothing yet.

    Raises
    ------
    UsageError
        If another model was trained in the folder.
    """
    path = folder / 'state.safetensors'
    if not path.exists():
        return 0
    tensors = load_file(path)
    try:
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith('model.')})
    except RuntimeError as error:
        cure = 'Give the options it was begun with, or another --out.'
        raise UsageError('In this folder another model was trained', file=path, cure=cure) from error
    if average is not None:
        average.update({k[8:]: v.to(average[k[8:]].device) for k, v in tensors.items() if k.startswith('average.')})
    for own, optimizer in optimizers.items():
        state = optimizer.state_dict()
        state['state'] = {}
        for key, value in tensors.items():
            if key.startswith(f'{own}.'):
                _, index, name = key.split('.')
                state['state'].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(state)
    return step_of(path)


def card_of(folder: Path) -> dict[str, Any]:
    """Return the card of the training in a folder; empty where there is none."""
    path = folder / 'state.safetensors'
    if not path.exists():
        return {}
    with safe_open(path, framework='pt') as stream:
        return dict(json.loads(stream.metadata()['card']))


def step_of(path: Path) -> int:
    """Return the step stored in a state file."""
    with safe_open(path, framework='pt') as stream:
        return int(stream.metadata()['step'])


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        for block in iter(lambda: stream.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()
