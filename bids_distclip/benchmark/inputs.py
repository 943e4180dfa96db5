"""What the options of ``distclip evaluate`` name: cases, held-out heads, engines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def asked_cases(args: argparse.Namespace):
    """Yield the cases that the options ask for, of the pairs that ``--pairs`` names.

    Sources know their tissue, as in the app.
    """
    from dataclasses import replace

    from bids_distclip.harmonizers.tissue import make_segment, with_tissue

    segment = make_segment(args.weights)
    for case in _all_cases(args):
        if asked_pair(args, case.source_family, case.target_family):
            yield replace(case, source=with_tissue(case.source, segment)) if segment else case


def _all_cases(args: argparse.Namespace):
    from bids_distclip.benchmark.cases import real_cases, simulated_cases, thinned

    if args.brains:
        yield from (thinned(case, args.every) for case in real_cases(args.brains))
    if args.labels:
        yield from simulated_cases(held_out(args), draws=args.draws, every=args.every)


def asked_patients(args: argparse.Namespace):
    """Yield the patients that the options ask for, of the pairs that ``--pairs`` names.

    Raises
    ------
    UsageError
        If there is nothing to measure on.
    NoInput
        If tissue cannot be told.
    """
    from dataclasses import replace

    from bids_distclip.benchmark.cases import thinned
    from bids_distclip.benchmark.lesions import real_patients, simulated_patients
    from bids_distclip.errors import UsageError
    from bids_distclip.harmonizers.tissue import with_tissue

    if not args.labels and not args.brains:
        raise UsageError('There is nothing to measure lesions on', cure='Give --labels, --brains or both.')
    segment = needed_segment(args)
    if args.brains:
        for one in real_patients(args.brains, segment=segment):
            if asked_pair(args, one.case.source_family, one.case.target_family):
                yield replace(one, case=thinned(one.case, args.every))
    if args.labels:
        for one in simulated_patients(held_out(args), draws=args.draws, every=args.every):
            if asked_pair(args, one.case.source_family, one.case.target_family):
                yield replace(one, case=replace(one.case, source=with_tissue(one.case.source, segment)))


def needed_segment(args: argparse.Namespace):
    """Return what segments a volume with the weights asked for; raise NoInput if there is none."""
    from bids_distclip.errors import NoInput
    from bids_distclip.harmonizers.tissue import make_segment

    segment = make_segment(args.weights)
    if segment is None:
        raise NoInput('There is no segmenter', file=args.weights, cure='Run `distclip train segmenter` first.')
    return segment


def asked_pair(args: argparse.Namespace, source: str, target: str) -> bool:
    """Tell whether ``--pairs`` names a pair of contrast families; all are asked for where it names none."""
    wanted = {p.strip() for p in args.pairs.split(',') if p.strip()}
    return not wanted or f'{source}-{target}' in wanted


def held_out(args: argparse.Namespace):
    """Return the first ``--heads`` whole heads that are never trained on."""
    from bids_distclip.training.split import held_out_heads

    return [a for a in held_out_heads(args.labels) if a.whole_head][: args.heads]


def distclip_engine(args: argparse.Namespace, **options: Any):
    """Return the engine, its uncertainty left out."""
    from bids_distclip.harmonizers.distclip import DistClip

    given: dict[str, Any] = {
        'weights': args.weights,
        'device': args.device,
        'precision': args.precision,
        'planes': args.planes,
        'uncertainty': False,
        'hold_tissue': args.tissue_brightness == 'held',
    }
    return DistClip(**given | options)


def asked_engines(args: argparse.Namespace) -> dict:
    """Return the engines that ``--engines`` and ``--compare`` name, each with its kind of target.

    Raises
    ------
    UsageError
        If a name to compare comes without a folder.
    """
    from bids_distclip.errors import UsageError
    from bids_distclip.harmonizers.registry import get_harmonizer

    engines: dict = {}
    for name in (n.strip() for n in args.engines.split(',')):
        if name == 'distclip':
            engine = distclip_engine(args)
            engines |= {'distclip, image': (engine, 'image'), 'distclip, metadata': (engine, 'metadata')}
        else:
            engines[name] = (get_harmonizer(name), 'image')
    for given in args.compare:
        name, found, folder = given.partition('=')
        if not (name and found and folder):
            raise UsageError(f'{given!r} is no NAME=FOLDER.', cure='Give --compare as my-weights=path/to/weights.')
        engine = distclip_engine(args, weights=Path(folder))
        engines |= {f'{name}, image': (engine, 'image'), f'{name}, metadata': (engine, 'metadata')}
    return engines
