"""How well tissue is told apart: against the labels of simulated heads, and before and after harmonization."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.benchmark.cases import Case, as_volume
from bids_distclip.harmonizers.base import Harmonizer
from bids_distclip.quality.tissue import TISSUES
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.volumes import simulate_volumes
from bids_distclip.volume.image import Volume
from bids_distclip.volume.mask import brain_mask
from bids_distclip.volume.tissue import Segment, tidied, told_tissue

CLASSES = tuple(tissue.abbreviation for tissue in TISSUES[1:])
COLUMNS = ('data', 'head', 'shown', 'pair', 'reference', *CLASSES, 'brain', 'template')


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the overlap of two masks, twice the intersection over the sum (Dice 1945); nan where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float('nan')


def label_heads(
    segment: Segment,
    anatomies: Sequence[Anatomy],
    *,
    seed: int = 21_000,
    draws: int = 1,
    size: tuple[int, int, int] = (176, 224, 208),
) -> Iterator[dict[str, Any]]:
    """Yield one row per whole head and contrast family: Dice with its labels as the app tells them, of the brain that
    the segmenter would find by itself, and of the one that the template's registration finds.

    Heads have lesions, which keep the label of the tissue they lie in; images have noise, shading and motion.
    """
    for draw, (index, anatomy) in itertools.product(range(draws), enumerate(anatomies)):
        rng = np.random.default_rng([seed, draw, index])
        protocols = [draw_protocol(rng, family=family) for family in FAMILIES]
        head = Head(anatomy, seed=seed + 100 * draw + index, deform_mm=2.0, lesion_kinds=('ms',))
        scans = simulate_volumes(head, protocols, size=size, seed=seed + 100 * draw + index)
        for protocol, scan in zip(protocols, scans, strict=True):
            volume = as_volume(scan.image, scan.affine)
            by_template, true = brain_mask(volume), scan.tissue > 0
            tissue = told_tissue(volume, by_template, segment)
            yield {
                'data': 'simulated', 'head': anatomy.name, 'shown': 'whole head', 'pair': protocol.family,
                'reference': 'labels', **_overlaps(tissue, scan.tissue),
                'brain': dice(tidied(1 - segment(volume)[0]), true), 'template': dice(by_template, true),
            }


def label_results(segment: Segment, engine: Harmonizer, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Yield three rows per case that has something to do: Dice of the tissue in source, harmonized and true target.

    The reference is the simulated head's labels; for real heads, the tissue in their best-known contrast, T1w.
    """
    known: dict[str, np.ndarray | None] = {}
    for case in cases:
        brain = case.source.brain
        if case.nothing_to_do:
            continue
        if case.tissue is None and case.head not in known:
            # The first case of a head that has a T1w says what its tissue is; one without any says nothing.
            best = {case.target_family: case.truth, case.source_family: case.source.volume.data}.get('T1w')
            if best is not None:
                known[case.head] = told_tissue(_shown(case, best), brain, segment)
        reference = case.tissue if case.tissue is not None else known.get(case.head)
        made = engine.harmonize(case.source, case.metadata_target, synthesize=case.source_family != case.target_family)
        shown = {'source': case.source.volume.data, 'harmonized': made.data, 'target': case.truth}
        for what, data in shown.items():
            tissue = told_tissue(_shown(case, data), brain, segment)
            yield {
                'data': case.data, 'head': case.head, 'shown': what, 'pair': case.pair,
                'reference': 'labels' if case.tissue is not None else 'tissue in T1w',
                **_overlaps(tissue, None if reference is None else np.where(brain, reference, 0)),
            }


def _shown(case: Case, data: np.ndarray) -> Volume:
    return case.source.volume.with_data(np.asarray(data, dtype=np.float32))


def _overlaps(found: np.ndarray | None, true: np.ndarray | None) -> dict[str, float]:
    if found is None or true is None:
        return dict.fromkeys(CLASSES, float('nan'))
    return {name: dice(found == number, true == number) for number, name in enumerate(CLASSES, 1)}


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a Markdown table: the mean Dice of each class over heads, by what was shown."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row['data'], row['pair'], row['shown'], row['reference']), []).append(row)
    numbers = (*CLASSES, 'brain', 'template')
    titles = ('data', 'pair', 'shown', 'reference', 'heads', *numbers)
    lines = ['| ' + ' | '.join(titles) + ' |', '|' + '---|' * len(titles)]
    for key, found in groups.items():
        cells = [_mean([row[name] for row in found if name in row]) for name in numbers]
        lines.append(f'| {" | ".join(key)} | {len(found)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return f'{np.mean(known):.3f}' if known else ''
