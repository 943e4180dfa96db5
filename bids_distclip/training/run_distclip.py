"""``distclip train distclip``: from what was asked for on the command line to a training."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bids_distclip.errors import UsageError
from bids_distclip.networks.generator import PRESETS, Generator
from bids_distclip.networks.photometer import PHOTOMETER, load_photometer
from bids_distclip.networks.weights import CLIP, DEFAULT, Trained, load_clip, load_generator
from bids_distclip.training.checkpoint import sha256
from bids_distclip.training.devices import Crew
from bids_distclip.training.distclip import RealData, train_distclip
from bids_distclip.training.loss_weights import Weights, read_weights
from bids_distclip.training.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np

    from bids_distclip.volume.prepared import Prepared

#: Learning rate of a training that starts from trained weights on real images alone, where none is given.
ADAPTING = 1e-4


def train_generator(args: argparse.Namespace, common: Mapping[str, Any], *, crew: Crew) -> dict[str, Any]:
    """Train the generator that was asked for; return its card. ``common`` are fields of its recipe."""
    recipe = _recipe(args, common)
    return train_distclip(
        args.labels,
        args.out,
        clip=load_clip(trained_clip(args)),
        recipe=recipe,
        init=load_generator(args.init) if args.init else None,
        init_sha256=sha256(args.init) if args.init else '',
        real=_asked_images(args, crew) if args.bids else None,
        crew=crew,
    )


def _asked_images(args: argparse.Namespace, crew: Crew) -> RealData:
    """Return the images of ``--bids``: the first process prepares them, the others wait and find them prepared."""
    with crew.first_goes_ahead():
        return real_data(args, tell=args.devices == 1 and crew.first)


def _recipe(args: argparse.Namespace, common: Mapping[str, Any]) -> Recipe:
    options: dict[str, Any] = {'variant': args.variant}
    if args.free_beta:
        if args.variant == 'analytic':
            cure = 'Leave out --free-beta or --variant analytic.'
            raise UsageError('A signal equation cannot render a β that means nothing.', cure=cure)
        options |= {'physical': False, 'channels': 1, 'mapper_style': False}
    if args.bids and args.init and not args.labels:
        common = {'learning_rate': ADAPTING, **common}
    return Recipe(
        preset=args.preset,
        guidance=args.guidance,
        weights=chosen_weights(args),
        options=options,
        lesions=not args.no_lesions,
        texture=not args.no_texture,
        tune_clip=not args.freeze_clip,
        pictures=args.pictures,
        **common,
    )


def chosen_weights(args: argparse.Namespace) -> Weights:
    """Return the loss weights that ``--losses`` and the ablations ask for."""
    weights = read_weights(args.losses) if args.losses else Weights()
    return weights.without_anatomy() if args.no_anatomy_loss else weights


def trained_clip(args: argparse.Namespace) -> Path:
    """Return the file of the MR-CLIP that was asked for, else the shipped one.

    Raises
    ------
    UsageError
        If it is not there.
    """
    path = args.clip or DEFAULT / CLIP
    if not path.exists():
        raise UsageError(
            'This training needs a trained MR-CLIP',
            file=path,
            cure='Run `distclip train mrclip` first, or give --clip.',
        )
    return Path(path)


def real_data(args: argparse.Namespace, *, tell: bool = True) -> RealData:
    """Return the images of ``--bids``, prepared in ``images`` in the output folder, which takes minutes the first time.

    The style of a picture is found as the app finds it with these weights: by the photometer beside MR-CLIP, if any.
    """
    from bids_distclip.harmonizers.styles import guide_style
    from bids_distclip.training.bids_images import gather_cohort
    from bids_distclip.training.cohort import held_apart

    path = trained_clip(args)
    meter = path.with_name(PHOTOMETER)
    clip = load_clip(path).eval()
    trained = Trained(Generator(PRESETS['tiny']), clip, {}, '', photometer=load_photometer(meter))

    def style_of(image: Prepared, family: str) -> np.ndarray:
        with torch.inference_mode():
            return guide_style(trained, image, family)[0].float().numpy()

    cohort = gather_cohort(
        args.bids,
        args.out / 'images',
        style_of=style_of,
        eye=''.join(sha256(file)[:8] for file in (path, meter) if file.exists()),
        participants=args.participants,
        threads=args.threads or os.cpu_count() or 1,
    )
    kept, out = held_apart(cohort, args.held_out)
    for note in cohort.notes if tell else ():
        print(note)
    if tell:
        print(f'{len(kept.images)} images of {len(kept.subjects)} people, {len(kept.pairs)} pairs', flush=True)
    return RealData(kept, out, 1.0 if not args.labels else args.bids_share or 0.5)
