"""Files that appear whole or not at all, and shared files that several processes may touch at once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bids_distclip.draft import draft
from bids_distclip.errors import CannotWrite, ReadFailed, TryAgain

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def write_bytes(path: Path, content: bytes) -> bool:
    """Write a file whole or not at all, and only if its content changes; return whether it was written.

    Raises
    ------
    CannotWrite
        If the folder cannot be written.
    ReadFailed
        If writing broke off, for example because the disk is full.
    """
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft(path) as hidden, hidden.open('xb') as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _failure(error, path) from error
    return True


def write_text(path: Path, text: str) -> bool:
    """Write a text as UTF-8, as :func:`write_bytes` does."""
    return write_bytes(path, text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> bool:
    """Write a JSON object, as :func:`write_bytes` does; raises ValueError for a number JSON does not know."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n')


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(root: Path, *, name: str, timeout: float = 120) -> Iterator[None]:
    """Hold the lock of one shared file of a dataset, in the hidden folder ``.locks`` of its root.

    Raises
    ------
    TryAgain
        If another process holds it for longer than ``timeout`` seconds.
    CannotWrite
        If the folder cannot be written.
    """
    folder = root / '.locks'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f'{name}.lock', timeout=timeout)
        lock.acquire()
    except Timeout as error:
        cure = 'wait for the other process, or remove the lock if there is none, and run again.'
        raise TryAgain('Another process holds the lock.', file=folder / f'{name}.lock', cure=cure) from error
    except OSError as error:
        raise _failure(error, folder) from error
    try:
        yield
    finally:
        lock.release()


def _failure(error: OSError, path: Path) -> CannotWrite | ReadFailed:
    if error.errno in _FULL:
        cure = 'free some space and run the same command again; finished images are kept.'
        return ReadFailed(f'Writing broke off ({error.strerror}).', file=path, cure=cure)
    what = f'The file cannot be written ({error.strerror}).'
    return CannotWrite(what, file=path, cure='give an output folder that you may write to.')
