"""What the group page says of sites: how well they can be told, how far apart they are, and what has stayed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from bids_distclip.quality.site import IMAGES, KEPT, PEOPLE, Probe, distances, outlying, probe
from bids_distclip.reports.methods import lookup
from bids_distclip.reports.people import places
from bids_distclip.reports.spread import Told

#: Columns of participants.tsv that are taken for sites if they are there.
COLUMNS = ('site', 'site_id', 'scanner', 'acquisition_site')
#: Columns of participants.tsv that must stay if none is named.
STAY = ('age', 'sex')
#: The site of an image of which none is known.
UNKNOWN = 'unknown'
#: Columns of ``group_site.tsv``.
TABLE = ('family', 'target', 'told', 'when', 'images', 'people', 'classes', 'score', 'chance', 'limit', 'p',
         'between_sites', 'within_sites')
#: What is concluded when something could be told (p < 0.05) before, and after.
_VERDICTS = {
    'site': {
        (True, True): 'it can still be told from the images.',
        (True, False): 'it can no longer be told better than by chance; a small rest may remain that so many '
        'images cannot show.',
        (False, True): 'it can be told now and could not before.',
        (False, False): 'it could not be told from the images before, so no effect of harmonization can be shown.',
    },
    'kept': {
        (True, True): 'it has stayed.',
        (True, False): 'it may have been lost: look before you use these images.',
        (False, True): 'it can be told now and could not before.',
        (False, False): 'it could not be told before either.',
    },
}


@dataclass(frozen=True)
class Look:
    """One harmonized image as the group sees it: whose, from where, and its look before and after.

    ``scanner`` and ``field_strength`` are those of its metadata, :data:`UNKNOWN` where these say nothing; ``style`` is
    where source, output and target lie in the first two components of MR-CLIP, if the engine has it.
    """

    subject: str
    place: str
    name: str
    family: str
    target: str
    site: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    columns: Mapping[str, str]
    scanner: str = UNKNOWN
    field_strength: str = UNKNOWN
    style: Mapping[str, Sequence[float]] = field(default_factory=dict)


def gather_looks(
    found: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    participants: Mapping[str, Mapping[str, str]],
    column: str | None = None,
) -> tuple[list[Look], str]:
    """Return the harmonized images of known look, and in words where their sites come from.

    A named column counts first; then the columns of :data:`COLUMNS`, the scanner in the metadata, the session:
    the first that tells at least two sites apart.
    """
    rows = []
    for subject, place, record in places(found):
        looks = [lookup(record, f'look.{when}') or {} for when in ('before', 'after')]
        if record.get('status') == 'harmonized' and all(look.get('quantiles') for look in looks):
            rows.append((subject, place, record, looks))
    names = [column] if column else [name for name in COLUMNS if any(name in row for row in participants.values())]
    ways = [
        (f'the column {name} of participants.tsv', [_column(participants, row[0], name) for row in rows])
        for name in names
    ]
    if not column:
        ways += [('the scanner in the metadata', [_scanner(row[2]) for row in rows]),
                 ('the session', [_session(row[2]) for row in rows])]
    said, sites = next(((said, sites) for said, sites in ways if len(set(sites) - {UNKNOWN}) > 1), ways[0])
    return [
        Look(subject, place, PurePosixPath(str(lookup(record, 'source.path'))).name,
             str(lookup(record, 'source.family')), str(lookup(record, 'target.name')), site,
             _features(looks[0]), _features(looks[1]), participants.get(subject, {}),
             _scanner(record), _field_strength(record), lookup(record, 'engine.style.map') or {})
        for (subject, place, record, looks), site in zip(rows, sites, strict=True)
    ], said


def _features(look: Mapping[str, Any]) -> tuple[float, ...]:
    return (*look['quantiles'], float(look.get('sharpness') or 0.0))


def _column(participants: Mapping[str, Mapping[str, str]], subject: str, name: str) -> str:
    value = participants.get(subject, {}).get(name) or 'n/a'
    return UNKNOWN if value == 'n/a' else value


def _scanner(record: Mapping[str, Any]) -> str:
    known = [lookup(record, f'acquisition.{name}') for name in ('manufacturer', 'model', 'field_strength')]
    return ' '.join(f'{v:g} T' if isinstance(v, float) else str(v) for v in known if v) or UNKNOWN


def _field_strength(record: Mapping[str, Any]) -> str:
    """Return the nominal field strength: scanners write 2.89 where they are sold as 3."""
    value = lookup(record, 'acquisition.field_strength')
    if not isinstance(value, (int, float)):
        return UNKNOWN
    return f'{round(2 * value) / 2 if value >= 1 else value:g} T'


def _session(record: Mapping[str, Any]) -> str:
    match = re.search(r'(?:^|[/_])(ses-[^/_]+)', str(lookup(record, 'source.path')))
    return match[1] if match else UNKNOWN


def effects(looks: Sequence[Look], *, keep: Sequence[str] = ()) -> tuple[list[dict[str, Any]], list[Told]]:
    """Return the rows of ``group_site.tsv`` and the conclusions, by family and target.

    Asked for are the site; the scanner and the field strength where they sort the images in another way; and the
    columns of participants.tsv that must stay.
    """
    groups: dict[tuple[str, str], list[Look]] = defaultdict(list)
    for look in looks:
        groups[look.family, look.target].append(look)
    rows: list[dict[str, Any]] = []
    told: list[Told] = []
    for (family, target), group in sorted(groups.items()):
        for what, texts, kind in (*_places(group), *_kept(group, keep=keep)):
            found, sentence = _effect(group, texts, kind=kind)
            rows += [{'family': family, 'target': target, 'told': what, **row} for row in found]
            told.append(Told(family, target, what, sentence, kind == 'kept'))
    return rows, told


def _places(group: Sequence[Look]) -> Iterable[tuple[str, list[str], str]]:
    """Yield in what ways images are sorted by where they come from, each way of sorting once."""
    ways = [('site', [look.site for look in group])]
    for name, texts in (('scanner', [look.scanner for look in group]),
                        ('field strength', [look.field_strength for look in group])):
        several = len(set(texts) - {UNKNOWN}) > 1
        if several and not any(len(set(texts)) == len(set(own)) == len(set(zip(texts, own, strict=True)))
                               for _, own in ways):
            ways.append((name, texts))
    return [(name, texts, 'site') for name, texts in ways]


def _kept(group: Sequence[Look], *, keep: Sequence[str]) -> Iterable[tuple[str, list[str], str]]:
    return [(name, [look.columns.get(name) or 'n/a' for look in group], 'kept') for name in keep]


def _effect(group: Sequence[Look], texts: Sequence[str], *, kind: str) -> tuple[list[dict[str, Any]], str]:
    """Probe one thing before and after; return the two rows of the table and a sentence."""
    known = [(look, text) for look, text in zip(group, texts, strict=True) if text not in ('n/a', UNKNOWN)]
    values = _values([text for _, text in known])
    people = [look.subject for look, _ in known]
    classes = len(set(values))
    rows = []
    for when in ('before', 'after'):
        features = np.array([getattr(look, when) for look, _ in known])
        row: dict[str, Any] = {'when': when, 'images': len(known), 'people': len(set(people)), 'classes': classes}
        if kind == 'site' and len(known) > 1:
            row['between_sites'], row['within_sites'] = distances(features[:, :-1], [str(v) for v in values])
        rows.append((row, features))
    trouble = _too_few(values, people=people, kind=kind)
    if trouble:
        return [row for row, _ in rows], trouble
    probes = [probe(features, values, people=people) for _, features in rows]
    if not isinstance(values[0], float) and probes[0].limit > 0.999:
        text = f'{len(known)} images are too few to tell: permuted labels are often all right.'
        return [row for row, _ in rows], text
    made = [row | asdict(found) for (row, _), found in zip(rows, probes, strict=True)]
    return made, _say(*probes, images=len(known), kind=kind, numbers=isinstance(values[0], float))


def _values(texts: Sequence[str]) -> list[str] | list[float]:
    """Return numbers if all are and there are more than two of them, else the labels."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return list(texts)
    return numbers if len(set(numbers)) > 2 and np.isfinite(numbers).all() else list(texts)


def _too_few(values: Sequence[str | float], *, people: Sequence[str], kind: str) -> str:
    count = Counter(values)
    persons = len(set(people))
    if not values:
        return 'nothing is known of it.'
    if len(count) < 2:
        return 'all images have the same, so there is nothing to tell apart.'
    small = min(count.values()) < 2 and not isinstance(values[0], float)
    if len(values) < IMAGES or persons < (PEOPLE if kind == 'site' else KEPT) or small:
        return f'{len(values)} images of {persons} people are too few to tell.'
    return ''


def _say(before: Probe, after: Probe, *, images: int, kind: str, numbers: bool) -> str:
    def part(p: Probe) -> str:
        size, edge = (f'{v:.2f}' if numbers else f'{v:.0%}' for v in (p.score, p.limit))
        return f'{size} (by chance up to {edge}, p = {p.p:.2f})'

    verdict = _VERDICTS[kind][before.p < 0.05, after.p < 0.05]
    score = 'predicts it with a correlation of' if numbers else 'is right for'
    return f'{verdict} A probe that has not seen the person {score} {part(before)} before and {part(after)} after, ' \
           f'over {images} images.'


def outliers(looks: Sequence[Look]) -> list[tuple[Look, float, float]]:
    """Return the images whose look after harmonization lies far from that of their family and target, farthest first.

    Beside each stand its Wasserstein-1 distance from the median look, and the median of that distance over images.
    """
    groups: dict[tuple[str, str], list[Look]] = defaultdict(list)
    for look in looks:
        groups[look.family, look.target].append(look)
    found = []
    for group in groups.values():
        quantiles = np.array([look.after[:-1] for look in group])
        far = np.abs(quantiles - np.median(quantiles, axis=0)).mean(axis=1)
        usual = float(np.median(far))
        lie_out = outlying(quantiles)
        found += [(look, float(own), usual) for look, own, out in zip(group, far, lie_out, strict=True) if out]
    return sorted(found, key=lambda one: -one[1])
