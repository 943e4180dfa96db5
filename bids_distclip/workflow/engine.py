"""The engine of a run: made once per worker, and asked once more for less where a card's memory runs out."""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_distclip.workflow.shortage import short_of

if TYPE_CHECKING:
    from bids_distclip.harmonizers.base import Harmonized, Harmonizer, Target
    from bids_distclip.settings import Settings
    from bids_distclip.volume.prepared import Prepared

log = logging.getLogger('bids_distclip')


def run_engine(
    settings: Settings, *, device: str, source: Prepared, target: Target, synthesize: bool, name: str
) -> Harmonized:
    """Harmonize an image, ``name`` in the log; where the card runs out of memory, once more with half the batch."""
    engine = harmonizer(settings.engine, engine_options(settings, device=device))
    half = int(getattr(engine, 'batch_size', 0)) // 2
    try:
        return engine.harmonize(source, target, synthesize=synthesize)
    except Exception as error:
        if short_of(error) != 'card' or not half:
            raise
    # Not before the except clause has ended are the arrays of the first try free.
    log.warning('%s: the memory of the card ran out; trying again with %d slices at once.', name, half)
    spared = settings.model_copy(update={'batch_size': half})
    engine = harmonizer(settings.engine, engine_options(spared, device=device))
    return engine.harmonize(source, target, synthesize=synthesize)


@functools.lru_cache(maxsize=2)
def harmonizer(name: str, options: str) -> Harmonizer:
    """Return an engine, kept in this worker for the sessions that follow; ``options`` is JSON."""
    from bids_distclip.harmonizers.registry import get_harmonizer

    given: dict[str, Any] = json.loads(options)
    if given.get('weights'):
        given['weights'] = Path(given['weights'])
    return get_harmonizer(name, **given)


def engine_options(settings: Settings, *, device: str) -> str:
    """Return the options of the engine as JSON; only the learned engine has any."""
    if settings.engine != 'distclip':
        return '{}'
    given = {'weights': settings.weights and str(settings.weights), 'batch_size': settings.batch_size,
             'planes': settings.planes,
             'hold_tissue': None if settings.tissue_brightness == 'held' else False}
    return json.dumps({'device': device, **{k: v for k, v in given.items() if v is not None}}, sort_keys=True)
