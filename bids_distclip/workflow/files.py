"""What passes between the steps of a run on disk: harmonized arrays, hashes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from bids_distclip.harmonizers.base import Harmonized


def save_harmonized(result: Harmonized, *, path: Path) -> Path:
    """Write a harmonizer's answer into one uncompressed file and return it."""
    arrays = {'data': result.data}
    if result.uncertainty is not None:
        arrays['uncertainty'] = result.uncertainty
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, details=np.array(json.dumps(dict(result.details), default=str)), **arrays)
    return path


def load_harmonized(path: Path) -> Harmonized:
    """Read what :func:`save_harmonized` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        uncertainty = stored['uncertainty'] if 'uncertainty' in stored else None
        return Harmonized(stored['data'], uncertainty, json.loads(str(stored['details'])))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with Path(path).open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') else _digest(stream)


def _digest(stream) -> str:
    found = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b''):
        found.update(block)
    return found.hexdigest()
