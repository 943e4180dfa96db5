"""Whether the content of a file is here, or only a link that DataLad left in its place."""

from __future__ import annotations

from pathlib import Path

_POINTER = b'/annex/objects/'

#: How a sentence begins that tells how to get the content of a file.
FETCH = 'Its content is not here. Get it with: datalad get'


def absent(root: Path, relative: str) -> str:
    """Return how to get the content of a file that is not here, or an empty text.

    Of one that may not be read nothing is said: whoever reads it in earnest tells why.
    """
    path = root / relative
    fetch = f'{FETCH} {relative}'
    try:
        if not path.exists():
            stale = 'It is in the database but not on disk; make the database anew.'
            return fetch if path.is_symlink() else stale
        with path.open('rb') as stream:
            return fetch if stream.read(len(_POINTER)) == _POINTER else ''
    except OSError:
        return ''


def readable(path: Path) -> bool:
    """Tell whether a file can be opened: nibabel with indexed_gzip ends the whole process where one cannot."""
    try:
        path.open('rb').close()
    except OSError:
        return False
    return True
