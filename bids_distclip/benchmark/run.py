"""Ask every engine every case and tabulate how near the truth it came."""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_distclip.benchmark.cases import Case
from bids_distclip.benchmark.intervals import half_width
from bids_distclip.harmonizers.base import Harmonizer, Target
from bids_distclip.quality.metrics import paper_protocol, psnr

COLUMNS = ('data', 'head', 'draw', 'pair', 'engine', 'psnr', 'ssim', 'psnr_brain', 'seconds')


def run_cases(
    cases: Iterable[Case],
    engines: Mapping[str, tuple[Harmonizer, str]],
    *,
    on_result: Callable[[Case, str, np.ndarray], object] | None = None,
    table: Path | None = None,
) -> list[dict[str, Any]]:
    """Return one row per case and engine; ``engines`` maps a name to a harmonizer and the kind of target it gets.

    ``table`` is written anew after every case, so that a run cut short leaves what it found.
    """
    rows: list[dict[str, Any]] = []
    for case in cases:
        for name, (engine, kind) in engines.items():
            target = case.image_target if kind == 'image' else case.metadata_target
            row, picture = _ask(case, name, engine, target)
            rows.append(row)
            print(
                '  '.join(f'{row[c]:.3f}' if isinstance(row[c], float) else str(row[c]) for c in COLUMNS),
                flush=True,
            )
            if on_result:
                on_result(case, name, picture)
        if table:
            write_table(rows, table)
    return rows


def _ask(case: Case, name: str, engine: Harmonizer, target: Target) -> tuple[dict[str, Any], np.ndarray]:
    began = time.monotonic()
    answer = engine.harmonize(case.source, target, synthesize=case.source_family != case.target_family)
    seconds = time.monotonic() - began
    picture = np.clip(answer.data / target.scale, 0, 1) * case.source.brain
    truth = np.clip(case.truth, 0, 1) * case.source.brain
    decibel, similarity = paper_protocol(picture, truth)
    return {
        'data': case.data,
        'head': case.head,
        'draw': case.draw,
        'pair': case.pair,
        'engine': name,
        'psnr': min(decibel, 99.0),
        'ssim': similarity,
        'psnr_brain': min(psnr(picture, truth, mask=case.source.brain), 99.0),
        'seconds': seconds,
    }, picture


def write_table(rows: Iterable[Mapping[str, Any]], path: Path) -> Path:
    """Write the rows as TSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', encoding='utf-8', newline='') as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter='\t', lineterminator='\n')
        writer.writeheader()
        for row in rows:
            writer.writerow({c: f'{row[c]:.4f}' if isinstance(row[c], float) else row[c] for c in COLUMNS})
    return path


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a Markdown table: one line per data set and pair, one column per engine: mean PSNR in dB / mean SSIM.

    Every case is a person of its own (a head as bent for one draw). From three on, ± is half the 95 % confidence
    interval of the mean PSNR over them.
    """
    groups: dict[tuple, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    engines: list[str] = []
    for row in rows:
        groups[row['data'], row['pair']][row['engine']].append((row['psnr'], row['ssim']))
        if row['engine'] not in engines:
            engines.append(row['engine'])
    lines = ['| data | pair | cases | ' + ' | '.join(engines) + ' |', '|' + '---|' * (3 + len(engines))]
    for (data, pair), found in groups.items():
        cells = []
        for engine in engines:
            values = np.array(found[engine], dtype=float)
            cells.append(_cell(values) if len(values) else '')
        lines.append(f'| {data} | {pair} | {max(len(v) for v in found.values())} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def paired_summary(rows: Iterable[Mapping[str, Any]], *, ours: str = 'distclip') -> str:
    """Return a Markdown table: by how many dB engines named ``ours`` and a guide are ahead of every other one.

    Differences are taken person by person, so that what is hard for all engines does not blur them; ± is half the 95 %
    confidence interval. Cases with nothing to do are left out: identity answers them by definition. Without an engine
    of that name there is nothing to tell.
    """
    found: dict[str, dict[str, dict[tuple, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if '(own)' not in row['pair']:
            found[row['pair']][row['engine']][row['data'], row['head'], row['draw']] = row['psnr']
    names = list(dict.fromkeys(engine for engines in found.values() for engine in engines))
    mine = [name for name in names if name.startswith(ours)]
    if not mine:
        return ''
    others = [name for name in names if name not in mine]
    lines = ['| pair | engine | ' + ' | '.join(f'ahead of {name}' for name in others) + ' |']
    lines.append('|' + '---|' * (2 + len(others)))
    for pair, engines in found.items():
        for name in mine:
            cells = [_ahead(engines[name], engines[other]) for other in others]
            lines.append(f'| {pair} | {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _ahead(one: Mapping[tuple, float], other: Mapping[tuple, float]) -> str:
    apart = np.array([one[case] - other[case] for case in one if case in other])
    if not len(apart):
        return ''
    around = half_width(apart)
    return f'{apart.mean():+.1f}' + (f' ± {around:.1f}' if np.isfinite(around) else '')


def _cell(values: np.ndarray) -> str:
    """Return the words for PSNR and SSIM ``(N, 2)`` of N cases."""
    decibel, similarity = values.mean(0)
    around = half_width(values[:, 0])
    return f'{decibel:.1f}' + (f' ± {around:.1f}' if around >= 0.05 else '') + f' / {similarity:.3f}'
