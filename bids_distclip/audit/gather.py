"""The anatomical images of a dataset with all that is known of each; sidecars without their images count too."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bids_distclip.acquisition.family import FamilyCall, infer_family
from bids_distclip.acquisition.record import Acquisition
from bids_distclip.acquisition.sidecar import from_sidecar
from bids_distclip.dataset.inheritance import by_folder, merge_sidecars, sidecars_of
from bids_distclip.dataset.naming import parse_name
from bids_distclip.errors import NoInput

#: The scanner of an image of which none of vendor, model and field strength is known.
UNKNOWN = 'unknown scanner'
_ABOVE = ('', 'sub-*/', 'sub-*/ses-*/')
_ANAT = ('sub-*/anat/', 'sub-*/ses-*/anat/')
_SUFFIXES = ('T1w', 'T2w', 'PDw', 'FLAIR', 'T2starw', 'inplaneT1', 'inplaneT2', 'PD', 'T2star', 'FLASH')


@dataclass(frozen=True)
class Item:
    """One image: path without extension, whose it is, how it was acquired, on what, and when.

    ``label`` is what its file name says it is: the suffix and the entities besides subject, session and run.
    ``scanner`` is made of vendor, model, field strength and four characters of a hash of the serial number;
    ``when`` is its ``acq_time`` in ``*_scans.tsv``, used for order alone; ``sidecars`` says how many speak of it.
    """

    name: str
    subject: str
    label: str
    scanner: str
    software: str
    when: str
    sidecars: int
    acquisition: Acquisition
    family: FamilyCall
    notes: tuple[str, ...] = ()


def gather_items(bids_dir: Path) -> list[Item]:
    """Return the images (or lone sidecars) of the ``anat`` folders of a dataset in the order of their names.

    Raises
    ------
    NoInput
        If there is neither an image nor a sidecar of a known contrast.
    """
    sidecars = [p for part in (*_ABOVE, *_ANAT) for p in bids_dir.glob(f'{part}*.json')]
    images = [p for part in _ANAT for kind in ('nii', 'nii.gz') for p in bids_dir.glob(f'{part}*.{kind}')]
    relatives = [path.relative_to(bids_dir).as_posix() for path in sidecars]
    folders = by_folder(relatives)
    lone = [name for name in relatives if '/anat/' in name]
    stems = {_stem(name) for name in lone} | {_stem(path.relative_to(bids_dir).as_posix()) for path in images}
    times = _times(bids_dir)
    wanted = sorted(stem for stem in stems if parse_name(PurePosixPath(stem).name)[1] in _SUFFIXES)
    if not wanted:
        raise NoInput('There is no anatomical image or sidecar of a known contrast here.', file=bids_dir,
                      cure='give the root of a BIDS dataset with T1w, T2w, PDw, FLAIR or T2starw images.')
    return [_item(bids_dir, stem, folders=folders, when=times.get(stem, '')) for stem in wanted]


def _item(root: Path, stem: str, *, folders: Mapping[str, list[str]], when: str) -> Item:
    own = sidecars_of(f'{stem}.nii.gz', folders=folders)
    merged = merge_sidecars(root, own)
    pairs, suffix, _ = parse_name(PurePosixPath(stem).name)
    others = [f'{key}-{value}' for key, value in pairs.items() if key not in ('sub', 'ses', 'run')]
    acquisition = from_sidecar(merged.values, suffix=suffix, origin=merged.origin)
    return Item(
        name=stem, subject=stem.split('/')[0], label='_'.join([*others, suffix]),
        scanner=scanner_name(acquisition, raw=merged.values),
        software=str(merged.values.get('SoftwareVersions') or ''), when=when, sidecars=len(own),
        acquisition=acquisition, family=infer_family(acquisition), notes=merged.notes,
    )


def scanner_name(acquisition: Acquisition, *, raw: Mapping[str, Any]) -> str:
    """Return what a scanner is called here; a serial number only tells two of one kind apart.

    >>> scanner_name(Acquisition(manufacturer='GE', field_strength=3.0), raw={})
    'GE 3 T'
    """
    strength = acquisition.field_strength
    parts = [acquisition.manufacturer, acquisition.model, f'{strength:g} T' if strength is not None else None]
    serial = raw.get('DeviceSerialNumber')
    if serial:
        parts.append('#' + hashlib.sha256(str(serial).encode()).hexdigest()[:4])
    return ' '.join(str(part) for part in parts if part) or UNKNOWN


def _stem(relative: str) -> str:
    path = PurePosixPath(relative)
    return (path.parent / path.name.partition('.')[0]).as_posix()


def _times(root: Path) -> dict[str, str]:
    """Return ``acq_time`` by image, without extension, from every ``*_scans.tsv`` that can be read."""
    found: dict[str, str] = {}
    for path in [*root.glob('sub-*/*_scans.tsv'), *root.glob('sub-*/ses-*/*_scans.tsv')]:
        try:
            with path.open(encoding='utf-8-sig', newline='') as stream:
                rows = list(csv.DictReader(stream, delimiter='\t'))
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
        base = path.parent.relative_to(root)
        for row in rows:
            when = row.get('acq_time')
            if row.get('filename') and when and when != 'n/a':
                found[_stem((base / str(row['filename'])).as_posix())] = when
    return found
