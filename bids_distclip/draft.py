"""A file that is written beside its place and put there whole."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Give a hidden file beside ``path`` to write to, and put it there if nothing went wrong, else remove it.

    Its name never repeats: processes of two containers that share a folder often have the same number.
    """
    hidden = path.with_name(f'.{path.name}.tmp-{uuid.uuid4().hex[:12]}')
    try:
        yield hidden
        os.replace(hidden, path)
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)
