"""``distclip train``: the command line of the trainings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bids_distclip.training.devices import Crew


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``distclip train`` to a parser; imports nothing heavy."""
    parser.add_argument(
        'what',
        choices=('mrclip', 'numbers', 'tower', 'eye', 'distclip', 'photometer', 'segmenter'),
        help='the style encoders, their numeric branch or their image tower alone, what says where pictures lie among '
        'prompts, the generator, what finds styles of pictures, or what tells tissue apart',
    )
    parser.add_argument('--labels', type=Path, help='folder with label maps (FreeSurfer-like ids, *.nii.gz)')
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for checkpoints and curves; training resumes from it'
    )
    parser.add_argument('--export', type=Path, help='folder to write the averaged weights and their card to at the end')
    _add_start(parser)
    _add_course(parser)
    _add_machine(parser)
    _add_generator(parser)
    _add_images(parser)
    _add_ablations(parser)


def _add_start(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('trained weights to start from')
    group.add_argument(
        '--clip',
        type=Path,
        help='mrclip.safetensors whose styles the generator learns, or of which a part is trained (default: shipped)',
    )
    group.add_argument(
        '--init', type=Path, help='mrclip.safetensors, distclip.safetensors or segmenter.safetensors to start from'
    )


def _add_course(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('course')
    group.add_argument(
        '--steps',
        type=int,
        default=6000,
        help='length of the learning-rate schedule (3000 for numbers); batches for the photometer (100 are enough) and '
        'the eye (320)',
    )
    group.add_argument('--minutes', type=float, default=float('inf'), help='stop and save after this time')
    group.add_argument('--seed', type=int, default=0)
    group.add_argument(
        '--slices',
        type=int,
        default=0,
        help='anatomies per step (default: 8 for mrclip and tower, 4 for distclip and segmenter)',
    )
    group.add_argument('--learning-rate', type=float, default=0.0)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('machine')
    group.add_argument('--device', default='cpu', help='cpu or cuda; the former does for numbers, eye, photometer')
    group.add_argument(
        '--devices',
        type=int,
        default=1,
        metavar='N',
        help='of distclip: processes that train together, one card or share of the CPU each (needs accelerate)',
    )
    group.add_argument('--workers', type=int, default=1, help='processes that simulate; 0 simulates on the device')
    group.add_argument('--threads', type=int, default=0, help='CPU threads of the training process')


def _add_generator(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('generator', 'of distclip alone')
    group.add_argument('--preset', choices=('tiny', 'small', 'full'), default='tiny', help='size of the generator')
    group.add_argument('--losses', type=Path, metavar='FILE', help='weights of the loss terms, as TOML')
    group.add_argument('--freeze-clip', action='store_true', help='leave MR-CLIP as it is while the generator learns')
    group.add_argument(
        '--pictures',
        type=int,
        default=0,
        metavar='N',
        help='write pictures of the same few slices into OUT/pictures every N steps (default 0: none)',
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('real images', 'of distclip alone')
    group.add_argument(
        '--bids',
        type=Path,
        metavar='DIR',
        help='a BIDS dataset to train on, instead of --labels or mixed with them; with --init to adapt',
    )
    group.add_argument('--participants', nargs='+', metavar='LABEL', help='people of --bids to use (default: all)')
    group.add_argument(
        '--held-out',
        nargs='+',
        default=[],
        metavar='LABEL',
        help='people of --bids never to train on; the loss on them is written into OUT/held_out.tsv',
    )
    group.add_argument(
        '--bids-share', type=float, metavar='SHARE', help='share of batches from --bids beside --labels (default 0.5)'
    )


def _add_ablations(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('ablations', 'of distclip alone: to see what a part of it is good for')
    group.add_argument('--guidance', choices=('both', 'image', 'text'), default='both', help='one kind of guide only')
    group.add_argument(
        '--variant',
        choices=('ast', 'constant-query', 'adain', 'analytic'),
        default='ast',
        help='style transfer, or a signal equation in its place',
    )
    group.add_argument('--free-beta', action='store_true', help='one free β channel with InfoNCE, as released')
    group.add_argument(
        '--no-anatomy-loss',
        action='store_true',
        help='nothing tells the mapper what anatomy is; mapper and decoder learn end to end',
    )
    group.add_argument('--no-lesions', action='store_true', help='heads without lesions')
    group.add_argument('--no-texture', action='store_true', help='heads without texture')


def run_train(args: argparse.Namespace) -> int:
    """Run the training that was asked for, in as many processes; return the exit code."""
    import torch

    from bids_distclip.training.devices import join, launch, launched
    from bids_distclip.training.run_distclip import real_data
    from bids_distclip.training.run_parts import PARTS, train_part

    _check(args)
    if args.devices > 1 and not launched():
        if args.bids:
            real_data(args)  # Once, before there are several.
        return launch(run_train, args, devices=args.devices, device=args.device)
    crew = join(args.device)
    if args.threads or crew.size > 1:
        torch.set_num_threads(args.threads or max(1, (os.cpu_count() or 1) // crew.size))
    if args.what in PARTS:
        return train_part(args)
    card = _trained(args, crew)
    if crew.first:
        _finish(args, card)
    return 0


def _trained(args: argparse.Namespace, crew: Crew) -> dict[str, Any]:
    """Train what has a loop; return its card."""
    from bids_distclip.networks.weights import load_clip, load_segmenter
    from bids_distclip.training.run_distclip import train_generator, trained_clip

    names = ('steps', 'minutes', 'device', 'workers', 'seed')
    common = {name: getattr(args, name) for name in names}
    common |= {name: getattr(args, name) for name in ('slices', 'learning_rate') if getattr(args, name)}
    if args.what == 'mrclip':
        from bids_distclip.training.mrclip import train_mrclip

        return train_mrclip(args.labels, args.out, init=load_clip(args.init) if args.init else None, **common)
    if args.what == 'segmenter':
        from bids_distclip.training.segmenter import train_segmenter

        return train_segmenter(args.labels, args.out, init=load_segmenter(args.init) if args.init else None, **common)
    if args.what == 'tower':
        from bids_distclip.training.tower import train_tower

        return train_tower(args.labels, args.out, clip=load_clip(trained_clip(args)), **common)
    return train_generator(args, common, crew=crew)


def _finish(args: argparse.Namespace, card: Mapping[str, Any]) -> None:
    """Write the weights, if they are asked for, and say how far the training came."""
    if args.export:
        from bids_distclip.training.export import export_weights, keep_photometer
        from bids_distclip.training.run_distclip import trained_clip

        export_weights(args.out, args.export)
        if args.what == 'distclip' and args.freeze_clip:
            keep_photometer(trained_clip(args).parent, args.export)
    print(f'Reached step {card["reached"]} of {args.steps}; checkpoint in {args.out}')


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    from bids_distclip.errors import UsageError

    if args.bids and args.what != 'distclip':
        raise UsageError(f'{args.what} does not train on real images.', cure='Leave out --bids.')
    if not (args.labels or args.bids):
        cure = 'Give --labels DIR' + (', or --bids DIR.' if args.what == 'distclip' else '.')
        raise UsageError('There is nothing to train on.', cure=cure)
    if (args.participants or args.held_out or args.bids_share is not None) and not args.bids:
        raise UsageError('--participants, --held-out and --bids-share are of --bids.', cure='Give --bids DIR.')
    if args.bids_share is not None and not (args.labels and 0 < args.bids_share < 1):
        raise UsageError(
            '--bids-share is between 0 and 1, of a training with --bids and --labels.', cure='Leave it out.'
        )
    if args.devices < 1:
        raise UsageError(f'--devices is {args.devices}.', cure='Give a number from 1 on.')
    if args.devices > 1 and args.what != 'distclip':
        raise UsageError(f'{args.what} trains on one device.', cure='Leave out --devices.')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(prog='distclip train')
    add_train_arguments(parser)
    raise SystemExit(run_train(parser.parse_args()))
