"""``distclip evaluate``: the command line of the benchmark."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``distclip evaluate`` to a parser; imports nothing heavy."""
    parser.add_argument(
        'what',
        nargs='?',
        choices=('pairs', 'travelers', 'mrclip', 'realism', 'trust', 'uncertainty', 'tissue', 'metadata',
                 'speed'),
        default='pairs',
        help='contrast pairs by every engine (default); what is left of the scanners on heads that traveled; '
        'what MR-CLIP knows of acquisitions (needs --labels); '
        'simulated heads measured beside real ones (needs --labels and --brains); sound results '
        'beside planted failures; uncertainty beside the true error; tissue told apart, before and after; '
        'foreign, absurd and missing metadata; how fast this machine is, and what its arithmetic would allow',
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for the table (TSV and Markdown) and the pictures'
    )
    parser.add_argument(
        '--labels', type=Path, help='folder with label maps; the held-out heads among them are simulated'
    )
    parser.add_argument('--brains', type=Path, help='folder with real skull-stripped co-registered heads')
    parser.add_argument('--bids', type=Path, help='mrclip: a BIDS dataset of real scans with sidecars')
    parser.add_argument('--sidecars', type=Path, help='mrclip: a BIDS dataset of sidecars to find those among')
    parser.add_argument('--heads', type=int, default=3, help='how many held-out heads to simulate')
    parser.add_argument('--draws', type=int, default=1, help='how many sets of protocols to see each of them under')
    parser.add_argument('--weights', type=Path, help='folder with weights (default: the shipped ones)')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--precision', choices=('auto', 'fp32', 'bf16'), default='auto')
    parser.add_argument('--planes', type=int, choices=(1, 3), default=3)
    parser.add_argument('--every', type=int, default=1, help='keep every so many axial slices alone: a quicker look')
    parser.add_argument('--engines', default='identity,histogram,distclip', help='comma-separated names')
    parser.add_argument('--pairs', default='', help='comma-separated, as T1w-T2w; default all')


def run_evaluate(args: argparse.Namespace) -> int:
    """Run the benchmark; return the exit code."""
    if args.what != 'pairs':
        others = {'realism': _compare_with_real, 'mrclip': _question_mrclip, 'trust': _measure_trust,
                  'uncertainty': _measure_uncertainty, 'travelers': _send_travelers, 'tissue': _tell_tissue,
                  'metadata': _spoil_metadata, 'speed': _measure_speed}
        return others[args.what](args)
    from bids_distclip.benchmark.pictures import draw_case
    from bids_distclip.benchmark.run import run_cases, summary
    from bids_distclip.errors import UsageError

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to evaluate on', cure='Give --labels, --brains or both.')
    pictures = args.out / 'pictures'
    rows = run_cases(
        _cases(args),
        _engines(args),
        on_result=lambda case, name, made: draw_case(case, name, made, pictures),
        table=args.out / 'benchmark.tsv',
    )
    (args.out / 'benchmark.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def _send_travelers(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.travelers import COLUMNS, send, travelers
    from bids_distclip.benchmark.trust import write_rows
    from bids_distclip.errors import UsageError
    from bids_distclip.harmonizers.tissue import make_segment

    if not args.labels:
        raise UsageError('Traveling heads are simulated', cure='Give --labels.')
    engines, rows = _engines(args), []
    pairs = args.pairs or 'T1w-T1w,T2w-T2w,FLAIR-FLAIR'
    for family in (p.split('-')[0].strip() for p in pairs.split(',')):
        people = travelers(
            _held_out(args), family, heads=args.heads * args.draws, every=args.every, segment=make_segment(args.weights)
        )
        rows += send(people, engines)
        write_rows(rows, args.out / 'travelers.tsv', columns=COLUMNS)
    for row in rows:
        print('  '.join(f'{v:.3f}' if isinstance(v, float) else str(v) for v in row.values()))
    return 0


def _question_mrclip(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.answers import write_answers
    from bids_distclip.benchmark.mrclip import question, real_ranks
    from bids_distclip.errors import NoInput, UsageError
    from bids_distclip.networks.bank import BANK, load_bank
    from bids_distclip.networks.weights import CLIP, DEFAULT, load_clip
    from bids_distclip.training.split import HELD_OUT, held_out_heads

    if not args.labels:
        raise UsageError('MR-CLIP is questioned on simulated heads', cure='Give --labels.')
    if bool(args.bids) != bool(args.sidecars):
        raise UsageError('Real scans are looked for among real sidecars', cure='Give both --bids and --sidecars.')
    heads = held_out_heads(args.labels)
    if not heads:
        raise NoInput(f'None of the held-out heads ({", ".join(HELD_OUT)}) is here', file=args.labels)
    folder = args.weights or DEFAULT
    clip = load_clip(folder / CLIP).eval()
    answers = []
    asked = question(clip, load_bank(folder / BANK), heads, picture=args.out / 'mrclip.png')
    for answer in itertools.chain(asked, real_ranks(clip, args.bids, args.sidecars) if args.bids else ()):
        answers.append(answer)
        write_answers(answers, args.out / 'mrclip.tsv')
        print(answer)
    return 0


def _compare_with_real(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.realism import real_heads, simulated_heads, write_realism
    from bids_distclip.errors import UsageError
    from bids_distclip.simulation.anatomy import read_anatomies

    if not args.labels or not args.brains:
        raise UsageError('Realism is measured on two sides', cure='Give --labels and --brains.')
    subjects = sorted(p.name.removeprefix('sub-') for p in args.brains.glob('sub-*'))
    whole = [a for a in read_anatomies(args.labels) if a.whole_head]
    share = write_realism(dict(real_heads(args.brains, subjects)), dict(simulated_heads(whole)), args.out)
    print(f'{share:.0%} of the real values lie within the simulated range; figure and table in {args.out}')
    return 0


def _measure_trust(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.trust import COLUMNS, measure, separation, write_rows
    from bids_distclip.errors import UsageError

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to measure on', cure='Give --labels, --brains or both.')
    rows = _kept(measure(_distclip(args), _cases(args)), args.out / 'trust.tsv', columns=COLUMNS)
    found = separation([row for row in rows if row['data'] == 'simulated'])
    if found:
        write_rows(found, args.out / 'trust_roc.tsv', columns=list(found[0]))
    for row in found:
        print('  '.join(f'{v:.3f}' if isinstance(v, float) else str(v) for v in row.values()))
    return 0


def _measure_uncertainty(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.trust import write_rows
    from bids_distclip.benchmark.uncertainty import calibrate, gather_errors, report, write_calibration
    from bids_distclip.errors import UsageError
    from bids_distclip.harmonizers.distclip import DistClip

    if not args.labels:
        raise UsageError('Errors are known on simulated heads alone', cure='Give --labels.')
    engine = DistClip(weights=args.weights, device=args.device, precision=args.precision)
    found = list(gather_errors(engine, _cases(args)))
    heads = sorted({one.head for one in found})
    fitted = [one for one in found if one.head != heads[-1] or len(heads) == 1]
    modes = sorted({one.mode for one in fitted})
    calibration = {mode: calibrate([one for one in fitted if one.mode == mode]) for mode in modes}
    write_calibration(calibration, args.out / 'calibration.json')
    rows = report([one for one in found if one.head == heads[-1]], calibration)
    write_rows(rows, args.out / 'uncertainty.tsv', columns=list(rows[0]))
    print(f'fitted on {", ".join(sorted({one.head for one in fitted}))}; shown for {heads[-1]}')
    for row in rows:
        print('  '.join(f'{v:.3f}' if isinstance(v, float) else str(v) for v in row.values()))
    return 0


def _tell_tissue(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.tissue import COLUMNS, label_heads, label_results, summary
    from bids_distclip.benchmark.trust import write_rows
    from bids_distclip.errors import NoInput, UsageError
    from bids_distclip.harmonizers.tissue import make_segment

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to tell tissue in', cure='Give --labels, --brains or both.')
    segment = make_segment(args.weights)
    if segment is None:
        raise NoInput('There is no segmenter', file=args.weights, cure='Run `distclip train segmenter` first.')
    engine = _distclip(args)
    rows = []
    whole = label_heads(segment, _held_out(args), draws=args.draws) if args.labels else ()
    for row in itertools.chain(whole, label_results(segment, engine, _cases(args))):
        rows.append(row)
        write_rows(rows, args.out / 'tissue.tsv', columns=COLUMNS)
        print('  '.join(f'{v:.3f}' if isinstance(v, float) else str(v) for v in row.values()), flush=True)
    (args.out / 'tissue.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def _spoil_metadata(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.metadata import COLUMNS, ask_metadata, summary
    from bids_distclip.errors import UsageError

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to measure on', cure='Give --labels, --brains or both.')
    rows = _kept(ask_metadata(_distclip(args), _cases(args)), args.out / 'metadata.tsv', columns=COLUMNS)
    (args.out / 'metadata.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def _measure_speed(args: argparse.Namespace) -> int:
    from bids_distclip.benchmark.speed import COLUMNS, measure, summary

    rows = []
    for row in measure(weights=args.weights, device=args.device):
        rows.append(row)
        print('  '.join(f'{v:.3f}' if isinstance(v, float) else str(v) for v in row.values()), flush=True)
        _kept(rows, args.out / 'speed.tsv', columns=COLUMNS)
    (args.out / 'speed.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def _kept(found: Iterable[Mapping[str, Any]], path: Path, *, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the rows; the table is written anew after each, so that a run cut short leaves what it found."""
    from bids_distclip.benchmark.trust import write_rows

    rows: list[Mapping[str, Any]] = []
    for row in found:
        rows.append(row)
        write_rows(rows, path, columns=columns)
    return rows


def _cases(args: argparse.Namespace):
    """Yield the cases that the options ask for, of the pairs that ``--pairs`` names.

    Within one family sources know their tissue, as in the app: there it counts.
    """
    from dataclasses import replace

    from bids_distclip.harmonizers.tissue import make_segment, with_tissue

    segment = make_segment(args.weights)
    wanted = {p.strip().replace('-', '→') for p in args.pairs.split(',') if p.strip()}
    for case in _all_cases(args):
        if wanted and f'{case.source_family}→{case.target_family}' not in wanted:
            continue
        if segment and case.source_family == case.target_family:
            case = replace(case, source=with_tissue(case.source, segment))
        yield case


def _all_cases(args: argparse.Namespace):
    from bids_distclip.benchmark.cases import real_cases, simulated_cases, thinned

    if args.brains:
        yield from (thinned(case, args.every) for case in real_cases(args.brains))
    if args.labels:
        yield from simulated_cases(_held_out(args), draws=args.draws, every=args.every)


def _held_out(args: argparse.Namespace):
    from bids_distclip.training.split import held_out_heads

    return [a for a in held_out_heads(args.labels) if a.whole_head][: args.heads]


def _distclip(args: argparse.Namespace):
    from bids_distclip.harmonizers.distclip import DistClip

    return DistClip(
        weights=args.weights, device=args.device, precision=args.precision, planes=args.planes, uncertainty=False
    )


def _engines(args: argparse.Namespace) -> dict:
    from bids_distclip.harmonizers.registry import get_harmonizer

    engines: dict = {}
    for name in (n.strip() for n in args.engines.split(',')):
        if name == 'distclip':
            engine = _distclip(args)
            engines |= {'distclip, image': (engine, 'image'), 'distclip, metadata': (engine, 'metadata')}
        else:
            engines[name] = (get_harmonizer(name), 'image')
    return engines


if __name__ == '__main__':
    parser = argparse.ArgumentParser(prog='distclip evaluate')
    add_evaluate_arguments(parser)
    raise SystemExit(run_evaluate(parser.parse_args()))
