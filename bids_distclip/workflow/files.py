"""What passes between the steps of a run on disk: harmonized arrays."""

from __future__ import annotations

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
    arrays['details'] = np.array(json.dumps(dict(result.details), default=str))
    np.savez(path, allow_pickle=False, **arrays)
    return path


def load_harmonized(path: Path) -> Harmonized:
    """Read what :func:`save_harmonized` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        uncertainty = stored.get('uncertainty')
        return Harmonized(stored['data'], uncertainty, json.loads(str(stored['details'])))

