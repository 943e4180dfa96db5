"""Turn a training checkpoint into weights for use: the running average, without optimizer, with a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from bids_distclip import __version__
from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.errors import NoInput
from bids_distclip.networks.bank import BANK, Bank, make_bank, save_bank
from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.photometer import PHOTOMETER
from bids_distclip.networks.segmenter import SEGMENTER, Segmenter
from bids_distclip.networks.weights import CARD, CLIP, GENERATOR, save_weights, weights_sha256
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.training.prompts import training_prompt

#: What a card says of the data of a training on simulated images, and what of one on real ones.
SIMULATED = (
    'Simulated slices: label maps of SynthSeg and SynthSR (Billot et al., Apache-2.0), signal equations, '
    'protocol ranges of real scanners.'
)
REAL = (
    'Real slices: {images} images of {people} people of the dataset "{dataset}", {pairs} pairs of one anatomy; '
    '{share_of_batches:.0%} of the batches.'
)
NOBODY = 'No image of a person.'

LIMITS = (
    'Trained on simulated images only; not a medical device and not for diagnosis.',
    'Brain MRI of adults at 1.5 T and 3 T: T1w, T2w, PDw, FLAIR, T2starw. Children, other body parts and other fields '
    'were not simulated.',
    'Contrast is changed, resolution is not. Synthesis of another contrast family is a guess from one image: what the '
    'source does not show cannot be recovered.',
)


def export_weights(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Write the averaged weights of a checkpoint folder into ``folder``; return the checkpoint's card.

    A generator comes with its MR-CLIP, which may have learnt with it, with the bank of acquisitions they know, and with
    ``model_card.json``.

    Raises
    ------
    NoInput
        If there is no checkpoint.
    """
    file = Path(checkpoint) / 'state.safetensors'
    if not file.exists():
        raise NoInput('There is no checkpoint', file=file, cure='Train first.')
    with safe_open(file, framework='pt') as stream:
        card = json.loads(stream.metadata()['card'])
        card['reached'] = int(stream.metadata()['step'])
    tensors = load_file(file)
    state = {k[6:]: v for k, v in tensors.items() if k.startswith('model.')}
    state.update({k[8:]: v for k, v in tensors.items() if k.startswith('average.')})
    folder.mkdir(parents=True, exist_ok=True)

    def write(model: nn.Module, prefix: str, name: str, options: dict) -> int:
        model.load_state_dict({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
        save_weights(folder / name, model, options=options)
        return sum(p.numel() for p in model.parameters())

    if card['task'] == 'segmenter':
        parameters = write(Segmenter(card['widths']), 'segmenter.', SEGMENTER, {'widths': card['widths']})
        refresh_card(folder, segmenter={'parameters': parameters, **{k: v for k, v in card.items() if k != 'task'}})
        return card
    clip_name = card['model'] if card['task'] == 'mrclip' else card['clip']
    clip = MRCLIP(clip_name)
    count = {'mrclip': write(clip, 'clip.', CLIP, {'config': clip_name})}
    save_bank(folder / BANK, known_acquisitions(clip.eval()))
    if card['task'] == 'distclip':
        options = GeneratorOptions.from_dict(card['options'])
        count['generator'] = write(Generator(options), 'generator.', GENERATOR, card['options'])
        write_card(folder, training=card, parameters=count)
    return card


def known_acquisitions(clip: MRCLIP, *, per_family: int = 160, seed: int = 77) -> Bank:
    """Return the words of protocols drawn as in training: every other one whole, the others with fields dropped."""
    rng = np.random.default_rng(seed)
    families = [family for _ in range(per_family) for family in FAMILIES]
    prompts = []
    for number, family in enumerate(families):
        known = draw_protocol(rng, family=family).acquisition
        whole = whole_prompt(known, family)
        part = training_prompt(known, rng, family=family, plane='NONE')
        prompts.append(part if number // len(FAMILIES) % 2 else whole)
    with torch.inference_mode():
        words = clip.encode_words(prompts)
    return make_bank(words, families)


def refresh_card(folder: Path, **parts: Any) -> None:
    """Write the digest of the weights in a folder anew into their card, if there is one, and ``parts`` of it."""
    path = folder / CARD
    if path.exists():
        card = json.loads(path.read_text(encoding='utf-8')) | {'sha256': weights_sha256(folder), **parts}
        path.write_text(json.dumps(card, indent=2) + '\n', encoding='utf-8')


def keep_photometer(source: Path, folder: Path) -> None:
    """Copy the photometer of the MR-CLIP in ``source`` beside weights that were trained with that very MR-CLIP.

    One that is there already stays.
    """
    if (source / PHOTOMETER).exists() and not (folder / PHOTOMETER).exists():
        shutil.copyfile(source / PHOTOMETER, folder / PHOTOMETER)
        refresh_card(folder)


def write_card(folder: Path, *, training: Mapping[str, Any], parameters: Mapping[str, int]) -> Path:
    """Write ``model_card.json`` for the weights in a folder, keeping what it says of a segmenter.

    Metrics are filled in by the benchmark.
    """
    path = folder / CARD
    before = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    card = {
        'name': f'distclip-{training["model"]}',
        'package_version': __version__,
        'license': 'Apache-2.0',
        'sha256': weights_sha256(folder),
        'generator': {
            'preset': training['model'],
            'parameters': parameters['generator'],
            'options': training['options'],
        },
        'mrclip': {'config': training['clip'], 'parameters': parameters['mrclip']},
        'training': {k: v for k, v in training.items() if k not in ('options', 'task')},
        'data': data_of(training),
        'intended_use': 'Research: making brain MRI of several scanners comparable.',
        'limits': limits_of(training),
        'metrics': 'docs/benchmark.md',
    }
    card |= {name: before[name] for name in ('segmenter',) if name in before}
    path.write_text(json.dumps(card, indent=2) + '\n', encoding='utf-8')
    return path


def data_of(training: Mapping[str, Any]) -> str:
    """Return what weights were trained on, in words; of those that started from others, what came last.

    >>> data_of({'anatomies': ['a']}).endswith('No image of a person.')
    True
    """
    real = training.get('bids')
    parts = [SIMULATED] if training.get('anatomies') else []
    parts += [REAL.format(**real)] if real else [NOBODY]
    if training.get('init'):
        parts.append('It went on from other weights (training.init), whose card tells what these had learnt from.')
    return ' '.join(parts)


def limits_of(training: Mapping[str, Any]) -> list[str]:
    """Return the limits of weights, by what they were trained on."""
    if not training.get('bids'):
        return list(LIMITS)
    first = (
        f'Trained on images of the dataset "{training["bids"]["dataset"]}": for scanners and people like its own; what '
        'the benchmark says of other weights does not hold for these. Not a medical device and not for diagnosis.'
    )
    return [first, *LIMITS[1:]]
