"""``distclip evaluate``: the command line of the benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

_CASES = ('labels', 'brains', 'heads', 'draws', 'every', 'pairs', 'weights')
_ENGINE = ('weights', 'device', 'precision', 'planes', 'tissue_brightness')
_ENGINES = (*_ENGINE, 'engines', 'compare')

#: Functions of :mod:`bids_distclip.benchmark.commands` by the word that asks for them, and the options each takes.
COMMANDS = {
    'pairs': ('compare_pairs', (*_CASES, *_ENGINES)),
    'travelers': ('send_travelers', ('labels', 'heads', 'draws', 'every', 'pairs', *_ENGINES)),
    'mrclip': ('question_mrclip', ('labels', 'bids', 'sidecars', 'weights')),
    'realism': ('compare_with_real', ('labels', 'brains', 'draws')),
    'trust': ('measure_trust', (*_CASES, *_ENGINE)),
    'uncertainty': ('measure_uncertainty', (*_CASES, 'device', 'precision')),
    'tissue': ('tell_tissue', (*_CASES, *_ENGINE)),
    'metadata': ('spoil_metadata', (*_CASES, *_ENGINE)),
    'tone': ('hold_tissues', ('labels', 'heads', 'draws', 'every', 'pairs', *_ENGINE)),
    'speed': ('measure_speed', ('weights', 'device')),
    'shading': ('correct_shading', ('labels', 'heads', 'draws', 'weights')),
    'lesions': ('follow_lesions', (*_CASES, *_ENGINES)),
    'limits': ('look_for_limits', ('labels', 'heads', 'draws', 'pairs', 'weights')),
    'planes': (
        'fuse_planes',
        ('labels', 'brains', 'bids', 'heads', 'draws', 'pairs', 'weights', 'device', 'precision'),
    ),
}

#: Every so manieth slice is looked at where ``--every`` is not given; else all of them.
EVERY = {'tone': 12}


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``distclip evaluate`` to a parser; imports nothing heavy."""
    parser.add_argument(
        'what',
        nargs='?',
        choices=tuple(COMMANDS),
        default='pairs',
        help='contrast pairs by every engine (default); what is left of the scanners on heads that traveled; '
        'what MR-CLIP knows of acquisitions (needs --labels); '
        'simulated heads measured beside real ones (needs --labels and --brains); sound results '
        'beside planted failures; uncertainty beside the true error; tissue told apart, before and after; '
        'foreign, absurd and missing metadata; brightness of tissue as the network leaves it and held; '
        'how fast this machine is, and what its arithmetic would allow; '
        'what correcting shading leaves of shading and of lesions (needs --labels); '
        'how lesions stand out, before and after; what keeps results from the truth; '
        'passes through three planes fused in several ways',
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for the table (TSV and Markdown) and the pictures'
    )
    parser.add_argument(
        '--labels', type=Path, help='folder with label maps; the held-out heads among them are simulated'
    )
    parser.add_argument('--brains', type=Path, help='folder with real skull-stripped co-registered heads')
    parser.add_argument('--bids', type=Path, help='mrclip, planes: a BIDS dataset of real scans with sidecars')
    parser.add_argument('--sidecars', type=Path, help='mrclip: a BIDS dataset of sidecars to find those among')
    parser.add_argument('--heads', type=int, default=3, help='how many held-out heads to simulate; '
                        'tone: how many people bent from heads that may be trained on')
    parser.add_argument('--draws', type=int, default=1, help='how many sets of protocols to see each of them under')
    parser.add_argument('--weights', type=Path, help='folder with weights (default: the shipped ones)')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--precision', choices=('auto', 'fp32', 'bf16'), default='auto')
    parser.add_argument('--planes', type=int, choices=(1, 3), default=3)
    parser.add_argument(
        '--every', type=int, help='keep every so many axial slices alone: a quicker look (default 1; tone: 12)'
    )
    parser.add_argument('--engines', default='identity,histogram,distclip', help='comma-separated names')
    parser.add_argument('--pairs', default='', help='comma-separated, as T1w-T2w; default all')
    parser.add_argument(
        '--compare',
        action='append',
        default=[],
        metavar='NAME=FOLDER',
        help='weights to put beside the others, by name; may be given several times',
    )
    parser.add_argument(
        '--tissue-brightness',
        choices=('held', 'rendered'),
        default='held',
        help='hold tissues of results to what is expected of them, as the app does, or not',
    )


def run_evaluate(args: argparse.Namespace) -> int:
    """Run the benchmark; return the exit code.

    Raises
    ------
    UsageError
        If an option is given that the table asked for does not take.
    """
    from bids_distclip.benchmark import commands
    from bids_distclip.errors import UsageError

    function, takes = COMMANDS[args.what]
    if strange := _given(args) - {'what', 'out', *takes}:
        raise UsageError(
            f'evaluate {args.what} takes no {_options(strange)}', cure=f'It takes {_options({"out", *takes})}.'
        )
    if args.every is None:
        args.every = EVERY.get(args.what, 1)
    return getattr(commands, function)(args)


def _options(names: Iterable[str]) -> str:
    return ', '.join(f'--{name.replace("_", "-")}' for name in sorted(names))


def _given(args: argparse.Namespace) -> set[str]:
    """Return the names of the options that are not as they are where nobody gives them."""
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    usual = vars(parser.parse_args(['--out', '.']))
    return {name for name, value in usual.items() if getattr(args, name) != value}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(prog='distclip evaluate')
    add_evaluate_arguments(parser)
    raise SystemExit(run_evaluate(parser.parse_args()))
