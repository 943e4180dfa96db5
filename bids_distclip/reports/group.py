"""The page and the tables of a whole derivative: what became of each image, whether images agree better."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bids_distclip import __version__
from bids_distclip.quality.metrics import metric_table
from bids_distclip.quality.record import find_records, read_record
from bids_distclip.reports.effect import HEADINGS, TABLE, UNKNOWN, effects, gather_looks, outliers
from bids_distclip.reports.map import draw_map
from bids_distclip.reports.methods import lookup
from bids_distclip.reports.page import page_spec, render, save
from bids_distclip.reports.review import AGREEMENT, COLUMNS, Review, agreement_row, gather
from bids_distclip.reports.spread import Spread, conclude, spreads
from bids_distclip.reports.table import cell, plain, tsv

_ABOUT = {'subject': 'Subject', 'image': 'Image', 'status': 'State', 'family': 'Family', 'target': 'Target'}
_SPREAD = (
    'family', 'target', 'tissue', 'images',
    'mean_before', 'mean_after', 'sd_before', 'sd_after', 'cv_before', 'cv_after',
)


def build_group(
    output_dir: Path,
    *,
    participants: Mapping[str, Mapping[str, str]] | None = None,
    site_column: str | None = None,
    keep: Sequence[str] = (),
) -> Path | None:
    """Write the group page from the records on disk and return its path; None where there is no record.

    ``participants`` are the rows of ``participants.tsv`` by person; ``site_column`` the one that names sites;
    ``keep`` those that harmonization must not remove. Beside ``group.html`` it writes ``group_images.tsv`` (one
    row per image: its state and every number, ``_before`` for the source's own), ``group_spread.tsv`` (per
    family, target and intensity class: mean, standard deviation and coefficient of variation over images),
    ``group_site.tsv`` (what can be told, how far sites are apart), the tables of ratings, and ``group.json``
    with all of them. Unknown numbers are ``n/a``.
    """
    found, unread = _records(output_dir)
    if not found:
        return None
    records = [record for _, record in found]
    review = gather(output_dir, found)
    looks, source = gather_looks(found, participants=participants or {}, column=site_column)
    effect, told = effects(looks, keep=keep)
    raw = [_row(record, subject=subject) for subject, record in found]
    rows = [{cell(key): cell(value) for key, value in row.items()} for row in raw]
    columns = list(dict.fromkeys([*_ABOUT, *(key for row in rows for key in row)]))
    table = [{key: row.get(key, 'n/a') for key in columns} for row in rows]
    tables: dict[str, tuple[Sequence[str], Sequence[Mapping[str, Any]]]] = {
        'images': (columns, table),
        'spread': (_SPREAD, [_spread_row(spread) for spread in spreads(records)]),
        'site': (TABLE, effect),
        'ratings': (COLUMNS, review.rows()),
        'agreement': (AGREEMENT, [agreement_row(row) for row in review.agreement]),
    }
    conclusions = [*conclude(records), *told]
    _write_tables(output_dir, tables=tables, conclusions=[*conclusions, *review.sentences()], source=source)
    short = [{cell(key): cell(_short(value)) for key, value in row.items()} for row in raw]
    shown = [{key: row.get(key, 'n/a') for key in columns} for row in short]
    text = render(
        'group.html',
        scripts=('group.js',),
        rows=[{'link': _link(row['subject'], output_dir=output_dir), 'cells': row} for row in shown],
        columns=[(key, _heading(key), key not in _ABOUT) for key in columns],
        spreads=[{key: cell(_short(value)) for key, value in row.items()} for row in tables['spread'][1]],
        spread_columns=_SPREAD,
        effect=[{key: cell(_short(row.get(key))) for key in TABLE} for row in effect if len(row) > 7],
        effect_columns=list(zip(TABLE, HEADINGS, strict=True)),
        sites=sorted({look.site for look in looks} - {UNKNOWN}),
        unplaced=sum(look.site == UNKNOWN for look in looks),
        source=source,
        map=draw_map(looks),
        outliers=[(look.name, _link(look.subject, output_dir=output_dir), look.place) for look in outliers(looks)],
        left=_left(found, output_dir=output_dir),
        conclusions=conclusions,
        states=_states(records),
        words={state: word['badge'].lower() for state, word in page_spec()['verdicts'].items()},
        unread=unread,
        review=_review(review, output_dir=output_dir),
        version=__version__,
    )
    return save(text, path=output_dir / 'group.html')


def _write_tables(
    output_dir: Path,
    *,
    tables: Mapping[str, tuple[Sequence[str], Sequence[Mapping[str, Any]]]],
    conclusions: Sequence[str],
    source: str,
) -> None:
    """Write each table, remove those of a former call that are empty now, and write all of them as one JSON."""
    content: dict[str, Any] = {'conclusions': list(conclusions), 'sites_from': source}
    for name, (columns, rows) in tables.items():
        path = output_dir / f'group_{name}.tsv'
        content[name] = [{key: plain(row.get(key)) for key in columns} for row in rows]
        if rows or name in ('images', 'spread'):
            save(tsv(columns, rows=rows), path=path)
        else:
            path.unlink(missing_ok=True)
    save(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + '\n', path=output_dir / 'group.json')


def _left(found: Sequence[tuple[str, Mapping[str, Any]]], *, output_dir: Path) -> list[tuple[str, str, str]]:
    """Return name, address and reason of each image that was left as it is, or failed."""
    numbers: Counter[str] = Counter()
    left = []
    for subject, record in found:
        numbers[subject] += 1
        if record.get('status') in ('abstained', 'skipped', 'failed'):
            link = _link(subject, output_dir=output_dir)
            name = PurePosixPath(str(lookup(record, 'source.path'))).name
            left.append((name, f'{link}#image-{numbers[subject]}' if link else '', str(record.get('reason') or '')))
    return left


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


def _spread_row(spread: Spread) -> dict[str, Any]:
    values: dict[str, Any] = {'family': spread.family, 'target': spread.target, 'images': spread.images}
    values['tissue'] = spread.tissue.removeprefix('class_')
    for name, pair in (('mean', spread.mean), ('sd', spread.sd), ('cv', spread.variation)):
        values |= {f'{name}_before': pair[0], f'{name}_after': pair[1]}
    return {key: values[key] for key in _SPREAD}


def _heading(key: str) -> str:
    name = key.removesuffix('_before')
    label = _ABOUT.get(key) or metric_table().get(name, {}).get('label', name)
    return f'{label}, source' if key.endswith('_before') else label


def _link(subject: str, *, output_dir: Path) -> str:
    """Return the address of a subject's page beside this one, or nothing where it has none."""
    name = f'{subject}.html'
    return name if re.fullmatch('sub-[A-Za-z0-9+]+', subject) and (output_dir / name).is_file() else ''


def _short(value: Any) -> Any:
    """Return a number with the three digits that a reader can use; tables on disk have more."""
    return float(f'{value:.3g}') if isinstance(value, float) else value


def _states(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    states = [str(record.get('status')) for record in records]
    return [(state, states.count(state)) for state in dict.fromkeys(states)]
