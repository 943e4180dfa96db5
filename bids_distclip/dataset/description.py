"""What a derivative dataset says of itself: the files at its root."""

from __future__ import annotations

import csv
import json
import os
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bids_distclip import __version__
from bids_distclip.dataset.atomic import locked, write_json, write_text
from bids_distclip.errors import CannotWrite

#: What this app calls itself in ``GeneratedBy``; a folder below ``derivatives/`` must contain this word.
PIPELINE = 'distclip'
BIDS_VERSION = '1.10.0'
#: The bare word ``figures`` silences the folder and what is in it; patterns leave the folder itself.
_IGNORED = (
    '*.html', 'figures', 'ratings', 'assets', 'group_*.tsv', 'group*.json', '*_uncertainty.nii.gz',
    '*_uncertainty.json',
)
_READMES = ('README', 'README.md', 'README.rst', 'README.txt')


def write_dataset_files(
    output_dir: str | Path,
    *,
    bids_dir: str | Path,
    version: str = __version__,
    container: Mapping[str, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """Write the root files of the derivative dataset, and return sentences about what is not as it should be.

    ``container`` is ``{Type, Tag, URI}``; ``descriptions`` adds rows to ``descriptions.tsv`` by label;
    ``columns`` adds definitions to ``scans.json``. Only what changes is written, under a lock; a README or
    CHANGES that is there stays. No absolute path of this machine is written.

    Raises
    ------
    CannotWrite
        If the folder holds another dataset, or cannot be written.
    """
    out, source = Path(output_dir).absolute(), Path(bids_dir).absolute()
    raw = _read_json(source / 'dataset_description.json')
    with locked(out, name='dataset'):
        _check_ours(out)
        link = source_link(out, bids_dir=source)
        write_json(out / 'dataset_description.json', _description(
            raw, link=link, version=version, container=container, cited=(out / 'CITATION.cff').exists()
        ))
        if not any((out / name).exists() for name in _READMES):
            write_text(out / 'README.md', _readme(raw, version=version))
        if not (out / 'CHANGES').exists():
            today = datetime.now(timezone.utc).date().isoformat()
            write_text(out / 'CHANGES', f'1.0.0 {today}\n  - First images, by {PIPELINE} {version}.\n')
        _write_descriptions(out, extra=descriptions or {})
        write_ignore(out)
        write_json(out / 'scans.json', {**scan_columns(), **(columns or {})})
    return name_warnings(out)


def write_ignore(output_dir: Path) -> None:
    """Write what a validator passes over; only if it changes, so that an older derivative is brought up to date."""
    write_text(output_dir / '.bidsignore', '\n'.join([*_IGNORED, '']))


def source_link(out: Path, *, bids_dir: Path) -> str:
    """Return the source dataset as a URI for ``DatasetLinks``.

    Nested datasets are linked by a relative path; others by their DOI; without one, by a name-based UUID, so
    that no path of the host gets into the dataset.
    """
    real, source = out.resolve(), bids_dir.resolve()
    if source in real.parents or real in source.parents:
        return Path(os.path.relpath(source, real)).as_posix()
    raw = _read_json(source / 'dataset_description.json')
    doi = str(raw.get('DatasetDOI') or '').removeprefix('doi:').removeprefix('https://doi.org/')
    if doi:
        return f'https://doi.org/{doi}'
    return uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(raw, sort_keys=True)).urn


def name_warnings(out: Path) -> list[str]:
    """Return a warning if the folder's name breaks the rule for ``derivatives/<name>``."""
    if out.parent.name != 'derivatives' or PIPELINE in out.name:
        return []
    return [
        f'BIDS wants the name of a folder below derivatives/ to contain {PIPELINE}; {out.name} does not. '
        f'Better: derivatives/{PIPELINE}-{out.name}.'
    ]


def scan_columns() -> dict[str, dict[str, Any]]:
    """Return what ``scans.json`` says of the columns this app writes into ``*_scans.tsv``."""
    # The numbers bring scientific libraries along, which nothing else here needs.
    from bids_distclip.quality.metrics import metric_table

    state = {
        'Description': 'What became of the image.',
        'Levels': {
            'harmonized': 'harmonized to a target of the same contrast family',
            'synthetic': 'computed for a target of another contrast family',
            'abstained': 'left as it is, because the result could not be trusted',
        },
    }
    columns: dict[str, dict[str, Any]] = {
        'distclip_status': state,
        'distclip_rating': {
            'LongName': 'Rating by people',
            'Description': 'Median over raters: 1 unusable, 2 doubtful, 3 acceptable, 4 good. Written by the group '
            'level from the files in ratings/.',
        },
        'distclip_raters': {'LongName': 'Number of raters', 'Description': 'How many people rated the image.'},
    }
    for name, row in metric_table().items():
        columns[name] = {'LongName': row['label'], 'Description': f'{row["meaning"]} {row["good"]}'}
        if row['unit']:
            columns[name]['Units'] = row['unit']
    return columns


def _description(
    raw: Mapping[str, Any], *, link: str, version: str, container: Mapping[str, str] | None, cited: bool
) -> dict[str, Any]:
    generated: dict[str, Any] = {
        'Name': PIPELINE, 'Version': version,
        'Description': 'Harmonization of anatomical MRI between scanners (DIST-CLIP).',
    }
    if container:
        generated['Container'] = dict(container)
    source: dict[str, str] = {} if link.startswith('urn:') else {'URL': link}
    if raw.get('DatasetDOI'):
        source['DOI'] = str(raw['DatasetDOI'])
    out: dict[str, Any] = {
        'Name': f'Harmonized anatomical images: {raw.get("Name") or "unnamed dataset"}',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [generated],
        'DatasetLinks': {'raw': link},
    }
    if source:
        out['SourceDatasets'] = [source]
    # Beside a CITATION.cff, BIDS forbids Authors and wants no License.
    kept = () if cited else ('License', 'Authors')
    return out | {key: raw[key] for key in kept if raw.get(key)}


def _readme(raw: Mapping[str, Any], *, version: str) -> str:
    return f'''# Harmonized anatomical images

Made by {PIPELINE} {version} from the dataset "{raw.get("Name") or "unnamed"}".

`*_desc-harmonized_*` images show the source's anatomy as the target's scanner and protocol would have shown
it, on the source's own grid. `*_desc-synthetic_*` images have a contrast that was not measured.
`*_desc-untouched*` images are sources as they were: their results could not be trusted. What each
`desc-` means stands in `descriptions.tsv`; numbers per image in `*_scans.tsv` (defined in `scans.json`); how
an image was made in its JSON file under `Harmonization`; pages to look at in `sub-*.html`.

These images are for research. They are not for diagnosis.
'''


def _write_descriptions(out: Path, *, extra: Mapping[str, str]) -> None:
    """Write ``descriptions.tsv``: the shipped rows, those that are there already, and the extra ones."""
    rows = _read_table(Path(__file__).parent / 'descriptions.tsv')
    rows = _read_table(out / 'descriptions.tsv') | rows
    rows |= {f'desc-{k.removeprefix("desc-")}': ' '.join(v.split()) for k, v in extra.items()}
    lines = ['desc_id\tdescription', *(f'{key}\t{rows[key]}' for key in sorted(rows))]
    write_text(out / 'descriptions.tsv', '\n'.join(lines) + '\n')
    write_json(out / 'descriptions.json', {
        'desc_id': {'Description': 'The desc entity with its label.'},
        'description': {'Description': 'What the images with that label are.'},
    })


def _read_table(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(encoding='utf-8', newline='') as stream:
        return {row['desc_id']: row['description'] for row in csv.DictReader(stream, delimiter='\t')}


def _check_ours(out: Path) -> None:
    """Raise CannotWrite if the folder is a dataset that another pipeline, or a scanner, has made."""
    there = out / 'dataset_description.json'
    if not there.exists():
        return
    makers = _read_json(there).get('GeneratedBy') or [{}]
    if not isinstance(makers, list) or makers[0].get('Name') != PIPELINE:
        cure = f'give a folder of its own, for example derivatives/{PIPELINE}.'
        raise CannotWrite('The output folder holds another dataset.', file=out, cure=cure)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}
