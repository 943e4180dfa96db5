"""The digest of the weights a run will use, without loading them and without torch: planning needs no more."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bids_distclip.errors import NoInput

#: Where the default weights are shipped, and the files that count, in this order, as in ``networks/weights.py``.
SHIPPED = Path(__file__).parent.parent / 'weights'
FILES = ('distclip.safetensors', 'mrclip.safetensors')


def engine_weights_sha256(engine: str, *, weights: Path | None) -> str | None:
    """Return one digest over the engine's weight files; None for an engine without weights.

    Raises
    ------
    bids_distclip.errors.NoInput
        If a file is missing.
    """
    if engine != 'distclip':
        return None
    digest = hashlib.sha256()
    for name in FILES:
        path = (weights or SHIPPED) / name
        if not path.is_file():
            raise NoInput('The weights of the engine are missing.', file=path,
                          cure='give a folder that holds them with --weights, or install the package again.')
        digest.update(path.read_bytes())
    return digest.hexdigest()
