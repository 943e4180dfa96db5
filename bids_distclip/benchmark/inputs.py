"""What the options of ``distclip evaluate`` name: cases, held-out heads, engines."""

from __future__ import annotations

import argparse


def asked_cases(args: argparse.Namespace):
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
        yield from simulated_cases(held_out(args), draws=args.draws, every=args.every)


def held_out(args: argparse.Namespace):
    """Return the first ``--heads`` whole heads that are never trained on."""
    from bids_distclip.training.split import held_out_heads

    return [a for a in held_out_heads(args.labels) if a.whole_head][: args.heads]


def distclip_engine(args: argparse.Namespace, **options: bool):
    """Return the engine, its uncertainty left out."""
    from bids_distclip.harmonizers.distclip import DistClip

    return DistClip(
        weights=args.weights,
        device=args.device,
        precision=args.precision,
        planes=args.planes,
        uncertainty=False,
        **options,
    )


def asked_engines(args: argparse.Namespace) -> dict:
    """Return the engines that ``--engines`` names, each with its kind of target."""
    from bids_distclip.harmonizers.registry import get_harmonizer

    engines: dict = {}
    for name in (n.strip() for n in args.engines.split(',')):
        if name == 'distclip':
            engine = distclip_engine(args)
            engines |= {'distclip, image': (engine, 'image'), 'distclip, metadata': (engine, 'metadata')}
        else:
            engines[name] = (get_harmonizer(name), 'image')
    return engines
