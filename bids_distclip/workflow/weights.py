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
#: Count where they are there, in this order; and the map of known acquisitions, which decides nothing.
OPTIONAL, MAP = ('bank.safetensors', 'photometer.safetensors', 'segmenter.safetensors'), 'acquisitions.tsv'

#: Engines that learn from a target image and know nothing of metadata.
NEED_IMAGE = ('histogram', 'nyul', 'whitestripe')


def check_engine(engine: str, *, targets: Sequence[TargetSpec]) -> None:
    """Raise UsageError if there is no such engine here, or it needs a target image and has none."""
    check_name(engine)
    if engine in NEED_IMAGE and not all(target.image for target in targets):
        raise UsageError(f'The engine {engine} needs a target image.', cure='give --target-image, or use distclip.')


def engine_weights_sha256(engine: str, *, weights: Path | None) -> str | None:
    """Return one digest over the files of weights that decide a result; None where there are none.

    An engine without weights of its own has the segmenter's alone, which finds the brain.

    Raises
    ------
    bids_distclip.errors.NoInput
        If a file is missing.
    """
    folder = weights or SHIPPED
    needed = [folder / name for name in FILES] if engine == 'distclip' else []
    for path in needed:
        if not path.is_file():
            raise NoInput('The weights of the engine are missing.', file=path,
                          cure='give a folder that holds them with --weights, or install the package again.')
    others = [folder / name for name in (OPTIONAL if engine == 'distclip' else OPTIONAL[-1:])]
    digest, files = hashlib.sha256(), [*needed, *(path for path in others if path.is_file())]
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest() if files else None


def known_acquisitions(weights: Path | None) -> Path:
    """Return the table of where the acquisitions lie that the weights know; it need not be there."""
    return (weights or SHIPPED) / MAP
