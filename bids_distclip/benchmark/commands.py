"""What each of the benchmark's tables takes: one function per word of ``distclip evaluate``, each an exit code."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_distclip.benchmark.inputs import (
    asked_cases,
    asked_engines,
    asked_pair,
    asked_patients,
    distclip_engine,
    held_out,
    needed_segment,
)


def compare_pairs(args: argparse.Namespace) -> int:
    """Bring contrasts to each other by every engine."""
    from bids_distclip.benchmark.pictures import draw_case
    from bids_distclip.benchmark.run import paired_summary, run_cases, summary
    from bids_distclip.errors import UsageError

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to evaluate on', cure='Give --labels, --brains or both.')
    pictures = args.out / 'pictures'
    rows = run_cases(
        asked_cases(args),
        asked_engines(args),
        on_result=lambda case, name, made: draw_case(case, name, made, pictures),
        table=args.out / 'benchmark.tsv',
    )
    (args.out / 'benchmark.md').write_text(summary(rows) + '\n' + paired_summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def send_travelers(args: argparse.Namespace) -> int:
    """Send heads from scanner to scanner and look what is left of these."""
    from bids_distclip.benchmark.travelers import COLUMNS, send, travelers
    from bids_distclip.benchmark.trust import write_rows
    from bids_distclip.errors import UsageError
    from bids_distclip.harmonizers.tissue import make_segment

    if not args.labels:
        raise UsageError('Traveling heads are simulated', cure='Give --labels.')
    engines, rows = asked_engines(args), []
    pairs = args.pairs or 'T1w-T1w,T2w-T2w,FLAIR-FLAIR'
    for family in (p.split('-')[0].strip() for p in pairs.split(',')):
        people = travelers(
            held_out(args), family, heads=args.heads * args.draws, every=args.every, segment=make_segment(args.weights)
        )
        rows += send(people, engines)
        write_rows(rows, args.out / 'travelers.tsv', columns=COLUMNS)
    _show(rows)
    return 0


def question_mrclip(args: argparse.Namespace) -> int:
    """Ask what MR-CLIP knows of acquisitions."""
    from bids_distclip.benchmark.answers import write_answers
    from bids_distclip.benchmark.mrclip import question, real_ranks
    from bids_distclip.errors import NoInput, UsageError
    from bids_distclip.networks.bank import BANK, load_bank
    from bids_distclip.networks.eye import EYE, load_eye
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
    clip, eye = load_clip(folder / CLIP).eval(), load_eye(folder / EYE)
    answers = []
    asked = question(clip, load_bank(folder / BANK), heads, eye=eye, picture=args.out / 'mrclip.png')
    real = real_ranks(clip, args.bids, args.sidecars, eye=eye) if args.bids else ()
    for answer in itertools.chain(asked, real):
        answers.append(answer)
        write_answers(answers, args.out / 'mrclip.tsv')
        print(answer)
    return 0


def compare_with_real(args: argparse.Namespace) -> int:
    """Measure simulated heads beside real ones."""
    from bids_distclip.benchmark.realism import real_heads, simulated_heads, write_realism
    from bids_distclip.errors import UsageError
    from bids_distclip.simulation.anatomy import read_anatomies

    if not args.labels or not args.brains:
        raise UsageError('Realism is measured on two sides', cure='Give --labels and --brains.')
    subjects = sorted(p.name.removeprefix('sub-') for p in args.brains.glob('sub-*'))
    whole = [a for a in read_anatomies(args.labels) if a.whole_head]
    made = dict(simulated_heads(whole, draws=args.draws))
    share = write_realism(dict(real_heads(args.brains, subjects)), made, args.out)
    alike = (len(made) - 1) / (len(made) + 1)
    print(f'{share:.1%} of the real values lie within the range of {len(made)} simulated heads; of values alike '
          f'{alike:.1%} would. Figure and table in {args.out}')
    return 0


def measure_trust(args: argparse.Namespace) -> int:
    """Measure sound results beside planted failures."""
    from bids_distclip.benchmark.trust import COLUMNS, measure, separation, write_rows
    from bids_distclip.errors import UsageError

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to measure on', cure='Give --labels, --brains or both.')
    rows = _kept(measure(distclip_engine(args), asked_cases(args)), args.out / 'trust.tsv', columns=COLUMNS)
    found = separation([row for row in rows if row['data'] == 'simulated'])
    if found:
        write_rows(found, args.out / 'trust_roc.tsv', columns=list(found[0]))
    _show(found)
    return 0


def measure_uncertainty(args: argparse.Namespace) -> int:
    """Measure uncertainty beside the true error, and calibrate it."""
    from bids_distclip.benchmark.trust import write_rows
    from bids_distclip.benchmark.uncertainty import (
        calibrate_each,
        calibrate_modes,
        gather_errors,
        report,
        write_calibration,
    )
    from bids_distclip.errors import UsageError
    from bids_distclip.harmonizers.distclip import DistClip

    if not args.labels:
        raise UsageError('Errors are known on simulated heads alone', cure='Give --labels.')
    engine = DistClip(weights=args.weights, device=args.device, precision=args.precision)
    found = list(gather_errors(engine, asked_cases(args)))
    write_calibration(calibrate_modes(found), args.out / 'calibration.json')
    rows = report(found, calibrate_each(found))
    write_rows(rows, args.out / 'uncertainty.tsv', columns=list(rows[0]))
    print(f'each of {", ".join(sorted({one.head for one in found}))} with the calibration of the others')
    _show(rows)
    return 0


def tell_tissue(args: argparse.Namespace) -> int:
    """Tell tissue apart, before and after."""
    from bids_distclip.benchmark.tissue import COLUMNS, label_heads, label_results, summary
    from bids_distclip.errors import UsageError

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to tell tissue in', cure='Give --labels, --brains or both.')
    segment = needed_segment(args)
    engine = distclip_engine(args)
    whole = label_heads(segment, held_out(args), draws=args.draws) if args.labels else ()
    found = itertools.chain(whole, label_results(segment, engine, asked_cases(args)))
    rows = _kept(found, args.out / 'tissue.tsv', columns=COLUMNS, show=True)
    (args.out / 'tissue.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def spoil_metadata(args: argparse.Namespace) -> int:
    """Spoil metadata and see what becomes of images."""
    from bids_distclip.benchmark.metadata import COLUMNS, ask_metadata, summary
    from bids_distclip.errors import UsageError

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to measure on', cure='Give --labels, --brains or both.')
    rows = _kept(ask_metadata(distclip_engine(args), asked_cases(args)), args.out / 'metadata.tsv', columns=COLUMNS)
    (args.out / 'metadata.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def hold_tissues(args: argparse.Namespace) -> int:
    """Measure the brightness of tissue as the network leaves it and held."""
    from bids_distclip.benchmark.tone import COLUMNS, HELD, compare_shares, gather_pairs
    from bids_distclip.benchmark.trust import write_rows
    from bids_distclip.errors import NoInput, UsageError
    from bids_distclip.training.split import training_heads

    if not args.labels:
        raise UsageError('Tissue is known in simulated heads', cure='Give --labels.')
    segment = needed_segment(args)
    engine, rows = distclip_engine(args, hold_tissue=False), []
    heads = [a for a in training_heads(args.labels) if a.whole_head]
    if not heads:
        raise NoInput('There is no whole head that may be trained on', file=args.labels)
    for families in ((a, b) for a in HELD for b in HELD if asked_pair(args, a, b)):
        found = gather_pairs(
            engine, heads, families, people=args.heads * args.draws, segment=segment, every=args.every,
            protocols=5 if len(set(families)) == 1 else 3,
        )
        rows += compare_shares(list(found), families)
        write_rows(rows, args.out / 'tone.tsv', columns=COLUMNS)
    _show(rows)
    return 0


def measure_speed(args: argparse.Namespace) -> int:
    """Measure speed beside what the machine's arithmetic would allow."""
    from bids_distclip.benchmark.speed import COLUMNS, measure, summary

    found = measure(weights=args.weights, device=args.device)
    rows = _kept(found, args.out / 'speed.tsv', columns=COLUMNS, show=True)
    (args.out / 'speed.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def correct_shading(args: argparse.Namespace) -> int:
    """Correct shading, and see what is left of it and of lesions."""
    from bids_distclip.benchmark.shading import COLUMNS, measure, summary
    from bids_distclip.errors import UsageError

    if not args.labels:
        raise UsageError('Shading is known in simulated heads', cure='Give --labels.')
    segment = needed_segment(args)
    found = measure(held_out(args), segment=segment, draws=args.draws)
    rows = _kept(found, args.out / 'shading.tsv', columns=COLUMNS)
    (args.out / 'shading.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows))
    return 0


def follow_lesions(args: argparse.Namespace) -> int:
    """Measure how lesions stand out, before and after."""
    from bids_distclip.benchmark.lesions import COLUMNS, measure_lesions, summarize, table

    rows = _kept(measure_lesions(asked_patients(args), asked_engines(args)), args.out / 'lesions.tsv', columns=COLUMNS)
    (args.out / 'lesions.md').write_text(table(summarize(rows)), encoding='utf-8')
    print(table(summarize(rows)))
    return 0


def look_for_limits(args: argparse.Namespace) -> int:
    """Measure what keeps results from the truth."""
    from bids_distclip.benchmark.limits import COLUMNS, find_limits
    from bids_distclip.errors import UsageError
    from bids_distclip.networks.weights import load_trained

    if not args.labels:
        raise UsageError('The truth is known in simulated heads alone', cure='Give --labels.')
    trained, heads, people = load_trained(args.weights), held_out(args), args.heads * args.draws
    pairs = [p.strip().split('-') for p in (args.pairs or 'PDw-T2w,T1w-T2w,T2w-T1w,T2w-FLAIR').split(',')]
    found = (row for a, b in pairs for row in find_limits(trained, heads, a, b, people=people))
    _kept(found, args.out / 'limits.tsv', columns=COLUMNS, show=True)
    return 0


def fuse_planes(args: argparse.Namespace) -> int:
    """Fuse the passes through three planes in several ways; those already made below ``--out`` are taken from there."""
    from bids_distclip.benchmark.fusion import train_fusion
    from bids_distclip.benchmark.passes import SLAB, real_passes, simulated_passes
    from bids_distclip.benchmark.planes import COLUMNS, compare_fusions, summary, uneven
    from bids_distclip.errors import UsageError
    from bids_distclip.harmonizers.tissue import make_segment
    from bids_distclip.networks.weights import load_trained
    from bids_distclip.training.split import training_heads

    if not (args.labels or args.brains or args.bids):
        raise UsageError('There is nothing to fuse', cure='Give --labels, --brains, --bids or several.')
    asked = args.pairs or 'T1w-T1w,T2w-T2w,FLAIR-FLAIR,T1w-T2w,T2w-FLAIR'
    pairs = [(a.strip(), b.strip()) for a, _, b in (p.partition('-') for p in asked.split(','))]
    # Passes of other weights or another precision are others.
    kept = args.out / 'passes' / f'{load_trained(args.weights).sha256[:12]}-{args.precision}'
    segment, net, scans = make_segment(args.weights), None, []
    engine = {'weights': args.weights, 'device': args.device, 'precision': args.precision}
    if args.labels:
        known, new = [a for a in training_heads(args.labels) if a.whole_head], held_out(args)
        if known:
            place = kept / 'training'
            net = train_fusion(simulated_passes(known, pairs, place, people=2, seed=71_000, size=SLAB, **engine))
        people = args.heads * args.draws
        scans.append(simulated_passes(new, pairs, kept / 'heads', people=people, **engine))
    for name, folder in (('whole heads', args.bids), ('stripped heads', args.brains)):
        if folder:
            scans.append(real_passes(folder, kept / folder.name, data=name, segment=segment, **engine))
    found = compare_fusions(itertools.chain(*scans), net=net)
    rows = _kept(found, args.out / 'planes.tsv', columns=COLUMNS)
    (args.out / 'planes.md').write_text(summary(rows), encoding='utf-8')
    print(summary(rows), *uneven(rows), sep='\n')
    return 0


def _kept(
    found: Iterable[Mapping[str, Any]], path: Path, *, columns: Sequence[str], show: bool = False
) -> list[Mapping[str, Any]]:
    """Return the rows; the table is written anew after each, so that a run cut short leaves what it found."""
    from bids_distclip.benchmark.trust import write_rows

    rows: list[Mapping[str, Any]] = []
    for row in found:
        rows.append(row)
        if show:
            _show([row])
        write_rows(rows, path, columns=columns)
    return rows


def _show(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print the rows, numbers to three decimals."""
    for row in rows:
        print('  '.join(f'{v:.3f}' if isinstance(v, float) else str(v) for v in row.values()), flush=True)
