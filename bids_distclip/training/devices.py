"""Several processes that train one model, one device each, by ``accelerate``; one alone needs no library."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bids_distclip import errors
from bids_distclip.errors import DistclipError, TryAgain, UsageError

#: How long a process waits for another: preparing the images of a dataset takes hours, not the usual ten minutes.
#: One that ends is noticed at once all the same, by what started it.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Crew:
    """The processes that train together: which of them this one is, and of how many."""

    rank: int = 0
    size: int = 1
    accelerator: Any = None

    @property
    def first(self) -> bool:
        """Tell whether this process writes checkpoints and curves."""
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every process the mean of the gradients; a parameter that no process has one for is left out."""
        if self.size == 1:
            return
        device = parameters[0].device
        has = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
        any_has = (self.accelerator.reduce(has, reduction='sum') > 0).tolist()
        used = [p for p, one in zip(parameters, any_has, strict=True) if one]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
        flat = self.accelerator.reduce(torch.cat([g.float().flatten() for g in grads]), reduction='mean')
        for p, part in zip(used, flat.split([p.numel() for p in used]), strict=True):
            p.grad = part.view_as(p).to(p.dtype)

    def agree(self, flag: bool) -> bool:
        """Return whether any process says so, the same for all."""
        if self.size == 1:
            return flag
        said = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(said, reduction='sum') > 0)

    def gather(self, one: Any) -> list[Any]:
        """Return what every process holds."""
        if self.size == 1:
            return [one]
        from accelerate.utils import gather_object

        return list(gather_object([one]))

    def first_goes_ahead(self) -> AbstractContextManager[None]:
        """Let the first process through a block before the others, which then find done what it did there."""
        return nullcontext() if self.size == 1 else self.accelerator.main_process_first()


#: The crew of a training on one device.
ALONE = Crew()


def join(device: str) -> Crew:
    """Return the crew that this process was started in (by :func:`launch` or ``torchrun``), or of it alone."""
    size = int(os.environ.get('WORLD_SIZE', '1'))
    if size == 1:
        return ALONE
    library = _accelerate()
    patience = library.InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = library.Accelerator(cpu=device == 'cpu', kwargs_handlers=[patience])
    return Crew(accelerator.process_index, accelerator.num_processes, accelerator)


def device_of(crew: Crew, device: str) -> str:
    """Return the device this process works on: its own card where there are several."""
    return device if crew.size == 1 else str(crew.accelerator.device)


def launch(work: Callable[[Any], int], args: Any, *, devices: int, device: str = 'cpu') -> int:
    """Run ``work(args)`` in as many processes, which find each other by :func:`join`; return the first one's answer.

    Raises
    ------
    UsageError
        If the library is missing, or so many cards.
    DistclipError
        What a process raised; the others are ended.
    """
    _accelerate()
    if device.startswith('cuda') and devices > torch.cuda.device_count():
        cure = 'Ask for fewer devices, or give --device cpu.'
        raise UsageError(f'There are {torch.cuda.device_count()} cards, not {devices}.', cure=cure)
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) // devices)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        rdzv_backend='c10d',
        rdzv_endpoint='localhost:0',
        run_id='distclip',
        max_restarts=0,
        start_method='spawn',
    )
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / 'failed.json'
        try:
            return int(elastic_launch(config, _run)(work, args, str(note))[0])
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise _failure(note, f'Training process {rank} of {devices} failed: {failure.message}') from error


def _run(work: Callable[[Any], int], args: Any, note: str) -> int:
    """Run in a process of its own; write down what a user can act on."""
    try:
        return work(args)
    except DistclipError as error:
        told = {'kind': type(error).__name__, 'what': error.what, 'file': error.file, 'cure': error.cure}
        Path(note).write_text(json.dumps(told), encoding='utf-8')
        raise


def _failure(note: Path, otherwise: str) -> DistclipError:
    if not note.exists():
        return TryAgain(otherwise, cure='Repair what it says and start the same command again.')
    told = json.loads(note.read_text(encoding='utf-8'))
    kind = getattr(errors, told.pop('kind'))
    return kind(told.pop('what'), **told)


def launched() -> bool:
    """Tell whether this process is one of several that train together."""
    return int(os.environ.get('WORLD_SIZE', '1')) > 1


def _accelerate() -> Any:
    try:
        import accelerate
    except ImportError as error:
        cure = "Install it: pip install 'bids_distclip[train]'; or train on one device."
        raise UsageError('Several devices need the library accelerate.', cure=cure) from error
    return accelerate
