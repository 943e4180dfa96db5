"""Passes through three planes fused in several ways: how near the truth, and how evenly from slice to slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bids_distclip.benchmark.fusion import FusionNet, fused_by
from bids_distclip.benchmark.intervals import FEWEST, half_width
from bids_distclip.benchmark.passes import Passes
from bids_distclip.quality.metrics import psnr, slice_jump
from bids_distclip.volume.planes import bounding_box

#: Planes by the array axis (RAS) that their slices are stacked along.
PLANES = ('sagittal', 'coronal', 'axial')
#: Ways to fuse, in the order of the table. The last two are no fusions of their own: a bound, and the app's result.
NET, NEAREST, APP = 'net', 'nearest to the truth', 'app'
FUSIONS = (*PLANES, 'mean', 'median', NET, NEAREST, APP)
#: What others are compared with, person by person.
REFERENCE = 'median'
#: Above this ratio of output to source slices may have been treated apart.
UNEVEN = 1.1

_JUMPS = tuple(f'jump_{plane}' for plane in PLANES)
_NUMBERS = ('psnr_brain', *_JUMPS, 'jump_worst')
COLUMNS = ('data', 'person', 'scan', 'pair', 'fusion', *_NUMBERS)


def compare_fusions(scans: Iterable[Passes], *, net: FusionNet | None = None) -> Iterator[dict[str, Any]]:
    """Yield a row of :data:`COLUMNS` for each scan and fusion: PSNR in the brain to the truth (dB), and ratios of the
    slice-to-slice jump of output to source along each axis, within the brain."""
    for scan in scans:
        was = _jumps(scan, scan.image)
        for name, picture in fusions(scan, net=net).items():
            now = [after / before for after, before in zip(_jumps(scan, picture), was, strict=True)]
            near = {}
            if scan.truth is not None:
                near = {'psnr_brain': psnr(picture.clip(0, 1), scan.truth.clip(0, 1), mask=scan.brain)}
            yield {
                'data': scan.data,
                'person': scan.person,
                'scan': scan.name,
                'pair': scan.pair,
                'fusion': name,
                **near,
                **dict(zip(_JUMPS, now, strict=True)),
                'jump_worst': max(now),
            }


def fusions(scan: Passes, *, net: FusionNet | None = None) -> dict[str, np.ndarray]:
    """Return the picture ``(X, Y, Z)`` of each of :data:`FUSIONS` that there is for a scan."""
    if len(scan.passes) < len(PLANES):
        return {} if scan.app is None else {APP: scan.app}
    each = scan.pictures
    made = dict(zip(PLANES, each, strict=True))
    made['mean'] = scan.shown(scan.passes.mean(0))
    made['median'] = scan.shown(np.median(scan.passes, axis=0))
    if net is not None:
        made[NET] = fused_by(net, scan.image, each)
    if scan.truth is not None:
        made[NEAREST] = np.take_along_axis(each, np.abs(each - scan.truth).argmin(0)[None], 0)[0]
    if scan.app is not None:
        made[APP] = scan.app
    return made


def _jumps(scan: Passes, picture: np.ndarray) -> list[float]:
    box = bounding_box(scan.brain)
    part, inside = picture[box], scan.brain[box]
    return [slice_jump(part, mask=inside, axis=axis, spacing=scan.spacing) for axis in range(3)]


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a Markdown table: means over people, ± half the 95 % interval; *against* the median person by person."""
    titles = ('data', 'pair', 'fusion', 'people', 'PSNR (dB)', 'against the median (dB)',
              *(f'{plane} jump' for plane in PLANES), 'worst', 'worst against the median')
    lines = ['| ' + ' | '.join(titles) + ' |', '|' + '---|' * len(titles)]
    for (data, pair), group in _groups(rows, 'data', 'pair').items():
        people = {name: _people(found) for (name,), found in _groups(group, 'fusion').items()}
        for name in (n for n in FUSIONS if n in people):
            one, other = people[name], people.get(REFERENCE, {}) if name != REFERENCE else {}
            both = [(one[p], other[p]) for p in one if p in other]
            now = {c: [numbers[c] for numbers in one.values()] for c in _NUMBERS}
            against = {c: [a[c] - b[c] for a, b in both] for c in _NUMBERS}
            cells = (_told(now['psnr_brain'], 2), _told(against['psnr_brain'], 2, sign=True),
                     *(_told(now[c], 3) for c in _NUMBERS[1:]), _told(against['jump_worst'], 3, sign=True))
            lines.append(f'| {data} | {pair} | {name} | {len(one)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def uneven(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each result of the app whose slices jump more than :data:`UNEVEN` times the source's."""
    return [
        f'{row["scan"]} ({row["data"]}, {row["pair"]}): '
        + ', '.join(f'{plane} {row[c]:.3f}' for plane, c in zip(PLANES, _JUMPS, strict=True) if row[c] > UNEVEN)
        for row in rows
        if row['fusion'] == APP and row['data'] != 'simulated' and row['jump_worst'] > UNEVEN
    ]


def _groups(rows: Iterable[Mapping[str, Any]], *names: str) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def _people(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return each number of a person, the mean over the scans of one."""
    return {
        person: {c: float(np.mean([row.get(c, np.nan) for row in found])) for c in _NUMBERS}
        for (person,), found in _groups(rows, 'person').items()
    }


def _told(values: Sequence[float], digits: int, *, sign: bool = False) -> str:
    if not values or not np.isfinite(values).all():
        return ''
    told = f'{np.mean(values):{"+" if sign else ""}.{digits}f}'
    return f'{told} ± {half_width(values):.{digits}f}' if len(values) >= FEWEST else told
