"""What is written beside a harmonized image: its sidecar and its row of numbers; and whether it is done."""

from __future__ import annotations

import csv
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_distclip.dataset.atomic import locked, sha256, write_text
from bids_distclip.dataset.description import write_dataset_files
from bids_distclip.dataset.naming import output_name

if TYPE_CHECKING:
    from bids_distclip.dataset.inputs import Scan

__all__ = [
    'annotate_scans', 'bids_uri', 'is_complete', 'is_ours', 'made_of', 'made_with', 'output_name', 'public',
    'sidecar', 'update_scans_tsv', 'write_dataset_files',
]

#: Entity of the source whose metadata BIDS requires in the derivative as well (bids.md, rules/sidecars).
_REQUIRED = {
    'echo': ('EchoTime',), 'flip': ('FlipAngle',), 'inv': ('InversionTime',), 'mt': ('MTState',),
}
#: How the URIs of images of the source dataset begin.
_RAW = 'bids:raw:'
#: What stays true of an image on the source's own grid.
_GEOMETRY = ('SliceThickness', 'SpacingBetweenSlices', 'NonlinearGradientCorrection')


def bids_uri(relative: str | Path, *, dataset: str = 'raw') -> str:
    """Return a BIDS URI.

    >>> bids_uri('sub-01/anat/sub-01_T1w.nii.gz')
    'bids:raw:sub-01/anat/sub-01_T1w.nii.gz'
    """
    return f'bids:{dataset}:{Path(relative).as_posix()}'


def sidecar(
    scan: Scan | Mapping[str, str],
    *,
    description: str,
    skull_stripped: bool,
    harmonization: Mapping[str, Any],
    sources: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON sidecar of a derived image.

    At the top stand ``Description``, ``SkullStripped``, ``SpatialReference``, ``Sources`` (paths in the
    source dataset, or BIDS URIs), the geometry, and what BIDS requires for the source's entities. All else
    of the source's metadata describes the source's acquisition, not this image, and goes under
    ``Harmonization.SourceMetadata``, as far as it is :func:`public`. ``scan`` may be its
    entities alone, with its ``metadata`` beside them.
    """
    entities = scan if isinstance(scan, Mapping) else scan.entities
    known = metadata if metadata is not None else {} if isinstance(scan, Mapping) else scan.sidecar
    kept = [*_GEOMETRY, *(key for entity, keys in _REQUIRED.items() if entity in entities for key in keys)]
    return {
        'Description': description,
        'SkullStripped': bool(skull_stripped),
        'SpatialReference': 'orig',
        'Sources': [source if source.startswith('bids:') else bids_uri(source) for source in sources],
        **{key: known[key] for key in kept if key in known},
        'Harmonization': {**plain(harmonization), 'SourceMetadata': public(known)},
    }


@functools.cache
def _public_keys() -> frozenset[str]:
    with (Path(__file__).parent / 'public.tsv').open(encoding='utf-8', newline='') as stream:
        return frozenset(row['key'] for row in csv.DictReader(stream, delimiter='\t'))


def public(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what metadata say of the scanner, the sequence and the image (``public.tsv``), and nothing else.

    Keys are kept, not left out: what names a person, machine, place or day has too many names, and any converter may
    add another. Values that hold keys of their own are left out as well.

    >>> public({'EchoTime': 0.003, 'InstitutionName': 'Somewhere', 'global': {'PatientID': '1'}})
    {'EchoTime': 0.003}
    """
    def flat(value: Any) -> bool:
        return all(map(flat, value)) if isinstance(value, (list, tuple)) else not isinstance(value, Mapping)

    return plain({key: value for key, value in metadata.items() if key in _public_keys() and flat(value)})


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: no tuples, arrays or paths; NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, 'tolist'):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def is_complete(output_nii: str | Path, *, fingerprint: str) -> bool:
    """Tell whether an output is there, whole, and made of what ``fingerprint`` stands for.

    Its sidecar's ``Harmonization.Fingerprint`` must be the same, and ``Harmonization.OutputSHA256`` that of
    the image's bytes.
    """
    # The cheap look first: the image is read only where its sidecar is the right one.
    receipt = _receipt(output_nii)
    return receipt.get('Fingerprint') == fingerprint and _is_whole(output_nii, receipt)


def made_with(output_nii: str | Path) -> str | None:
    """Return the fingerprint of an output that is there and whole, else None."""
    receipt = _receipt(output_nii)
    return receipt.get('Fingerprint') if _is_whole(output_nii, receipt) else None


def is_ours(output_nii: str | Path) -> bool:
    """Tell whether the sidecar of an image is one that this app wrote."""
    return bool(_receipt(output_nii))


def made_of(output_nii: str | Path) -> tuple[str, ...]:
    """Return the images of the source dataset that an output is made of, as its sidecar says; else nothing."""
    named = _beside(output_nii).get('Sources')
    listed = named if isinstance(named, list) else []
    return tuple(one.removeprefix(_RAW) for one in listed if isinstance(one, str) and one.startswith(_RAW))


def _beside(image: str | Path) -> dict[str, Any]:
    """Read the sidecar of an image; empty where there is none."""
    path = Path(image)
    try:
        stem = path.name.removesuffix('.gz').removesuffix('.nii')
        raw = json.loads(path.with_name(f'{stem}.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _receipt(image: str | Path) -> dict[str, Any]:
    receipt = _beside(image).get('Harmonization')
    return receipt if isinstance(receipt, dict) else {}


def _is_whole(image: str | Path, receipt: Mapping[str, Any]) -> bool:
    try:
        return receipt.get('OutputSHA256') == sha256(Path(image))
    except OSError:
        return False


def update_scans_tsv(
    output_dir: str | Path, subject: str, session: str | None, row: Mapping[str, Any], *, instead_of: str | None = None
) -> Path:
    """Write one image's row into the ``scans.tsv`` of its subject or session, and return that file.

    ``row['filename']`` names the image; a path from the output folder is made relative to the table. A row
    of that name is replaced, and that of ``instead_of`` removed. Rows are sorted by name, so the result does
    not depend on the order of calls; missing values are ``n/a``. Safe for processes that write at once.
    """
    out, sub = Path(output_dir), subject.removeprefix('sub-')
    ses = session.removeprefix('ses-') if session else None
    folder = Path(f'sub-{sub}') / f'ses-{ses}' if ses else Path(f'sub-{sub}')
    name = f'sub-{sub}_ses-{ses}_scans.tsv' if ses else f'sub-{sub}_scans.tsv'
    file, other = (
        Path(path or '').as_posix().removeprefix(f'{folder.as_posix()}/') for path in (row['filename'], instead_of)
    )
    path = out / folder / name
    with locked(out, name=name):
        rows = _read_rows(path)
        rows.pop(other, None)
        rows[file] = {**{key: _cell(value) for key, value in row.items()}, 'filename': file}
        _write_rows(path, rows=rows)
    return path


def annotate_scans(
    output_dir: str | Path, values: Mapping[str, Mapping[str, Any]], *, columns: Sequence[str]
) -> list[Path]:
    """Set some columns in every ``scans.tsv`` of a derivative and return the files that have them now.

    ``values`` is by image, its path from the output folder. The other columns stay as they are; a row without
    values gets ``n/a``, and a table none of whose rows has a value loses the columns, so that what a former
    call wrote and no longer holds is gone.
    """
    out = Path(output_dir)
    changed = []
    for path in sorted([*out.glob('sub-*/*_scans.tsv'), *out.glob('sub-*/ses-*/*_scans.tsv')]):
        with locked(out, name=path.name):
            rows = {name: {k: v for k, v in row.items() if k not in columns} for name, row in _read_rows(path).items()}
            known = {name: values.get((path.parent / name).relative_to(out).as_posix()) for name in rows}
            if any(known.values()):
                changed.append(path)
                for name, row in known.items():
                    rows[name] |= {column: _cell((row or {}).get(column)) for column in columns}
            _write_rows(path, rows=rows)
    return changed


def _write_rows(path: Path, *, rows: Mapping[str, Mapping[str, str]]) -> None:
    columns = ['filename', *sorted({key for one in rows.values() for key in one} - {'filename'})]
    lines = [columns, *([rows[key].get(column, 'n/a') for column in columns] for key in sorted(rows))]
    write_text(path, ''.join('\t'.join(line) + '\n' for line in lines))


def _read_rows(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with path.open(encoding='utf-8', newline='') as stream:
        return {row['filename']: row for row in csv.DictReader(stream, delimiter='\t')}


def _cell(value: Any) -> str:
    value = plain(value)
    if value is None or value == '':
        return 'n/a'
    if isinstance(value, bool):
        return str(value).lower()
    return f'{value:.6g}' if isinstance(value, float) else ' '.join(str(value).split())
