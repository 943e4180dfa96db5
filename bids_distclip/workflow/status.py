"""How each image of a run ended: one small file per image, merged at the end into status.json and an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bids_distclip.dataset.atomic import write_json
from bids_distclip.errors import DistclipError, TryAgain
from bids_distclip.workflow.shortage import short_of


@dataclass(frozen=True)
class Status:
    """How one image ended: ``harmonized``, ``synthetic``, ``abstained``, ``reused``, ``skipped`` or ``failed``."""

    image: str
    subject: str
    session: str | None
    state: str
    reason: str = ''
    code: int = 0
    output: str | None = None
    seconds: float | None = None

    def label(self) -> str:
        """Return ``sub-01 ses-1`` or ``sub-01``."""
        return f'sub-{self.subject}' + (f' ses-{self.session}' if self.session else '')

    def line(self) -> str:
        """Return the stable line that log readers look for, or an ordinary one for an image that did not fail."""
        name = Path(self.image).name
        if self.state == 'failed':
            return f'distclip: FAILED {self.label()} (exit {self.code}): {name}: {self.reason}'
        tail = f': {self.reason}' if self.reason else ''
        took = f' in {self.seconds:.0f} s' if self.seconds is not None else ''
        return f'{self.label()} {name}: {self.state}{took}{tail}'


def failed(error: BaseException, *, image: str, subject: str, session: str | None) -> Status:
    """Return the status of an image that failed with ``error``, with the code of its class."""
    known = isinstance(error, DistclipError)
    reason = str(error) if known else f'{type(error).__name__}: {error}'
    code = error.code if isinstance(error, DistclipError) else _code_of(error)
    return Status(image, subject, session, 'failed', ' '.join(reason.split()), code)


def write_status(folder: Path, *, name: str, status: Status) -> Path:
    """Write one image's status whole or not at all, and return the file."""
    target = folder / f'{name}.json'
    write_json(target, asdict(status))
    return target


def read_statuses(folder: Path) -> dict[str, Status]:
    """Return what :func:`write_status` wrote, by name."""
    files = sorted(folder.glob('*.json')) if folder.is_dir() else []
    return {file.stem: Status(**json.loads(file.read_text())) for file in files}


def merge(path: Path, *, statuses: Iterable[Status], **facts: Any) -> None:
    """Write ``status.json``: facts of the run, counts, and every image."""
    images = [asdict(status) for status in statuses]
    counts: dict[str, int] = {}
    for image in images:
        counts[image['state']] = counts.get(image['state'], 0) + 1
    write_json(path, {**facts, 'counts': counts, 'images': images})


def exit_code(statuses: Iterable[Status]) -> int:
    """Return 0 if nothing failed; 1 if some did; their own code if every image failed with the same.

    Images that were skipped do not count, unless nothing else is left: see :func:`bids_distclip.workflow.plan`.
    """
    tried = [status for status in statuses if status.state != 'skipped']
    codes = {status.code for status in tried if status.state == 'failed'}
    if not codes:
        return 0
    alone = all(status.state == 'failed' for status in tried)
    return codes.pop() if alone and len(codes) == 1 else 1


def _code_of(error: BaseException) -> int:
    if short_of(error):
        return TryAgain.code
    return 74 if isinstance(error, OSError | EOFError) else 1
