"""The files of a BIDS dataset: only those that are asked for, or all from pybids' database.

For one of ten thousand people pybids takes a second to start and to look at the folders of all others; where no
database is asked for, a plain walk finds the same files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from bids_distclip.errors import CannotWrite, UsageError

_ELSEWHERE = r'derivatives|sourcedata|rawdata|code|stimuli|models|phenotype|logs|docs'
_DATATYPES = r'beh|dwi|eeg|emg|fmap|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet'

#: Device and inode.
_Place = tuple[int, int]


def crawl(
    root: Path,
    *,
    subjects: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
    database_dir: str | Path | None = None,
    reset_database: bool = False,
) -> list[str]:
    """Return the files of a dataset as sorted paths relative to its root.

    Without a database only anatomical folders of the named subjects and sessions are entered, and what lies
    above them. A database is read if it is there, else made of the whole dataset (without metadata), so that
    it serves later calls for anyone.

    Raises
    ------
    UsageError
        If the database belongs to another dataset.
    CannotWrite
        If the database cannot be made.
    """
    ignore = [re.compile(rf'^/({_ELSEWHERE})(/|$)'), re.compile(r'/\.')]
    if database_dir is not None:
        return _indexed(root, ignore=ignore, database_dir=database_dir, reset_database=reset_database)
    ignore.append(re.compile(rf'^/sub-[^/]+/(ses-[^/]+/)?({_DATATYPES})(/|$)'))
    ignore += _all_but('^/sub-', subjects) + _all_but('^/sub-[^/]+/ses-', sessions)
    return sorted(_walked(root, '', ignore=ignore))


def _walked(
    root: Path, below: str, *, ignore: Sequence[re.Pattern[str]], inside: frozenset[_Place] | None = None
) -> Iterator[str]:
    """Pass the files in and under a folder, as paths relative to the root; links to folders are followed.

    A folder that may not be read is passed over, as pybids does, and so is one that a link leads back to from within:
    behind a link, ``inside`` are the folders on the way. Without links no folder lies in itself, and none is looked up.
    """
    folder = root / below
    try:
        if inside is not None:
            own = _place(folder)
            if own in inside:
                return
            inside |= {own}
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        relative = f'{below}{entry.name}'
        if any(pattern.search(f'/{relative}') for pattern in ignore):
            continue
        if entry.is_dir():
            if inside is None and entry.is_symlink():
                inside = frozenset(map(_place, (folder, *folder.parents)))
            yield from _walked(root, f'{relative}/', ignore=ignore, inside=inside)
        else:
            yield relative


def _place(folder: Path) -> _Place:
    """Return what tells a folder from all others, by whatever path it is reached."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _indexed(
    root: Path, *, ignore: Sequence[re.Pattern[str]], database_dir: str | Path, reset_database: bool
) -> list[str]:
    """Return the files that a pybids database knows; it is made where it is not there."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    indexer = BIDSLayoutIndexer(validate=False, ignore=list(ignore), index_metadata=False)
    try:
        layout = BIDSLayout(
            root, validate=False, indexer=indexer, database_path=database_dir, reset_database=reset_database
        )
    except PermissionError as error:
        cure = 'give a folder you may write to.'
        raise CannotWrite('The BIDS database cannot be made.', file=database_dir, cure=cure) from error
    if Path(str(layout.root)).resolve() != root.resolve():
        cure = 'give another folder, or have it made anew.'
        raise UsageError('The BIDS database belongs to another dataset.', file=database_dir, cure=cure)
    return sorted(PurePosixPath(os.path.relpath(path, root)).as_posix() for path in layout.files)


def _all_but(prefix: str, labels: Sequence[str] | None) -> list[re.Pattern[str]]:
    """Return the pattern of the folders that other labels have."""
    if labels is None:
        return []
    return [re.compile(rf'{prefix}(?!({"|".join(map(re.escape, labels))})(/|$))')]
