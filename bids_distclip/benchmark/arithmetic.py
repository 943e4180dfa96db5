"""What a machine can multiply in a second, and what a generator has to multiply: the floor below every engine."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bids_distclip.networks.generator import Generator
from bids_distclip.networks.windows import sides, slice_windows

T = TypeVar('T')


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock, and seconds of work: of one core each on a processor, of the card on a card."""

    wall: float
    work: float


def timed(work: Callable[[], T], *, device: str = 'cpu') -> tuple[T, Spent]:
    """Return what ``work`` returns and what it took; a card is waited for."""
    on_card = device.startswith('cuda')
    if on_card:
        torch.cuda.synchronize(device)
    wall, busy = time.perf_counter(), time.process_time()
    answer = work()
    if on_card:
        torch.cuda.synchronize(device)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    return answer, Spent(wall, wall if on_card else busy)


def workers(device: str) -> int:
    """Return how many share the work: threads of a processor, one card."""
    return 1 if device.startswith('cuda') else torch.get_num_threads()


def dtype_of(precision: str) -> torch.dtype:
    """Return the floating point type of ``fp32`` or ``bf16``."""
    return {'fp32': torch.float32, 'bf16': torch.bfloat16}[precision]


def matmul_rate(precision: str, *, device: str = 'cpu', size: int | None = None, repeats: int = 8) -> float:
    """Return operations per second (two for a multiplication and its addition) of a square matrix product.

    The best of several; on a processor what one core does in its own time, times the threads, because other programs
    may take part of the clock's.
    """
    size = size or (8192 if device.startswith('cuda') else 2048)
    one, other = (torch.rand(size, size, device=device).to(dtype_of(precision)) for _ in range(2))
    best = min(timed(lambda: one @ other, device=device)[1].work for _ in range(repeats + 1))
    return 2 * size**3 / max(best, 1e-9) * workers(device)


def slice_operations(generator: Generator, shape: tuple[int, int]) -> int:
    """Return the operations (two for a multiplication and its addition) of one slice changed from style to style.

    Convolutions and matrix products are counted; nothing is computed.
    """
    model = copy.deepcopy(generator).to('meta')
    sides = [n + -n % model.mapper.multiple for n in shape]
    slices = torch.empty(1, 1, *sides, device='meta')
    style = torch.empty(1, model.options.style, device='meta')
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.change(slices, style, style)
    return int(counter.get_total_flops())


def volume_operations(generator: Generator, head: np.ndarray, *, axes: Sequence[int] = (0, 1, 2)) -> int:
    """Return the operations of all slices of a head, a boolean mask ``(X, Y, Z)`` of 1 mm, cut perpendicular to
    ``axes``, each in its window."""
    count: Counter[tuple[int, int]] = Counter()
    for axis in axes:
        seen = np.moveaxis(head, axis, 0)
        seen = seen[seen.any((1, 2))]
        count.update(map(sides, slice_windows(seen, pixel=(1.0, 1.0), step=generator.mapper.multiple)))
    return sum(times * slice_operations(generator, shape) for shape, times in count.items())


def peak_memory(device: str = 'cpu') -> float:
    """Return the most memory (GiB) this process has held since it began; of a card's, what torch had of it."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path('/proc/self/status')
    if status.exists():
        # The rusage of a process counts what its parent held when it was started; this does not.
        lines = dict(line.split(':', 1) for line in status.read_text().splitlines() if ':' in line)
        return int(lines['VmHWM'].split()[0]) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
