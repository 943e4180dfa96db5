"""The toolbox: simulate phantoms, harmonize one image without BIDS, audit metadata, train, evaluate."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_distclip import __version__
from bids_distclip.cli.app import guarded
from bids_distclip.cli.targets import add_engine_options, add_target_options, positive
from bids_distclip.cli.values import Parser

#: Subcommands whose options come with their room, which imports torch: only read when asked for.
_ROOMS = ('train', 'evaluate')


def build_parser(command: str | None = None) -> Parser:
    """Return the parser of ``distclip``, with the options of ``command`` filled in where they come with a room."""
    parser = Parser(prog='distclip', allow_abbrev=False, description='Tools around bids_distclip.')
    parser.add_argument('--version', action='version', version=f'distclip {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    _add_simulate(commands)
    _add_harmonize(commands)
    _add_audit(commands)
    train = commands.add_parser('train', help='train networks')
    evaluate = commands.add_parser('evaluate', help='make the benchmark tables')
    if command == 'train':
        from bids_distclip.training.cli import add_train_arguments

        add_train_arguments(train)
    elif command == 'evaluate':
        from bids_distclip.benchmark.cli import add_evaluate_arguments

        add_evaluate_arguments(evaluate)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one tool and return its exit code."""
    return guarded(lambda: _run(argv), prog='distclip')


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    room = words[0] if words and words[0] in _ROOMS else None
    args = build_parser(room).parse_args(words)
    # Before torch is imported: threads that spin while they wait cost more than they do where something else runs.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    tools = {'simulate': _simulate, 'harmonize': _harmonize, 'audit': _audit, 'train': _train, 'evaluate': _evaluate}
    return tools[args.command](args)


def _add_simulate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'simulate', help='make a BIDS dataset of simulated heads that travel between simulated scanners'
    )
    parser.add_argument('out', type=Path, help='the folder of the dataset to write')
    parser.add_argument('--heads', type=positive, default=3, metavar='N', help='people (default 3)')
    parser.add_argument('--scanners', type=positive, default=2, metavar='N', help='scanners (default 2)')
    parser.add_argument('--suffixes', nargs='+', default=['T1w', 'T2w'], metavar='SUFFIX',
                        help='images per visit (default T1w T2w)')
    parser.add_argument('--spacing', type=float, default=1.0, metavar='MM', help='voxel size (default 1 mm)')
    parser.add_argument('--truth', action='store_true', help='also write noise-free images, in derivatives/truth')
    parser.add_argument('--seed', type=int, default=0, help='seed of everything random (default 0)')
    parser.add_argument('--labels', type=Path, metavar='DIR',
                        help='folder of label maps to take the anatomy from (default: geometric phantoms)')


def _simulate(args: argparse.Namespace) -> int:
    from bids_distclip.simulation.travelers import write_travelers

    write_travelers(args.out, heads=args.heads, scanners=args.scanners, suffixes=tuple(args.suffixes),
                    seed=args.seed, labels_dir=args.labels, spacing=args.spacing, truth=args.truth)
    print(f'distclip: wrote {args.heads} heads on {args.scanners} scanners to {args.out}')
    return 0


def _add_harmonize(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'harmonize', help='harmonize one image, without BIDS', argument_default=argparse.SUPPRESS
    )
    parser.add_argument('source', type=Path, metavar='SOURCE', help='the image (NIfTI)')
    parser.add_argument('out', type=Path, metavar='OUT', help='the image to write (.nii or .nii.gz)')
    parser.add_argument('--source-metadata', type=Path, metavar='FILE',
                        help='how SOURCE was acquired: a JSON sidecar, a DICOM file or folder '
                        '(default: the sidecar beside SOURCE)')
    parser.add_argument('--brain-mask', type=Path, metavar='FILE', help='brain mask of SOURCE (default: estimated)')
    add_target_options(parser)
    add_engine_options(parser)


def _harmonize(args: argparse.Namespace) -> int:
    from bids_distclip.workflow.single import harmonize_file

    given = {name: value for name, value in vars(args).items() if name != 'command'}
    told = harmonize_file(given.pop('source'), out=given.pop('out'), **given)
    print(told)
    return 0


def _add_audit(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'audit', help='look through the metadata of a BIDS dataset: what is missing, slipped or contradicts itself'
    )
    parser.add_argument('bids_dir', type=Path, metavar='BIDS_DIR', help='the dataset; its sidecars are enough')
    parser.add_argument('out', type=Path, metavar='OUT', help='the folder to write the page and the tables into')


def _audit(args: argparse.Namespace) -> int:
    from bids_distclip.audit.page import audit_dataset

    page, told = audit_dataset(args.bids_dir, out=args.out)
    print('\n'.join([*told, f'distclip: wrote {page}']))
    return 0


def _train(args: argparse.Namespace) -> int:
    from bids_distclip.training.cli import run_train

    return run_train(args)


def _evaluate(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.cli import run_evaluate

    return run_evaluate(args)
