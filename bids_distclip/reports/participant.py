"""The page of one subject: what became of each image and why, and everything needed to judge it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bids_distclip import __version__
from bids_distclip.quality.guard import LEAST
from bids_distclip.quality.ratings import SCALE, review_id
from bids_distclip.quality.record import FOLDER, ImageRecord
from bids_distclip.reports.methods import lookup, methods_text
from bids_distclip.reports.niivue import PLACE
from bids_distclip.reports.numbers import number_rows
from bids_distclip.reports.page import inline, page_spec, render, save
from bids_distclip.reports.people import way
from bids_distclip.reports.solid import NotSolid, make_solid
from bids_distclip.reports.table import printed
from bids_distclip.reports.verdict import judge


def build_page(
    output_dir: Path,
    subject: str,
    records: Sequence[Mapping[str, Any] | ImageRecord],
    *,
    out: Path | None = None,
    bids_dir: Path | None = None,
) -> Path:
    """Write the page of one subject, one self-contained HTML file, and return its path.

    ``subject`` is the label with or without ``sub-``; ``records`` are those of its images, or the same as
    dictionaries; figures are looked for in the folders ``figures`` of that subject. Written to ``out``, by
    default ``OUT/sub-XX.html``. What a record lacks the page calls missing. With ``bids_dir``, the dataset the images
    are of, each brain can be opened in 3-D, if the viewer lies beside the page (:mod:`bids_distclip.reports.niivue`).
    """
    known: list[Mapping[str, Any]] = [r.to_dict() if isinstance(r, ImageRecord) else r for r in records]
    label = subject.removeprefix('sub-')
    name = f'sub-{re.sub("[^A-Za-z0-9+]", "", label) or "unknown"}'
    folders = sorted((output_dir / name).glob(f'**/{FOLDER}'))
    images = [_image(record, number=i, folders=folders) for i, record in enumerate(known, start=1)]
    for image, record in zip(images, known, strict=True):
        image |= _in_space(record, bids_dir=bids_dir, output_dir=output_dir)
    solid = any(image['solid'] for image in images)
    sentences, references = methods_text(known)
    text = render(
        'participant.html',
        scripts=('viewer.js', 'rating.js', *(('solid.js',) if solid else ())),
        loads=solid,
        library=PLACE if solid else '',
        subject=f'sub-{label}',
        images=images,
        scale=SCALE,
        dataset=_dataset_id(output_dir),
        way=way(output_dir, name=name),
        keys=[(pane['key'], pane['label']) for pane in page_spec()['panes']
              if pane.get('key') and any(pane['name'] == own['name'] for image in images for own in image['panes'])],
        counts=_counts(images),
        methods=sentences,
        references=references,
        version=__version__,
    )
    return save(text, path=out or output_dir / f'{name}.html')


def _dataset_id(output_dir: Path) -> str:
    """Return what tells the ratings of this dataset from those of others in the same browser."""
    try:
        raw = json.loads((output_dir / 'dataset_description.json').read_text(encoding='utf-8'))
        named = [raw.get('Name'), raw.get('DatasetLinks')]
    except (OSError, ValueError, AttributeError):
        named = []
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:12]


def _image(record: Mapping[str, Any], *, number: int, folders: Sequence[Path]) -> dict[str, Any]:
    """Gather what the template shows of one image."""
    status = str(record.get('status') or 'failed')
    verdict = judge(record)
    path = str(lookup(record, 'source.path') or 'unnamed image')
    panes = _panes(record, folders=folders)
    fields = _fields(record)
    return {
        'id': f'image-{number}',
        'review': review_id(record),
        'rated': status in ('harmonized', 'synthetic'),
        'path': path,
        'name': PurePosixPath(path).name,
        'status': verdict.state,
        'badge': verdict.badge,
        'verdict': verdict.sentence,
        'glance': verdict.glance,
        'cure': record.get('cure') or '',
        'warnings': verdict.warnings,
        'findings': _findings(record, folders=folders),
        'quiet': _quiet(record),
        'panes': panes,
        'big': {'source', 'harmonized'} <= {pane['name'] for pane in panes},
        'histogram': inline(str(lookup(record, 'figures.histogram') or ''), folders=folders),
        'stylemap': inline(str(lookup(record, 'figures.stylemap') or ''), folders=folders),
        'target': _target(record),
        'fields': fields,
        'known': sum(bool(row['value']) for row in fields),
        'missing': [row['key'] for row in fields if not row['value']],
        'wanted': any(row['wanted'] for row in fields),
        'notes': [str(note) for note in lookup(record, 'acquisition.notes') or ()],
        'numbers': number_rows(record),
        'facts': _facts(record),
        'output': record.get('output') or '',
    }


def _in_space(record: Mapping[str, Any], *, bids_dir: Path | None, output_dir: Path) -> dict[str, Any]:
    """Return the volumes of an image that an engine worked on, or the reason why there are none to show."""
    if bids_dir is None or record.get('status') not in ('harmonized', 'synthetic', 'abstained'):
        return {'solid': None, 'flat': ''}
    try:
        return {'solid': make_solid(record, bids_dir=bids_dir, output_dir=output_dir), 'flat': ''}
    except NotSolid as reason:
        return {'solid': None, 'flat': str(reason)}


def _findings(record: Mapping[str, Any], *, folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the places of the structure guard in words, each with its picture."""
    rows = []
    for finding in record.get('findings') or ():
        place = [f'{axis} {value:+.0f}' if isinstance(value, (int, float)) else f'{axis} {printed(value)}'
                 for axis, value in zip('xyz', finding.get('place') or (), strict=False)]
        numbers = [value for value in finding.get('place') or () if isinstance(value, (int, float))]
        rows.append({
            'kind': str(finding.get('kind') or 'changed'), 'value': printed(finding.get('value'), digits=2),
            'place': ', '.join(place), 'at': ' '.join(map(str, numbers)) if len(numbers) == 3 else '',
            'image': inline(str(finding.get('figure') or ''), folders=folders),
        })
    return rows


def _quiet(record: Mapping[str, Any]) -> str:
    """Say that the guard found no place to tell of, and how much the largest changes are; nothing where it did."""
    peaks = [lookup(record, f'metrics.structure_{kind}_peak.value') for kind in ('lost', 'invented')]
    if record.get('findings') or not all(isinstance(peak, float) for peak in peaks):
        return ''
    lost, invented = peaks
    return (f'Structure: no place changed by {LEAST:g} of 1 or more (largest: {lost:.2f} lost, {invented:.2f} '
            'invented), so none is listed.')


def _panes(record: Mapping[str, Any], *, folders: Sequence[Path]) -> list[dict[str, Any]]:
    figures = record.get('figures') or {}
    panes = []
    for pane in page_spec()['panes']:
        name = figures.get(pane['name'])
        if name:
            image = inline(str(name), folders=folders)
            shown = {'key': '', 'first': False, **pane, 'file': str(name), 'image': image}
            if pane['name'] == 'harmonized' and record.get('status') == 'abstained':
                shown['label'] = pane['unwritten']
            panes.append(shown)
        elif figures and pane['name'] == 'target' and lookup(record, 'target.name'):
            panes.append({'key': '', 'first': True, **pane, 'file': '', 'image': None})
    return panes


def _target(record: Mapping[str, Any]) -> dict[str, Any]:
    target = record.get('target') or {}
    known = [row for row in _rows(target.get('acquisition') or {}) if row['value']]
    return {key: str(target.get(key) or '') for key in ('kind', 'name', 'family')} | {'known': known}


def _fields(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per field: value, unit, where it came from, what was wanted, and notes that name it."""
    acquisition = record.get('acquisition') or {}
    origins = acquisition.get('provenance') or {}
    notes = [str(note) for note in acquisition.get('notes') or ()]
    wanted = {row['name']: row['value'] for row in _rows(lookup(record, 'target.acquisition') or {})}
    return [
        {
            **row,
            'origin': _origin(str(origins.get(row['name']) or '')),
            'wanted': wanted.get(row['name'], ''),
            'doubtful': any(_names(note, row=row) for note in notes),
        }
        for row in _rows(acquisition)
    ]


def _names(note: str, *, row: Mapping[str, Any]) -> bool:
    """Tell whether a note speaks of a field."""
    return bool(re.search(rf'\b({row["key"]}|{row["name"].replace("_", "[_ ]")})\b', note))


def _origin(text: str) -> str:
    """Return where a value came from without the folders of its file, which all rows would repeat."""
    kind, _, path = text.partition(':')
    return f'{kind}: {PurePosixPath(path).name}' if path else text


def _rows(acquisition: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**field, 'value': printed(acquisition.get(field['name']))} for field in page_spec()['fields']]


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the provenance of an image as pairs of words and values."""
    facts = []
    for part in ('source', 'preparation', 'engine', 'versions'):
        for key, value in (record.get(part) or {}).items():
            if key != 'style':
                facts.append((f'{part}: {str(key).replace("_", " ")}', printed(value)))
    return [(key, value) for key, value in facts if value]


def _counts(images: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    counts = [
        (status, spec['badge'], sum(image['status'] == status for image in images))
        for status, spec in page_spec()['verdicts'].items()
    ]
    return [count for count in counts if count[2]]
