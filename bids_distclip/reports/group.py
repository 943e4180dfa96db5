"""The page of a whole derivative: what became of each image, whether images agree better, what must stay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bids_distclip import __version__
from bids_distclip.quality.metrics import metric_table
from bids_distclip.reports.cohort import ABOUT, Cohort, gather_cohort, read_records, write_tables
from bids_distclip.reports.effect import UNKNOWN, outliers
from bids_distclip.reports.map import draw_map, draw_style
from bids_distclip.reports.methods import lookup, methods_text
from bids_distclip.reports.page import page_spec, render, save
from bids_distclip.reports.people import dataset_name, places
from bids_distclip.reports.review import AGREEMENT, Review, agreement_row, gather
from bids_distclip.reports.spread import Told
from bids_distclip.reports.table import cell
from bids_distclip.reports.verdict import ended


def build_group(
    output_dir: Path,
    *,
    participants: Mapping[str, Mapping[str, str]] | None = None,
    site_column: str | None = None,
    keep: Sequence[str] = (),
) -> Path | None:
    """Write tables and page of the group from the records on disk and return the page; None where there is no record.

    The options are those of :func:`bids_distclip.reports.cohort.gather_cohort`.
    """
    cohort = gather_cohort(output_dir, participants=participants, site_column=site_column, keep=keep)
    if cohort is None:
        return None
    write_tables(output_dir, cohort)
    return write_page(output_dir, cohort)


def write_page(output_dir: Path, cohort: Cohort) -> Path:
    """Write the page of a cohort, one self-contained HTML file, and return its path."""
    looks, columns = cohort.looks, page_spec()['group']
    sentences, references = methods_text(record for _, record in cohort.found)
    text = render(
        'group.html',
        scripts=('group.js',),
        **_image_table(cohort, output_dir=output_dir),
        spreads=[_beside({**row, 'tissue': _heading(row['tissue'])}, columns=columns['spread'])
                 for row in cohort.spread],
        spread_columns=columns['spread'],
        effect=[_beside(row, columns=columns['effect']) for row in _paired(cohort.effect)],
        effect_columns=columns['effect'],
        asked=[one.what for one in cohort.told if one.kept],
        sites=sorted({look.site for look in looks} - {UNKNOWN}),
        unplaced=sum(look.site == UNKNOWN for look in looks),
        source=cohort.source,
        map=draw_map(looks),
        seen=draw_style(looks),
        outliers=[(look.name, _link(look.subject, place=look.place, output_dir=output_dir), _short(own), _short(usual))
                  for look, own, usual in outliers(looks)],
        again=_listed(cohort, states=('warned',), output_dir=output_dir),
        left=_listed(cohort, states=('abstained', 'skipped', 'failed'), output_dir=output_dir),
        headline=cohort.headline,
        conclusions=_gathered(cohort.told),
        states=Counter(verdict.state for verdict in cohort.verdicts).items(),
        words={state: word['badge'].lower() for state, word in page_spec()['verdicts'].items()},
        unread=cohort.unread,
        review=_review(cohort.review, output_dir=output_dir),
        nearer=_nearer(cohort),
        dataset_name=dataset_name(output_dir),
        methods=sentences,
        references=references,
        version=__version__,
    )
    return save(text, path=output_dir / 'group.html')


def _image_table(cohort: Cohort, *, output_dir: Path) -> dict[str, Any]:
    """Return rows and columns of the table of images; why to look again stands in a list of its own."""
    rows = [{cell(key): cell(_short(value)) for key, value in row.items()} for row in cohort.rows()]
    columns = [key for key in dict.fromkeys([*ABOUT, *(key for row in rows for key in row)]) if key != 'look_again']
    return {
        'columns': [(key, _heading(key), key not in ABOUT) for key in columns],
        'rows': [
            {'link': _link(row['subject'], output_dir=output_dir), 'state': verdict.state,
             'cells': {key: row.get(key, 'n/a') for key in columns}}
            for row, verdict in zip(rows, cohort.verdicts, strict=True)
        ],
    }


def _nearer(cohort: Cohort) -> str:
    """Say of how many images MR-CLIP sees the output nearer to its target than the source."""
    pairs = [(lookup(record, 'metrics.target_after.before'), lookup(record, 'metrics.target_after.value'))
             for _, record in cohort.found if record.get('status') == 'harmonized']
    known = [after > before for before, after in pairs if isinstance(before, float) and isinstance(after, float)]
    if not known:
        return ''
    return f'Of {len(known)} outputs {sum(known)} look more like their target to it than the source did.'


def _gathered(told: Sequence[Told]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the conclusions by family and target; things of which the same is said share a line."""
    groups: dict[str, dict[str, list[str]]] = {}
    for one in told:
        groups.setdefault(f'{one.family} to {one.target}', {}).setdefault(one.text, []).append(one.what)
    return [(title, [(', '.join(whats), text) for text, whats in lines.items()]) for title, lines in groups.items()]


def _paired(effect: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of before and after as one, without those that hold no number."""
    pairs: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in effect:
        both = pairs.setdefault(tuple(row[key] for key in ('family', 'target', 'told')), dict(row))
        both |= {f'{key}_{row["when"]}': value for key, value in row.items()}
    return [row for row in pairs.values() if {'score', 'between_sites'} & set(row)]


def _beside(row: Mapping[str, Any], *, columns: Mapping[str, str]) -> dict[str, str]:
    """Return the cells of a row, numbers of before and after in one."""
    cells = {}
    for key in columns:
        pair = [cell(_short(row.get(f'{key}_{when}'))) for when in ('before', 'after')]
        known = {f'{key}_before', f'{key}_after'} <= set(row) and pair != ['n/a', 'n/a']
        measured = isinstance(row.get(f'{key}_before'), float)
        cells[key] = ' → '.join(pair if measured else dict.fromkeys(pair)) if known else cell(_short(row.get(key)))
    return cells


def _listed(
    cohort: Cohort, *, states: Sequence[str], output_dir: Path
) -> tuple[int, list[tuple[str, list[tuple[str, str]]]]]:
    """Return how many images are of some states, and name and address of each by reason; the most come first.

    An image with two reasons stands below both.
    """
    rows: dict[str, list[tuple[str, str]]] = {}
    number = 0
    for (subject, place, record), verdict in zip(places(cohort.found), cohort.verdicts, strict=True):
        if verdict.state in states:
            name = PurePosixPath(str(lookup(record, 'source.path'))).name
            number += 1
            for reason in verdict.reasons if verdict.state == 'warned' else [ended(str(record.get('reason') or ''))]:
                rows.setdefault(reason, []).append((name, _link(subject, place=place, output_dir=output_dir)))
    return number, sorted(rows.items(), key=lambda row: -len(row[1]))


def read_review(output_dir: Path) -> Review:
    """Return the ratings of a derivative, matched with its images."""
    return gather(output_dir, read_records(output_dir)[0])


def _review(review: Review, *, output_dir: Path) -> dict[str, Any]:
    """Return what the template shows of the ratings."""
    queue = []
    for group in review.queue:
        subject, place = review.links[group[0].review]
        link = _link(subject, place=place, output_dir=output_dir)
        queue.append({'image': group[0].image, 'ratings': group, 'link': link})
    rows = [{key: cell(_short(value)).replace('n/a', '–') for key, value in agreement_row(found).items()}
            for found in review.agreement]
    return {
        'sentences': review.sentences(), 'notes': review.notes, 'queue': queue, 'agreement': rows, 'columns': AGREEMENT,
    }


def _heading(key: str) -> str:
    name = key.removesuffix('_before')
    entry = metric_table().get(name, {})
    label = ABOUT.get(key) or entry.get('label', name)
    label += f' ({entry["unit"]})' if entry.get('unit') not in ('', None, 'normalized') else ''
    return f'{label}, source' if key.endswith('_before') else label


def _link(subject: str, *, place: str = '', output_dir: Path) -> str:
    """Return the address of a subject's page beside this one, and of a place on it; nothing where it has none."""
    name = f'{subject}.html'
    there = re.fullmatch('sub-[A-Za-z0-9+]+', subject) and (output_dir / name).is_file()
    return f'{name}#{place}' if there and place else name if there else ''


def _short(value: Any) -> Any:
    """Return a number with the three digits that a reader can use; tables on disk have more."""
    return float(f'{value:.3g}') if isinstance(value, float) else value
