"""The engine a run will use and the digest of its weights, without loading it: planning needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bids_distclip.errors import NoInput, UsageError
from bids_distclip.harmonizers.registry import check_name
from bids_distclip.workflow.targets import TargetSpec

#: Where the default weights are shipped, and the files that count, in this order, as in ``networks/weights.py``.
SHIPPED = Path(__file__).parent.parent / 'weights'
FILES = ('distclip.safetensors', 'mrclip.safetensors')
#: Counts where it is there; and the map of the same acquisitions, which decides nothing.
BANK, MAP = 'bank.safetensors', 'acquisitions.tsv'

#: Engines that learn from a target image and know nothing of metadata.
NEED_IMAGE = ('histogram', 'nyul', 'whitestripe')


def check_engine(engine: str, *, targets: Sequence[TargetSpec]) -> None:
    """Raise UsageError if there is no such engine here, or it needs a target image and has none."""
    check_name(engine)
    if engine in NEED_IMAGE and not all(target.image for target in targets):
        raise UsageError(f'The engine {engine} needs a target image.', cure='give --target-image, or use distclip.')


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
    bank = (weights or SHIPPED) / BANK
    if bank.is_file():
        digest.update(bank.read_bytes())
    return digest.hexdigest()


def known_acquisitions(weights: Path | None) -> Path:
    """Return the table of where the acquisitions lie that the weights know; it need not be there."""
    return (weights or SHIPPED) / MAP
