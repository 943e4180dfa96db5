"""Train what needs no loop of its own: the photometer, the numeric branch and the eye of MR-CLIP."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence

from bids_distclip.networks.bank import BANK, save_bank
from bids_distclip.networks.eye import EYE, save_eye
from bids_distclip.networks.photometer import PHOTOMETER, TISSUES, save_photometer
from bids_distclip.networks.weights import CLIP, load_clip, save_weights
from bids_distclip.simulation.signature import TISSUES as SIGNED
from bids_distclip.training.export import known_acquisitions, refresh_card
from bids_distclip.training.eye import STEPS, train_eye
from bids_distclip.training.numbers import train_numbers
from bids_distclip.training.photometer import train_photometer
from bids_distclip.training.run_distclip import trained_clip
from bids_distclip.training.split import training_heads


def train_part(args: argparse.Namespace) -> int:
    """Train one of :data:`PARTS` as the command line asks for it; return the exit code."""
    return PARTS[args.what](args)


def _train_photometer(args: argparse.Namespace) -> int:
    made, explained = train_photometer(
        args.labels,
        clip=load_clip(trained_clip(args)).eval(),
        batches=args.steps,
        workers=args.workers,
        seed=args.seed,
    )
    save_photometer(args.out / PHOTOMETER, made)
    refresh_card(args.out)
    _show_explained('slices not fitted to', TISSUES, explained)
    return 0


def _train_eye(args: argparse.Namespace) -> int:
    eye = train_eye(
        args.labels, clip=load_clip(trained_clip(args)), batches=args.steps, workers=args.workers, seed=args.seed
    )
    save_eye(args.out / EYE, eye)
    told = {'parameters': sum(p.numel() for p in eye.parameters()), 'steps': STEPS,
            'anatomies': [a.name for a in training_heads(args.labels)],
            'slices': f'{args.steps} batches of 8 simulated slices under 12 protocols each, seed {args.seed}'}
    refresh_card(args.out, eye=told)
    return 0


def _train_numbers(args: argparse.Namespace) -> int:
    clip = load_clip(trained_clip(args))
    heads = training_heads(args.labels)
    explained = train_numbers(heads, clip=clip, steps=args.steps, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    save_weights(args.out / CLIP, clip, options={'config': clip.config_name})
    save_bank(args.out / BANK, known_acquisitions(clip))
    _show_explained('prompts not trained on', SIGNED, explained)
    print('Styles have moved: train the generator, and then the photometer and the eye, anew.')
    return 0


def _show_explained(where: str, tissues: Sequence[str], explained: Mapping[str, Iterable[float]]) -> None:
    print(f'Share of variance explained, {where}:  ' + '  '.join(tissues))
    for family, shares in explained.items():
        print(f'{family:8}  ' + '  '.join(f'{share:.2f}' for share in shares))


#: What is trained here, by name.
PARTS = {'photometer': _train_photometer, 'numbers': _train_numbers, 'eye': _train_eye}
