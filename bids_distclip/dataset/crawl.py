"""The files of a BIDS dataset, found by pybids: only those that are asked for, or all from its database."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bids.layout import BIDSLayout, BIDSLayoutIndexer

from bids_distclip.errors import CannotWrite, UsageError

_ELSEWHERE = r'derivatives|sourcedata|rawdata|code|stimuli|models|phenotype|logs|docs'
_DATATYPES = r'beh|dwi|eeg|emg|fmap|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet'


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
    if database_dir is None:
        ignore.append(re.compile(rf'^/sub-[^/]+/(ses-[^/]+/)?({_DATATYPES})(/|$)'))
        ignore += _all_but('^/sub-', subjects) + _all_but('^/sub-[^/]+/ses-', sessions)
    indexer = BIDSLayoutIndexer(validate=False, ignore=ignore, index_metadata=False)
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
