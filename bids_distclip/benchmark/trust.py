"""What sound results measure and what planted failures do: where limits of :mod:`bids_distclip.quality.trust` lie."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_distclip.acquisition.record import VALUE_FIELDS, Acquisition
from bids_distclip.benchmark.cases import Case
from bids_distclip.benchmark.failures import FAILURES, WRONG
from bids_distclip.harmonizers.base import Target
from bids_distclip.harmonizers.distclip import DistClip
from bids_distclip.harmonizers.styles import seen_style, tells_enough, word_style
from bids_distclip.networks.bank import describe_styles
from bids_distclip.networks.weights import Trained, load_trained
from bids_distclip.quality.guard import compare_structure

#: Numbers that can carry a limit, and on which side a failure lies.
NUMBERS = {
    'structure_lost': 'above',
    'structure_invented': 'above',
    'structure_lost_peak': 'above',
    'structure_invented_peak': 'above',
    'source_known': 'below',
    'target_known': 'below',
    'target_told_known': 'below',
    'source_told': 'below',
    'source_told_known': 'below',
    'source_family': 'below',
    'output_family': 'below',
    'target_after': 'below',
}
COLUMNS = ('what', 'data', 'head', 'pair', 'guide', 'mode', *NUMBERS)


def measure(engine: DistClip, cases: Iterable[Case], *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield one row per result and planted failure, and per source whose metadata were spoilt.

    Cases come head by head, one head in memory at a time. Results to the source's own protocol are left out: there
    nothing can go wrong.
    """
    trained = load_trained(engine.weights, device=engine.device)
    index = 0
    for _, group in itertools.groupby(cases, key=lambda case: (case.data, case.head, case.draw)):
        some = [case for case in group if not case.nothing_to_do]
        truths = {case.target_family: case.truth for case in some}
        for case in some:
            rng = np.random.default_rng([seed, index])
            index += 1
            yield from _spoilt_metadata(trained, case)
            others = {family: truth for family, truth in truths.items() if family != case.target_family}
            for asked in ((case.metadata_target, 'metadata'), (case.image_target, 'image')):
                yield from _one(engine, trained, case, asked, others=others, rng=rng)


def _one(
    engine: DistClip,
    trained: Trained,
    case: Case,
    asked: tuple[Target, str],
    *,
    others: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    target, guide = asked
    synthesize = case.source_family != case.target_family
    answer = engine.harmonize(case.source, target, synthesize=synthesize)
    sound = answer.data / target.scale
    about = {'data': case.data, 'head': case.head, 'pair': case.pair, 'guide': guide,
             'mode': 'synthesis' if synthesize else 'residual'}
    yield {'what': 'sound', **about, **_structure(case, sound), **_known(answer.details['style'])}
    pictures = {name: fail(sound, case.source.brain, case.lesion, rng) for name, fail in FAILURES.items()}
    if others:
        pictures[WRONG] = others[sorted(others)[int(rng.integers(len(others)))]]
    for name, picture in pictures.items():
        if picture is not None:
            styles = _styles(trained, case, picture=picture, target=target)
            yield {'what': name, **about, **_structure(case, picture), **_known(styles)}


def _structure(case: Case, picture: np.ndarray) -> dict[str, float]:
    source = case.source
    found = compare_structure(source.volume.data / source.scale, picture, mask=source.brain,
                              spacing=source.volume.spacing)
    return {'structure_lost': found.lost, 'structure_invented': found.invented,
            'structure_lost_peak': found.peak_lost, 'structure_invented_peak': found.peak_invented}


def _styles(trained: Trained, case: Case, *, picture: np.ndarray | None, target: Target) -> dict[str, Any]:
    source = case.source
    known = source.acquisition
    own = word_style(trained, known, source.family) if tells_enough(known) else None
    seen = seen_style(trained.clip, source)
    shown = target.image
    guide = seen_style(trained.clip, shown) if shown else word_style(trained, target.acquisition, target.family)
    volume = source.volume.with_data((picture * source.scale).astype(np.float32)) if picture is not None else None
    output = seen if volume is None else seen_style(trained.clip, replace(source, volume=volume))
    return describe_styles(trained.bank, pictures=(seen, output), told=(own, guide),
                           families=(str(source.family), target.family), pictured=shown is not None)


def _known(styles: Mapping[str, Any]) -> dict[str, Any]:
    return {name: styles[name] for name in NUMBERS if name in styles}


def _spoilt_metadata(trained: Trained, case: Case) -> Iterator[dict[str, Any]]:
    """Yield what is measured of a source with its own metadata (*sound source*) and with wrong or absurd ones."""
    own = case.source.acquisition
    spoilt = {
        'sound source': (own, case.source_family),
        'milliseconds': (_scaled(own, 1000.0), case.source_family),
        'absurd numbers': (replace(own, echo_time=2.5, repetition_time=0.05, flip_angle=3.0), case.source_family),
        'free text': (replace(own.without(*VALUE_FIELDS), series_description='Kopf nativ, bitte eilig',
                              echo_time=own.echo_time, repetition_time=own.repetition_time), case.source_family),
    }
    if case.source_family != case.target_family:
        spoilt['metadata of another contrast'] = (case.metadata_target.acquisition, case.target_family)
    for name, (acquisition, family) in spoilt.items():
        source = replace(case.source, acquisition=acquisition, family=family)
        styles = _styles(trained, replace(case, source=source), picture=None,
                         target=Target('metadata', name, family, acquisition))
        numbers = {k: v for k, v in _known(styles).items() if k.startswith('source') or k == 'target_told_known'}
        about = {'data': case.data, 'head': case.head, 'pair': case.pair, 'guide': '', 'mode': ''}
        yield {'what': name, **about, **numbers}


def _scaled(acquisition: Acquisition, factor: float) -> Acquisition:
    names = ('echo_time', 'repetition_time', 'inversion_time')
    known = {name: getattr(acquisition, name) for name in names}
    return replace(acquisition, **{name: value * factor for name, value in known.items() if value})


def separation(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return per failure, mode and number how well it is told from sound results of the same kind.

    ``auc`` is the area under the ROC curve, ``edge`` the most extreme value of all sound results, ``caught`` the share
    of the failures beyond it: what a limit there would find without a false alarm on these heads.
    """
    found = []
    kinds = {(r['what'], r['mode']) for r in rows if not r['what'].startswith('sound')}
    for what, mode in sorted(kinds):
        base = 'sound' if mode else 'sound source'
        for number, side in NUMBERS.items():
            good, bad = (
                np.array([float(r[number]) for r in rows
                          if r['what'] == name and r['mode'] == mode and r.get(number) not in (None, '')])
                for name in (base, what)
            )
            if not len(good) or not len(bad):
                continue
            sign = 1 if side == 'above' else -1
            edge = float((sign * good).max() * sign)
            wins = (sign * bad[:, None] > sign * good).mean() + 0.5 * (bad[:, None] == good).mean()
            found.append({'failure': what, 'mode': mode or 'metadata', 'number': number, 'sound': len(good),
                          'failures': len(bad), 'auc': float(wins), 'edge': edge,
                          'caught': float((sign * bad > sign * edge).mean())})
    return found


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path, *, columns: Sequence[str]) -> Path:
    """Write rows as TSV, numbers with four digits, ``n/a`` where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', encoding='utf-8', newline='') as stream:
        writer = csv.DictWriter(stream, list(columns), delimiter='\t', lineterminator='\n', restval='n/a')
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f'{v:.4f}' if isinstance(v, float) else v for k, v in row.items()})
    return path
