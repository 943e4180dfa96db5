"""Which images of a BIDS dataset this app can harmonize, and why it leaves the others."""

from __future__ import annotations

import csv
import fnmatch
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bids_distclip.acquisition.family import FamilyCall, infer_family
from bids_distclip.acquisition.record import Acquisition
from bids_distclip.acquisition.sidecar import from_sidecar
from bids_distclip.dataset.content import FETCH, absent
from bids_distclip.dataset.crawl import crawl
from bids_distclip.dataset.filters import check_labels, clean_labels, clean_modalities, mismatch, read_filters
from bids_distclip.dataset.inheritance import by_folder, merge_sidecars, sidecars_of
from bids_distclip.dataset.naming import derivative_keys, entities_of, parse_name
from bids_distclip.errors import NoInput, NothingSelected

__all__ = [
    'Rejection', 'Scan', 'Selection', 'absent', 'find_scans', 'refusal', 'suffix_table'
]


@dataclass(frozen=True)
class Scan:
    """One image to harmonize.

    ``relative`` is its path in the dataset; ``entities`` are under pybids' names, values as written;
    ``suffix`` is that of the file name; ``sidecar`` the metadata merged by inheritance.
    """

    path: Path
    relative: str
    entities: Mapping[str, str]
    subject: str
    session: str | None
    suffix: str
    sidecar: Mapping[str, Any]
    acquisition: Acquisition
    family_call: FamilyCall


@dataclass(frozen=True)
class Rejection:
    """An anatomical image that is left out, and why."""

    relative: str
    reason: str

    @property
    def fetchable(self) -> bool:
        """Tell whether only its content is missing here, as of a DataLad link."""
        return self.reason.startswith(FETCH)


@dataclass(frozen=True)
class Selection:
    """What to harmonize and what not."""

    scans: tuple[Scan, ...]
    rejections: tuple[Rejection, ...]


@functools.cache
def suffix_table() -> tuple[dict[str, str], ...]:
    """Return the rows of ``suffixes.tsv``: suffix (first match counts), status, modality, reason."""
    with (Path(__file__).parent / 'suffixes.tsv').open(encoding='utf-8', newline='') as stream:
        return tuple(csv.DictReader(stream, delimiter='\t'))


def find_scans(
    bids_dir: str | Path,
    *,
    participants: str | Path | Iterable[str] | None = None,
    sessions: str | Path | Iterable[str] | None = None,
    modalities: Iterable[str] | None = None,
    filters: str | Path | Mapping[str, Any] | None = None,
    database_dir: str | Path | None = None,
    reset_database: bool = False,
) -> Selection:
    """List the images of a dataset that can be harmonized, and every other anatomical image with its reason.

    Labels may have their prefix, and a text file stands for its lines. Only the requested subjects are
    crawled; with ``database_dir`` the whole dataset once, into (or from) a pybids database there. Images
    without a session are kept when sessions are named. Filters are those of :func:`read_filters`.

    Raises
    ------
    NoInput
        If there is no dataset, or no image of a supported kind in it, or none whose content is here.
    NothingSelected
        If a label is not there, or labels, modalities and filters left nothing.
    UsageError
        If a modality, filter or database is wrong.
    """
    root = Path(bids_dir).absolute()
    available = _labels_in(root, 'sub-')
    if not available:
        cure = 'give the root of a BIDS dataset.'
        raise NoInput('There are no subjects (sub-*) here.', file=root, cure=cure)
    wanted = clean_labels(participants, prefix='sub')
    check_labels(wanted, available=available, option='subject')
    subjects = available if wanted is None else wanted
    ses = clean_labels(sessions, prefix='ses')
    known = sorted({label for subject in subjects for label in _labels_in(root / f'sub-{subject}', 'ses-')})
    check_labels(ses, available=known, option='session')
    choice = _Choice(ses, clean_modalities(modalities), read_filters(filters))
    files = crawl(
        root, subjects=wanted, sessions=ses, database_dir=database_dir, reset_database=reset_database
    )
    folders = by_folder(file for file in files if file.endswith('.json'))
    reasons = {
        file: refusal(file) or choice.unwanted(file) or absent(root, file)
        for file in _anatomical(files, subjects=subjects)
    }
    rejections = tuple(Rejection(file, reason) for file, reason in reasons.items() if reason)
    scans = tuple(_scan(root, file, folders=folders) for file, reason in reasons.items() if not reason)
    if not scans:
        raise _nothing(root, rejections=rejections, choice=choice)
    return Selection(scans, rejections)


@dataclass(frozen=True)
class _Choice:
    """What was asked for."""

    sessions: tuple[str, ...] | None
    modalities: tuple[str, ...] | None
    filters: Mapping[str, Mapping[str, Any]]

    def unwanted(self, relative: str) -> str:
        """Return why a file was not asked for, or an empty text."""
        entities = entities_of(relative)
        session = entities.get('session')
        if self.sessions is not None and session is not None and session not in self.sessions:
            return f'Session {session} was not asked for.'
        modality = _row(entities['suffix'])['modality']
        if self.modalities is not None and modality not in self.modalities:
            return f'Modality {modality} was not asked for.'
        reason = mismatch(entities, wanted=self.filters.get(modality, {}))
        return f'It does not match the BIDS filter: {reason}.' if reason else ''


def refusal(relative: str) -> str:
    """Return why this app never harmonizes such a file, or an empty text."""
    entities = entities_of(relative)
    foreign = derivative_keys(PurePosixPath(relative).name)
    if foreign:
        return f'It is a derivative ({", ".join(foreign)}), not a raw image.'
    misplaced = _misplaced(relative)
    if misplaced:
        return misplaced
    row = _row(entities['suffix'])
    if row['status'] == 'refused':
        return row['reason']
    part = entities.get('part', 'mag')
    return '' if part == 'mag' else f'It is the {part} of a complex image; only magnitudes are harmonized.'


def _misplaced(relative: str) -> str:
    """Return in how far a file's name is not that of its folders, or an empty text.

    Where it would be written follows from its name.
    """
    path = PurePosixPath(relative)
    folders = dict(part.split('-', 1) for part in path.parts[:-1] if part.startswith(('sub-', 'ses-')))
    pairs = parse_name(path.name)[0]
    if all(pairs.get(key) == folders.get(key) for key in ('sub', 'ses')):
        return ''
    start = '_'.join(f'{key}-{label}' for key, label in folders.items())
    return f'Its name should begin with {start}_, as its folders do.'


def _scan(root: Path, relative: str, *, folders: Mapping[str, Sequence[str]]) -> Scan:
    entities = entities_of(relative)
    suffix = entities['suffix']
    merged = merge_sidecars(root, sidecars_of(relative, folders=folders))
    acquisition = from_sidecar(merged.values, suffix=suffix, origin=merged.origin)
    row = _row(suffix)
    notes = (*merged.notes, *([row['reason']] if row['status'] == 'deprecated' else []), *acquisition.notes)
    acquisition = replace(acquisition, notes=notes)
    return Scan(
        path=root / relative, relative=relative, entities=entities, subject=entities['subject'],
        session=entities.get('session'), suffix=suffix, sidecar=merged.values, acquisition=acquisition,
        family_call=infer_family(acquisition),
    )


def _row(suffix: str) -> dict[str, str]:
    return next(row for row in suffix_table() if fnmatch.fnmatchcase(suffix, row['suffix']))


def _labels_in(folder: Path, prefix: str) -> tuple[str, ...]:
    """Return the labels of the folders with a prefix, such as ``sub-``; none where there is no such folder."""
    if not folder.is_dir():
        return ()
    # The entries of a folder tell their kind; asking for it path by path takes long for thousands.
    with os.scandir(folder) as entries:
        found = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_dir()]
    return tuple(sorted(name.removeprefix(prefix) for name in found))


def _anatomical(files: Iterable[str], *, subjects: Sequence[str]) -> Iterator[str]:
    """Pass the images in anatomical folders of some subjects."""
    for file in files:
        match = re.fullmatch(r'sub-([^/]+)/(?:ses-[^/]+/)?anat/[^/]+\.nii(?:\.gz)?', file)
        if match and match[1] in subjects:
            yield file


def _nothing(root: Path, *, rejections: Sequence[Rejection], choice: _Choice) -> NoInput | NothingSelected:
    """Return why there is nothing to do, with what was there."""
    listed = '; '.join(f'{r.relative}: {r.reason}' for r in rejections[:5])
    listed += f'; and {len(rejections) - 5} more' if len(rejections) > 5 else ''
    usable = [r.relative for r in rejections if not refusal(r.relative)]
    if any(not choice.unwanted(relative) for relative in usable):
        return NoInput('The content of the images is not here.', file=root, cure=f'fetch it. {listed}')
    if usable:
        what = f'Labels, modalities and filters left no image: {listed}'
        return NothingSelected(what, file=root, cure='ask for less.')
    seen = f' What there is: {listed}' if listed else ''
    cure = 'give a dataset with T1w, T2w, PDw, FLAIR or T2starw images.'
    return NoInput(f'There is no anatomical image this app can harmonize.{seen}', file=root, cure=cure)
