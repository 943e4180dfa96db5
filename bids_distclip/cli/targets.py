"""The options that name a target, an engine and a device, shared by the app and the toolbox."""

from __future__ import annotations

import argparse
import re
from pathlib import Path


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Add what the harmonized images should look like."""
    group = parser.add_argument_group(
        'target', 'What the images should look like. The first that is given counts: image, metadata, protocol; '
        'without any, one shipped protocol per contrast family.',
    )
    group.add_argument('--target-image', metavar='FILE', type=Path,
                       help='an image to look like (NIfTI); with --target-metadata, that describes it')
    group.add_argument('--target-metadata', '--target-sidecar', metavar='FILE', type=Path,
                       help='an acquisition to look like: a JSON sidecar, a DICOM file or a DICOM folder')
    group.add_argument('--target-protocol', metavar='NAME', action='append',
                       help='a shipped protocol to look like, such as siemens-prisma-mprage; may be repeated, '
                       'once per contrast family; "list" shows them')
    group.add_argument('--synthesize', action='store_true',
                       help='allow a target of another contrast family: the output then has the suffix of the '
                       'target and desc-synthetic')


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add which harmonizer runs, with which weights, and on what."""
    group = parser.add_argument_group('engine')
    group.add_argument('--engine', metavar='NAME',
                       help='distclip (default), or a classical one: identity, histogram, nyul, whitestripe')
    group.add_argument('--weights', metavar='PATH', type=Path, help='weights of the distclip engine (default: shipped)')
    group.add_argument('--planes', type=int, choices=(1, 3),
                       help='planes the distclip engine passes through and fuses: 3 (default) or 1')
    group.add_argument('--tissue-brightness', choices=('held', 'rendered'),
                       help='of T1w, T2w, FLAIR and PDw, and of synthetic images but T1w: white and gray matter held '
                       '(default) to what the target lets expect, which evens out scanners and part of what '
                       'people differ by, or left as the network renders them')
    group.add_argument('--batch-size', metavar='N', type=positive, help='slices at once')
    group.add_argument('--bias-correction', choices=('n4', 'none'), help='N4 before harmonization (default) or none')
    group.add_argument('--on-doubt', '--on_doubt', choices=('abstain', 'warn'),
                       help='what to do where the result cannot be trusted: abstain (default) passes the source '
                       'through and says why (distclip harmonize writes nothing and ends with 65); warn writes the '
                       'result and says why it is doubtful')
    group.add_argument('--random-seed', metavar='N', type=int, help='seed of everything random (default 0)')
    group.add_argument('--device', metavar='DEVICE', type=device,
                       help='auto (default: says which one it took), cpu, cuda, cuda:N; cuda fails without a card')
    group.add_argument('--gpu', '--use-gpu', dest='device', action='store_const', const='cuda', help='--device cuda')
    group.add_argument('--no-gpu', dest='device', action='store_const', const='cpu', help='--device cpu')


def positive(text: str) -> int:
    """Return a whole number above zero; raises ArgumentTypeError."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above zero')
    return int(text)


def device(text: str) -> str:
    """Return a device name; raises ArgumentTypeError."""
    if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', text):
        raise argparse.ArgumentTypeError(f'{text!r} is not a device; use auto, cpu, cuda or cuda:N')
    return text
