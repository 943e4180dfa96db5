"""All images of a derivative as the group level sees them, and the tables it writes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_distclip.quality.record import find_records, read_record
from bids_distclip.reports.effect import STAY, TABLE, UNKNOWN, Look, effects, gather_looks, outliers
from bids_distclip.reports.map import map_points
from bids_distclip.reports.methods import lookup
from bids_distclip.reports.page import page_spec, save
from bids_distclip.reports.people import places
from bids_distclip.reports.review import AGREEMENT, COLUMNS, Review, agreement_row, gather
from bids_distclip.reports.spread import Spread, Told, conclude, members, spreads
from bids_distclip.reports.table import cell, plain, tsv
from bids_distclip.reports.verdict import Verdict, judge

#: What ``group_images.tsv`` says of an image beside its numbers.
ABOUT = {'subject': 'Subject', 'image': 'Image', 'status': 'State', 'family': 'Family', 'target': 'Target',
         'look_again': 'Look again'}
_SPREAD = (
    'family', 'target', 'tissue', 'images',
    'mean_before', 'mean_after', 'sd_before', 'sd_after', 'cv_before', 'cv_after',
    'sites', 'sd_sites_before', 'sd_sites_after',
)


@dataclass(frozen=True)
class Cohort:
    """What the records of a derivative say together.

    ``found`` is subject and record of each image and ``verdicts`` what became of each; ``unread`` says which records
    cannot be read; ``looks`` are the harmonized images whose sites come from ``source``; ``effect`` and ``spread`` are
    rows of tables, ``told`` the conclusions and ``headline`` what became of all images.
    """

    found: Sequence[tuple[str, Mapping[str, Any]]]
    verdicts: Sequence[Verdict]
    unread: Sequence[str]
    review: Review
    looks: Sequence[Look]
    source: str
    effect: Sequence[Mapping[str, Any]]
    spread: Sequence[Mapping[str, Any]]
    told: Sequence[Told]
    headline: str

    def rows(self) -> list[dict[str, Any]]:
        """Return what is known of each image, one row for each: about it, and every number."""
        return [_row(record, subject=subject, verdict=verdict)
                for (subject, record), verdict in zip(self.found, self.verdicts, strict=True)]


def gather_cohort(
    output_dir: Path,
    *,
    participants: Mapping[str, Mapping[str, str]] | None = None,
    site_column: str | None = None,
    keep: Sequence[str] = (),
) -> Cohort | None:
    """Return what the records on disk say together; None where there is no record.

    ``participants`` are the rows of ``participants.tsv`` by person; ``site_column`` the one that names sites;
    ``keep`` those that harmonization must not remove, by default age and sex if they are there.
    """
    found, unread = read_records(output_dir)
    if not found:
        return None
    verdicts = [judge(record) for _, record in found]
    people = participants or {}
    looks, source = gather_looks(found, participants=people, column=site_column)
    wanted = keep or [name for name in STAY if any(name in row for row in people.values())]
    effect, told = effects(looks, keep=wanted)
    site_of = {(look.subject, look.place): look.site for look in looks if look.site != UNKNOWN}
    groups = members((who, site_of.get((who, place), ''), record) for who, place, record in places(found))
    return Cohort(
        found=found, verdicts=verdicts, unread=unread, review=gather(output_dir, found), looks=looks, source=source,
        effect=effect, spread=[_spread_row(one) for one in spreads(groups)],
        told=sorted([*conclude(groups), *told], key=lambda one: (one.family, one.target)),
        headline=_headline(found, verdicts=verdicts),
    )


def write_tables(output_dir: Path, cohort: Cohort) -> None:
    """Write the tables of a cohort, remove those of a former call that are empty now, and all of them as one JSON.

    ``group_images.tsv`` has one row per image: its state, why to look again, and every number (``_before`` for the
    source's own); ``group_spread.tsv`` one per family, target and tissue (or class of brightness): mean, standard
    deviation and coefficient of variation over images, and the standard deviation over the means of sites;
    ``group_site.tsv`` says what can be told and how far sites are apart. Unknown numbers are ``n/a``.
    """
    rows = [{cell(key): cell(value) for key, value in row.items()} for row in cohort.rows()]
    columns = list(dict.fromkeys([*ABOUT, *(key for row in rows for key in row)]))
    table = [{key: row.get(key, 'n/a') for key in columns} for row in rows]
    tables: dict[str, tuple[Sequence[str], Sequence[Mapping[str, Any]]]] = {
        'images': (columns, table),
        'spread': (_SPREAD, cohort.spread),
        'site': (TABLE, cohort.effect),
        'ratings': (COLUMNS, cohort.review.rows()),
        'agreement': (AGREEMENT, [agreement_row(row) for row in cohort.review.agreement]),
    }
    conclusions = [cohort.headline, *(one.whole for one in cohort.told), *cohort.review.sentences()]
    content: dict[str, Any] = {'conclusions': conclusions, 'sites_from': cohort.source, **_maps(cohort.looks)}
    for name, (names, lines) in tables.items():
        path = output_dir / f'group_{name}.tsv'
        content[name] = [{key: plain(row.get(key)) for key in names} for row in lines]
        if lines or name in ('images', 'spread'):
            save(tsv(names, rows=lines), path=path)
        else:
            path.unlink(missing_ok=True)
    save(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + '\n', path=output_dir / 'group.json')


def _maps(looks: Sequence[Look]) -> dict[str, Any]:
    """Return what maps and the list of images far from the others are drawn from."""
    points = np.split(map_points(looks)[0], 2) if len(looks) > 2 else None
    maps = [
        {'subject': look.subject, 'image': look.name, 'site': look.site,
         'intensities': {when: [round(float(x), 4) for x in part[number]]
                         for when, part in zip(('before', 'after'), points, strict=True)} if points else None,
         'mrclip': {name: list(place) for name, place in look.style.items()} or None}
        for number, look in enumerate(looks)
    ]
    far = [{'subject': look.subject, 'image': look.name, 'distance': round(own, 4), 'median_distance': round(usual, 4)}
           for look, own, usual in outliers(looks)]
    return {'maps': maps, 'far_from_the_others': far}


def read_records(output_dir: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return subject and record of each image, and sentences about records that cannot be read."""
    found, unread = [], []
    for path in find_records(output_dir):
        place = path.relative_to(output_dir)
        try:
            found.append((place.parts[0], read_record(path).to_dict()))
        except (OSError, ValueError) as error:
            unread.append(f'{place.as_posix()} cannot be read ({error}); it was left out.')
    return found, unread


def _headline(found: Sequence[tuple[str, Mapping[str, Any]]], *, verdicts: Sequence[Verdict]) -> str:
    """Say in a sentence what became of all images."""
    counts = Counter(verdict.state for verdict in verdicts)
    words = page_spec()['verdicts']
    people = len({subject for subject, _ in found})
    listed = ', '.join(f'{counts[state]} {words[state]["counted"]}' for state in words if counts[state])
    return f'{len(found)} image{"s" * (len(found) > 1)} of {people} {"people" if people > 1 else "person"}: {listed}.'


def _row(record: Mapping[str, Any], *, subject: str, verdict: Verdict) -> dict[str, Any]:
    row = {
        'subject': subject,
        'image': lookup(record, 'source.path'),
        'status': record.get('status'),
        'family': lookup(record, 'source.family'),
        'target': lookup(record, 'target.name'),
        'look_again': ' '.join(verdict.reasons) if verdict.state == 'warned' else None,
    }
    for name, entry in (record.get('metrics') or {}).items():
        if entry.get('before') is not None:
            row[f'{name}_before'] = entry['before']
        row[name] = entry.get('value')
    return row


def _spread_row(spread: Spread) -> dict[str, Any]:
    values: dict[str, Any] = {'family': spread.family, 'target': spread.target, 'images': spread.images}
    values['tissue'] = spread.tissue
    for name, pair in (('mean', spread.mean), ('sd', spread.sd), ('cv', spread.variation)):
        values |= {f'{name}_before': pair[0], f'{name}_after': pair[1]}
    values |= {'sites': spread.sites or None, 'sd_sites_before': spread.between[0], 'sd_sites_after': spread.between[1]}
    return {key: values[key] for key in _SPREAD}
