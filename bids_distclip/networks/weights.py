"""Trained weights: safetensors with a JSON model card beside them; nothing is ever unpickled."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bids_distclip.errors import BadData, NoInput
from bids_distclip.networks.bank import BANK, Bank, load_bank
from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.photometer import PHOTOMETER, Photometer, load_photometer
from bids_distclip.networks.released import adopt
from bids_distclip.networks.segmenter import SEGMENTER, Segmenter

#: Where the default weights are shipped.
DEFAULT = Path(__file__).parent.parent / 'weights'
GENERATOR, CLIP, CARD = 'distclip.safetensors', 'mrclip.safetensors', 'model_card.json'
CALIBRATION = 'calibration.json'

#: What a calibrated uncertainty is made of: its square is ``floor``² and, for each of the others, (weight · term)².
#: ``tissue`` may be missing from a calibration, as from those of before it was known.
TERMS = ('floor', 'planes', 'style', 'noise', 'tissue')


@dataclass(frozen=True)
class Trained:
    """A generator and the MR-CLIP it was trained with, in evaluation mode, with their card and digest.

    ``bank`` holds the acquisitions they know; None where the folder has none. ``uncertainty`` maps residual and
    synthesis to the weights of :data:`TERMS` that make intensity units of them; empty where it was not calibrated.
    ``photometer`` finds styles of pictures; without one the image tower does.
    """

    generator: Generator
    clip: MRCLIP
    card: dict[str, Any]
    sha256: str
    bank: Bank | None = None
    uncertainty: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    photometer: Photometer | None = None


def save_weights(path: Path, model: torch.nn.Module, *, options: dict[str, Any], half: bool = True) -> None:
    """Write a model's state and the options that rebuild it; floating point as float16 unless ``half`` is off."""
    state = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous()
        state[name] = value.half() if half and value.is_floating_point() else value
    save_file(state, path, metadata={'options': json.dumps(options)})
    path.chmod(0o644)


def load_clip(path: Path) -> MRCLIP:
    """Load MR-CLIP towers written by :func:`save_weights`, or a user's own (:mod:`bids_distclip.networks.released`)."""
    options, state = _read(path, bare=True)
    if not options:
        return adopt(state, file=path)
    model = MRCLIP(options['config'])
    if not any(name.startswith('numbers.') for name in state):
        # From before the numeric branch: an untrained one adds nothing.
        state |= {name: value for name, value in model.state_dict().items() if name.startswith('numbers.')}
    _fill(model, state, path)
    return model


def load_generator(path: Path) -> Generator:
    """Load a generator written by :func:`save_weights`."""
    options, state = _read(path)
    model = Generator(GeneratorOptions.from_dict(options))
    _fill(model, state, path)
    return model


@functools.lru_cache(maxsize=2)
def load_segmenter(path: Path) -> Segmenter:
    """Load a segmenter written by :func:`save_weights`."""
    options, state = _read(path)
    model = Segmenter(options['widths'])
    _fill(model, state, path)
    return model


@functools.lru_cache(maxsize=2)
def load_trained(folder: Path | None = None, *, device: str = 'cpu') -> Trained:
    """Load generator, MR-CLIP and card of a folder (default: the shipped ones) onto a device; kept for the next call.

    Raises
    ------
    bids_distclip.errors.NoInput
        If a file is missing.
    bids_distclip.errors.BadData
        If a file does not hold the model its options describe.
    """
    folder = DEFAULT if folder is None else Path(folder)
    card = json.loads((folder / CARD).read_text(encoding='utf-8')) if (folder / CARD).exists() else {}
    generator, clip = load_generator(folder / GENERATOR), load_clip(folder / CLIP)
    bank = load_bank(folder / BANK)
    return Trained(generator.to(device).eval(), clip.to(device).eval(), card, weights_sha256(folder), bank,
                   _calibration(folder), load_photometer(folder / PHOTOMETER))


def weights_sha256(folder: Path | None = None) -> str:
    """Return one digest over the weight files, and bank, photometer and segmenter where there are any."""
    folder = DEFAULT if folder is None else Path(folder)
    digest = hashlib.sha256()
    for name in (GENERATOR, CLIP):
        path = folder / name
        if not path.exists():
            raise NoInput('Weights are missing', file=path, cure='Give a folder that holds them, or reinstall.')
        digest.update(path.read_bytes())
    for path in (folder / BANK, folder / PHOTOMETER, folder / SEGMENTER):
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _calibration(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / CALIBRATION
    if not path.exists():
        return {}
    try:
        raw = json.loads(path.read_text(encoding='utf-8'))['uncertainty']
        return {mode: {name: float({'tissue': 0.0, **known}[name]) for name in TERMS} for mode, known in raw.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f'Not a calibration of uncertainty ({error})'
        raise BadData(what, file=path, cure='Fetch the weights again.') from error


def _read(path: Path, *, bare: bool = False) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return options and state of a file; where it may be ``bare`` options may be missing."""
    if not path.exists():
        raise NoInput('Weights are missing', file=path, cure='Give a folder that holds them, or reinstall.')
    try:
        with safe_open(path, framework='pt') as stream:
            metadata = stream.metadata() or {}
            options = json.loads(metadata['options']) if 'options' in metadata or not bare else {}
        return options, load_file(path)
    except (KeyError, ValueError, OSError) as error:
        raise BadData(f'Not a weights file of this package ({error})', file=path) from error
    except Exception as error:
        if type(error).__name__ != 'SafetensorError':
            raise
        raise BadData('The weights file is damaged', file=path, cure='Fetch it again.') from error


def _fill(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    own = model.state_dict()
    try:
        model.load_state_dict({k: v.to(own[k].dtype) if k in own else v for k, v in state.items()})
    except RuntimeError as error:
        raise BadData(f'The weights do not fit the model ({error})', file=path) from error
    model.requires_grad_(False)
