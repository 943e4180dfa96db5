"""What every step of a run must know: the settings, the folders, the targets, the cards."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock

from bids_distclip.errors import CannotWrite
from bids_distclip.settings import Settings
from bids_distclip.workflow.gpu import Card
from bids_distclip.workflow.targets import TargetSpec


@dataclass(frozen=True)
class Run:
    """One run of the app, as its steps in worker processes see it.

    ``scheduled``: the cards are those that a cluster's scheduler gives to each job; this machine need not have any.
    """

    run_id: str
    settings: Settings
    work: Path
    targets: tuple[TargetSpec, ...]
    cards: tuple[Card, ...]
    gpu_slots: int = 1
    weights_sha256: str | None = None
    scheduled: bool = False

    @property
    def on_card(self) -> bool:
        """Tell whether the harmonize steps compute on cards."""
        return self.scheduled or bool(self.cards)

    @property
    def output_dir(self) -> Path:
        """Return the derivative dataset's folder."""
        return self.settings.output_dir

    @property
    def logs(self) -> Path:
        """Return ``logs/<run id>`` of the derivative."""
        return self.output_dir / 'logs' / self.run_id

    @property
    def statuses(self) -> Path:
        """Return the folder of the per-image status files."""
        return self.logs / 'status'

    def target(self, name: str) -> TargetSpec:
        """Return the target of that name."""
        return next(target for target in self.targets if target.name == name)

    def save(self) -> Path:
        """Write the run as JSON into its work folder and return the file."""
        path = self.work / 'run.json'
        path.write_text(json.dumps({
            'run_id': self.run_id, 'settings': self.settings.model_dump(mode='json'), 'work': str(self.work),
            'targets': [target.to_dict() for target in self.targets],
            'cards': [card.to_dict() for card in self.cards], 'gpu_slots': self.gpu_slots,
            'weights_sha256': self.weights_sha256, 'scheduled': self.scheduled,
        }, indent=2))
        return path

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read what :meth:`save` wrote."""
        raw: dict[str, Any] = json.loads(Path(path).read_text())
        return cls(
            run_id=raw['run_id'], settings=Settings(**raw['settings']), work=Path(raw['work']),
            targets=tuple(TargetSpec.from_dict(t) for t in raw['targets']),
            cards=tuple(Card(**card) for card in raw['cards']), gpu_slots=raw['gpu_slots'],
            weights_sha256=raw['weights_sha256'], scheduled=raw['scheduled'],
        )


def new_run_id() -> str:
    """Return a name for a run that sorts by time and never repeats."""
    now = datetime.now(timezone.utc)
    return f'{now:%Y%m%d-%H%M%S}_{secrets.token_hex(4)}'


def work_root(settings: Settings) -> Path:
    """Return this app's own part of the work folder, so that cleaning never touches anything else."""
    base = settings.work_dir or Path(tempfile.gettempdir()) / f'distclip-work-{os.getuid()}'
    return base / 'distclip_wf'


@contextlib.contextmanager
def open_work(settings: Settings, *, run_id: str) -> Iterator[Path]:
    """Make the run's own work folder, and remove it in the end unless it is to stay.

    While the run lasts it holds a lock beside the folder. Only folders that nobody holds are cleaned at the start: what
    other runs, which may be jobs of the same batch, work with is left.
    """
    root = work_root(settings)
    root.mkdir(parents=True, exist_ok=True)
    work = root / run_id
    with _held(work):
        work.mkdir()
        if settings.clean_workdir == 'start':
            for other in sorted(path for path in root.iterdir() if path.is_dir() and path != work):
                _clean(other)
        try:
            yield work
        finally:
            if settings.clean_workdir != 'never':
                shutil.rmtree(work, ignore_errors=True)
                _lock_file(work).unlink(missing_ok=True)


def _lock_file(work: Path) -> Path:
    return work.with_name(f'{work.name}.lock')


@contextlib.contextmanager
def _held(work: Path) -> Iterator[None]:
    # Some file systems of clusters know no locks: there a run is not protected, and cleans nothing of others.
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):
            stack.enter_context(FileLock(_lock_file(work), timeout=0))
        yield


def _clean(work: Path) -> None:
    """Remove the folder of a run that has ended."""
    with contextlib.suppress(OSError, NotImplementedError), FileLock(_lock_file(work), timeout=0):
        shutil.rmtree(work, ignore_errors=True)
        _lock_file(work).unlink(missing_ok=True)


def probe_writable(folder: Path, *, option: str) -> None:
    """Write and remove a probe file; raises CannotWrite with what to mount or change."""
    # Processes of two containers that share a folder often have the same number.
    probe = folder / f'.distclip-probe-{uuid.uuid4().hex}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b'probe')
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(
            f'The folder cannot be written ({error.strerror or error}).', file=folder,
            cure=f'give a writable {option}; in a container, mount one there (-v or --bind HOST:{folder}).',
        ) from error
