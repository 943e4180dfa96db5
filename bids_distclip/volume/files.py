"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bids_distclip.draft import draft
from bids_distclip.errors import CannotWrite, ReadFailed


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a hidden file beside ``path`` and move it there when the block ends well."""
    try:
        with draft(path) as hidden, hidden.open('wb') as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _failure(path, error) from error


def _failure(path: Path, error: OSError) -> CannotWrite | ReadFailed:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        cure = 'Give an output folder that exists and that you may write to.'
        return CannotWrite(f'The file cannot be written ({error.strerror}).', file=path, cure=cure)
    cure = 'Free some disk space or quota and run the same command again.'
    return ReadFailed(f'Writing broke off ({error.strerror or error}).', file=path, cure=cure)
