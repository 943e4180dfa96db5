"""The page and the tables of a whole derivative: what became of each image, whether images agree better."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_distclip import __version__
from bids_distclip.quality.metrics import metric_table
from bids_distclip.quality.record import find_records, read_record
from bids_distclip.reports.methods import lookup
from bids_distclip.reports.page import render, save
from bids_distclip.reports.review import AGREEMENT, COLUMNS, Review, agreement_row, gather
from bids_distclip.reports.spread import Spread, conclude, spreads
from bids_distclip.reports.table import cell, tsv

_ABOUT = {'subject': 'Subject', 'image': 'Image', 'status': 'State', 'family': 'Family', 'target': 'Target'}
_SPREAD = (
    'family', 'target', 'tissue', 'images',
    'mean_before', 'mean_after', 'sd_before', 'sd_after', 'cv_before', 'cv_after',
)


def build_group(output_dir: Path) -> Path | None:
    """Write the group page from the records on disk and return its path; None where there is no record.

    Writes ``group.html``, ``group_images.tsv`` (one row per image: its state and every number, ``_before``
    for the source's own) and ``group_spread.tsv`` (per family, target and intensity class: mean, standard
    deviation and coefficient of variation over images, before and after). Unknown numbers are ``n/a``.
    """
    found, unread = _records(output_dir)
    if not found:
        return None
    records = [record for _, record in found]
    review = gather(output_dir, found)
    rows = [_row(record, subject=subject) for subject, record in found]
    rows = [{cell(key): cell(value) for key, value in row.items()} for row in rows]
    columns = list(dict.fromkeys([*_ABOUT, *(key for row in rows for key in row)]))
    table = [{key: row.get(key, 'n/a') for key in columns} for row in rows]
    tissues = [_spread_row(spread) for spread in spreads(records)]
    save(tsv(columns, rows=table), path=output_dir / 'group_images.tsv')
    save(tsv(_SPREAD, rows=tissues), path=output_dir / 'group_spread.tsv')
    _write_review(output_dir, review=review)
    text = render(
        'group.html',
        scripts=('group.js',),
        rows=[{'link': _link(row['subject'], output_dir=output_dir), 'cells': row} for row in table],
        columns=[(key, _heading(key), key not in _ABOUT) for key in columns],
        spreads=tissues,
        spread_columns=_SPREAD,
        conclusions=conclude(records),
        states=_states(records),
        unread=unread,
        review=_review(review, output_dir=output_dir),
        version=__version__,
    )
    return save(text, path=output_dir / 'group.html')


def read_review(output_dir: Path) -> Review:
    """Return the ratings of a derivative, matched with its images."""
    return gather(output_dir, _records(output_dir)[0])


def _records(output_dir: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return subject and record of each image, and sentences about records that cannot be read."""
    found, unread = [], []
    for path in find_records(output_dir):
        place = path.relative_to(output_dir)
        try:
            found.append((place.parts[0], read_record(path).to_dict()))
        except (OSError, ValueError) as error:
            unread.append(f'{place.as_posix()} cannot be read ({error}); it was left out.')
    return found, unread


def _write_review(output_dir: Path, *, review: Review) -> None:
    """Write the tables of ratings, or remove those of a former call where there is no rating any more."""
    tables = {
        'group_ratings.tsv': (COLUMNS, review.rows()),
        'group_agreement.tsv': (AGREEMENT, [agreement_row(found) for found in review.agreement]),
    }
    for name, (columns, rows) in tables.items():
        if rows:
            save(tsv(columns, rows=rows), path=output_dir / name)
        else:
            (output_dir / name).unlink(missing_ok=True)


def _review(review: Review, *, output_dir: Path) -> dict[str, Any]:
    """Return what the template shows of the ratings."""
    queue = []
    for group in review.queue:
        subject, place = review.links[group[0].review]
        link = _link(subject, output_dir=output_dir)
        queue.append({'image': group[0].image, 'ratings': group, 'link': f'{link}#{place}' if link else ''})
    rows = [{key: cell(value) for key, value in agreement_row(found).items()} for found in review.agreement]
    return {
        'sentences': review.sentences(), 'notes': review.notes, 'queue': queue, 'agreement': rows, 'columns': AGREEMENT,
    }


def _row(record: Mapping[str, Any], *, subject: str) -> dict[str, Any]:
    row = {
        'subject': subject,
        'image': lookup(record, 'source.path'),
        'status': record.get('status'),
        'family': lookup(record, 'source.family'),
        'target': lookup(record, 'target.name'),
    }
    for name, entry in (record.get('metrics') or {}).items():
        if entry.get('before') is not None:
            row[f'{name}_before'] = entry['before']
        row[name] = entry.get('value')
    return row


def _spread_row(spread: Spread) -> dict[str, str]:
    values = {'family': spread.family, 'target': spread.target, 'images': spread.images}
    values['tissue'] = spread.tissue.removeprefix('class_')
    for name, pair in (('mean', spread.mean), ('sd', spread.sd), ('cv', spread.variation)):
        values |= {f'{name}_before': pair[0], f'{name}_after': pair[1]}
    return {key: cell(values[key]) for key in _SPREAD}


def _heading(key: str) -> str:
    name = key.removesuffix('_before')
    label = _ABOUT.get(key) or metric_table().get(name, {}).get('label', name)
    return f'{label}, source' if key.endswith('_before') else label


def _link(subject: str, *, output_dir: Path) -> str:
    """Return the address of a subject's page beside this one, or nothing where it has none."""
    name = f'{subject}.html'
    return name if re.fullmatch('sub-[A-Za-z0-9+]+', subject) and (output_dir / name).is_file() else ''


def _states(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    states = [str(record.get('status')) for record in records]
    return [(state, states.count(state)) for state in dict.fromkeys(states)]
