"""What the group page says of sites: how well they can be told, how far apart they are, and what has stayed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from bids_distclip.quality.site import IMAGES, KEPT, PEOPLE, Probe, distances, outlying, probe
from bids_distclip.reports.methods import lookup

#: Columns of participants.tsv that are taken for sites if they are there.
COLUMNS = ('site', 'site_id', 'scanner', 'acquisition_site')
#: The site of an image of which none is known.
UNKNOWN = 'unknown'
#: Columns of ``group_site.tsv``.
TABLE = ('family', 'target', 'told', 'when', 'images', 'people', 'classes', 'score', 'chance', 'limit', 'p',
         'between_sites', 'within_sites')
#: The same as a reader knows them.
HEADINGS = ('Family', 'Target', 'What is told', 'When', 'Images', 'People', 'Kinds', 'Score', 'By chance', 'Up to', 'p',
            'Between sites', 'Within sites')

#: What is concluded when something could be told (p < 0.05) before, and after.
_VERDICTS = {
    'site': {
        (True, True): 'The site can still be told.',
        (True, False): 'The site can no longer be told better than by chance; a small rest may remain that so many '
        'images cannot show.',
        (False, True): 'The site can be told now and could not before.',
        (False, False): 'The site could not be told before either, so nothing was shown.',
    },
    'kept': {
        (True, True): 'It has stayed.',
        (True, False): 'It may have been lost: look before you use these images.',
        (False, True): 'It can be told better than before.',
        (False, False): 'It could not be told before either.',
    },
}


@dataclass(frozen=True)
class Look:
    """One harmonized image as the group sees it: whose, from where, and its look before and after."""

    subject: str
    place: str
    name: str
    family: str
    target: str
    site: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    columns: Mapping[str, str]


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
    numbers: Counter[str] = Counter()
    rows = []
    for subject, record in found:
        numbers[subject] += 1
        looks = [lookup(record, f'look.{when}') or {} for when in ('before', 'after')]
        if record.get('status') == 'harmonized' and all(look.get('quantiles') for look in looks):
            rows.append((subject, f'image-{numbers[subject]}', record, looks))
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
             _features(looks[0]), _features(looks[1]), participants.get(subject, {}))
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


def _session(record: Mapping[str, Any]) -> str:
    match = re.search(r'(?:^|[/_])(ses-[^/_]+)', str(lookup(record, 'source.path')))
    return match[1] if match else UNKNOWN


def effects(looks: Sequence[Look], *, keep: Sequence[str] = ()) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of ``group_site.tsv`` and the conclusion in sentences, by family and target."""
    groups: dict[tuple[str, str], list[Look]] = defaultdict(list)
    for look in looks:
        groups[look.family, look.target].append(look)
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    for (family, target), group in sorted(groups.items()):
        for what in ('site', *keep):
            found, sentence = _effect(group, what=what)
            rows += [{'family': family, 'target': target, 'told': what, **row} for row in found]
            told.append(f'{family} to {target}, {what}: {sentence}')
    return rows, told


def _effect(group: Sequence[Look], *, what: str) -> tuple[list[dict[str, Any]], str]:
    """Probe one thing before and after; return the two rows of the table and a sentence."""
    texts = [look.site if what == 'site' else look.columns.get(what) or 'n/a' for look in group]
    known = [(look, text) for look, text in zip(group, texts, strict=True) if text not in ('n/a', UNKNOWN)]
    values = _values([text for _, text in known])
    people = [look.subject for look, _ in known]
    classes = len(set(values))
    rows = []
    for when in ('before', 'after'):
        features = np.array([getattr(look, when) for look, _ in known])
        row: dict[str, Any] = {'when': when, 'images': len(known), 'people': len(set(people)), 'classes': classes}
        if what == 'site' and len(known) > 1:
            row['between_sites'], row['within_sites'] = distances(features[:, :-1], [str(v) for v in values])
        rows.append((row, features))
    trouble = _too_few(values, people=people, what=what)
    if trouble:
        return [row for row, _ in rows], trouble
    probes = [probe(features, values, people=people) for _, features in rows]
    if not isinstance(values[0], float) and probes[0].limit > 0.999:
        text = f'{len(known)} images are too few to tell: permuted labels are often all right.'
        return [row for row, _ in rows], text
    made = [row | asdict(found) for (row, _), found in zip(rows, probes, strict=True)]
    return made, _say(*probes, images=len(known), what=what, numbers=isinstance(values[0], float))


def _values(texts: Sequence[str]) -> list[str] | list[float]:
    """Return numbers if all are and there are more than two of them, else the labels."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return list(texts)
    return numbers if len(set(numbers)) > 2 and np.isfinite(numbers).all() else list(texts)


def _too_few(values: Sequence[str | float], *, people: Sequence[str], what: str) -> str:
    count = Counter(values)
    persons = len(set(people))
    if not values:
        return 'nothing is known of it.'
    if len(count) < 2:
        return 'all images have the same, so there is nothing to tell apart.'
    small = min(count.values()) < 2 and not isinstance(values[0], float)
    if len(values) < IMAGES or persons < (PEOPLE if what == 'site' else KEPT) or small:
        return f'{len(values)} images of {persons} people are too few to tell.'
    return ''


def _say(before: Probe, after: Probe, *, images: int, what: str, numbers: bool) -> str:
    def part(p: Probe) -> str:
        size, edge = (f'{v:.2f}' if numbers else f'{v:.0%}' for v in (p.score, p.limit))
        return f'{size} (by chance up to {edge}, p = {p.p:.2f})'

    verdict = _VERDICTS['site' if what == 'site' else 'kept'][before.p < 0.05, after.p < 0.05]
    score = 'predicts it with a correlation of' if numbers else 'is right for'
    return f'{verdict} A probe that has not seen the person {score} {part(before)} before and {part(after)} after, ' \
           f'over {images} images.'


def outliers(looks: Sequence[Look]) -> list[Look]:
    """Return the images whose look after harmonization lies far from that of their family and target."""
    groups: dict[tuple[str, str], list[Look]] = defaultdict(list)
    for look in looks:
        groups[look.family, look.target].append(look)
    found = []
    for group in groups.values():
        far = outlying(np.array([look.after[:-1] for look in group]))
        found += [look for look, out in zip(group, far, strict=True) if out]
    return found
