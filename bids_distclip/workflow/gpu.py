"""Which cards there are, which one a run takes, and a lease so that jobs on one machine do not meet on a card."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bids_distclip.errors import TryAgain, UsageError

log = logging.getLogger('bids_distclip')

# Asked in a child process: the parent must never hold a CUDA context, nor import torch before its workers start.
_PROBE = """
import json, torch
cards = []
for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    p = torch.cuda.get_device_properties(i)
    cards.append(dict(index=i, name=p.name, uuid=str(getattr(p, 'uuid', i)), memory_gb=p.total_memory / 1e9))
print(json.dumps(dict(cards=cards, build=torch.version.cuda)))
"""


@dataclass(frozen=True)
class Card:
    """One visible graphics card; ``index`` counts among the visible ones, ``memory_gb`` is in gigabytes."""

    index: int
    name: str
    uuid: str
    memory_gb: float

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def visible_cards() -> tuple[Card, ...]:
    """Return the cards torch can use, found in a child process; none if no driver is there."""
    if not Path('/dev/nvidiactl').exists() and shutil.which('nvidia-smi') is None:
        return ()
    probe = subprocess.run([sys.executable, '-c', _PROBE], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        log.warning('The cards could not be listed: %s', probe.stderr.strip().splitlines()[-1:])
        return ()
    found = json.loads(probe.stdout.strip().splitlines()[-1])
    if not found['cards'] and not found['build']:
        log.warning('There is an NVIDIA driver, but this torch was built for processors only.')
    return tuple(Card(**card) for card in found['cards'])


def choose_cards(device: str, *, cards: Sequence[Card] | None = None) -> tuple[Card, ...]:
    """Return the cards a run with ``--device device`` may use; none means the processor.

    Raises
    ------
    bids_distclip.errors.UsageError
        If a card was asked for and is not there.
    """
    if device == 'cpu':
        return ()
    found = visible_cards() if cards is None else tuple(cards)
    if device == 'auto':
        return found
    wanted = found if device == 'cuda' else tuple(c for c in found if f'cuda:{c.index}' == device)
    if not wanted:
        seen = ', '.join(f'cuda:{c.index} {c.name}' for c in found) or 'none'
        raise UsageError(
            f'--device {device} was asked for, but torch sees no such card (cards: {seen}).',
            cure='use --device cpu or auto, start the container with --nv or --gpus all, '
            'or ask the scheduler for a card.',
        )
    return wanted


@contextmanager
def lease(
    cards: Sequence[Card], *, slots: int = 1, wait_s: float = 3600.0, folder: Path | None = None
) -> Iterator[Card]:
    """Hold one of ``slots`` places on one of the cards, and yield the card.

    Locks are files in the temporary folder named by the card's UUID, so that separate jobs respect each other.

    Raises
    ------
    bids_distclip.errors.TryAgain
        If no place becomes free within ``wait_s`` seconds.
    """
    root = Path(tempfile.gettempdir()) if folder is None else folder
    deadline, told = time.monotonic() + wait_s, False
    while True:
        for slot in range(slots):
            for card in cards:
                lock = FileLock(root / f'distclip-gpu-{card.uuid}-{slot}.lock', mode=0o666)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                try:
                    yield card
                finally:
                    lock.release()
                return
        if time.monotonic() > deadline:
            raise TryAgain('Every graphics card stayed busy.', cure='run the same command again, or use --device cpu.')
        if not told:
            log.info('Every graphics card is busy; waiting for a place.')
            told = True
        time.sleep(0.2)
