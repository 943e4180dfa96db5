"""How fast the app is on this machine, step by step, beside what the machine's arithmetic would allow.

Every measurement has a process of its own, so that its memory is its own. Seconds of a processor are the time its
cores worked, shared out among the threads: what a machine takes at best that has nothing else to do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bids_distclip.acquisition.protocols import default_protocol
from bids_distclip.benchmark.arithmetic import (
    dtype_of,
    matmul_rate,
    peak_memory,
    timed,
    volume_operations,
    workers,
)
from bids_distclip.benchmark.engines import as_engine, engines_here
from bids_distclip.benchmark.launches import SCAN, app_spent, help_spent, planning_spent, scan_protocol, write_person
from bids_distclip.harmonizers.base import Target
from bids_distclip.harmonizers.distclip import DistClip
from bids_distclip.harmonizers.styles import prompt_style
from bids_distclip.harmonizers.tissue import make_segment
from bids_distclip.networks.inference import best_precision, run_plane
from bids_distclip.networks.memory import keep_freed_memory
from bids_distclip.networks.weights import load_trained
from bids_distclip.volume.bias import corrected, n4_field
from bids_distclip.volume.image import read_volume, write_volume
from bids_distclip.volume.intensity import brain_scale
from bids_distclip.volume.mask import brain_mask, head_mask
from bids_distclip.volume.planes import bounding_box, fuse
from bids_distclip.volume.prepared import Prepared, evened
from bids_distclip.volume.ras import to_ras
from bids_distclip.volume.tissue import tissue_shares

COLUMNS = ('what', 'how', 'value', 'unit', 'clock', 'bar', 'met')
#: What is asked of the app: at most so much, or at least where it is a share.
BARS = {
    'network': 20.0, 'share of the matmul rate': 0.55, 'app, in times of the network': 1.6, '--help': 0.4,
    'planning one of many people': 1.5, 'peak memory of the engine': 2.0,
}
#: Images of the dataset that the bar of the whole app is meant for: so many times what a second image adds to a run.
DATASET = 10
_AT_LEAST = ('share of the matmul rate',)
PRECISIONS = ('fp32', 'bf16')
#: One measurement: what, how, value, unit, and the seconds of the wall's clock where it is a time.
Measured = tuple[str, str, float, str, float | None]


def measure(
    *, weights: Path | None = None, device: str = 'cpu', batch: int = 8, grid: int = 256, people: int = 10_000
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table.

    ``grid`` is the side of the volume in voxels of 1 mm, ``people`` how many the dataset has of which one is planned.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(write_person, folder / 'data', grid=grid)
        precision, threads, rates = alone(_machine, device)
        yield row('threads', device, threads, '', None)
        for each, rate in rates.items():
            yield row('matmul rate', each, rate / 1e9, 'GFLOP/s', None)
        yield from (row(*found) for found in alone(_steps, folder, weights))
        seconds: dict[str, float] = {}
        for each in PRECISIONS:
            for engine in engines_here(device):
                found = alone(_network, folder, weights, device, each, engine, batch, rates[each])
                seconds[f'{each}, {engine}'] = found[-1][2]
                yield from (row(*one) for one in found)
        yield from (row(*found) for found in alone(_engine, folder, weights, device))
        best = f'{precision}, torch'
        took = []
        for images, what in ((1, 'app, one image'), (2, 'app, two images')):
            out = folder / f'out{images}'
            spent = app_spent(folder / 'data', out, images=images, weights=weights, device=device)
            # A card's work is not in the processor's time: there the clock counts.
            took.append(spent.wall if device.startswith('cuda') else spent.work / threads)
            yield row(what, best, took[-1], 's', spent.wall)
        per_image = one_of_many(*took)
        yield row(f'app, one of {DATASET} images', best, per_image, 's', None)
        yield row('app, in times of the network', best, per_image / seconds[best], '', None)
        spent = help_spent()
        yield row('--help', '', spent.work, 's', spent.wall)
        spent = planning_spent(folder / 'many', people=people)
        yield row('planning one of many people', f'{people} people', spent.work, 's', spent.wall)


def one_of_many(one: float, two: float, *, images: int = DATASET) -> float:
    """Return what each of many images takes, from runs of one and of two: what a run takes once is shared by all.

    >>> one_of_many(30.0, 50.0)
    21.0
    """
    return (one + (images - 1) * (two - one)) / images


def alone(work: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Return what a function returns in a fresh process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(work, *given, **named).result()


def row(what: str, how: str, value: float, unit: str, clock: float | None) -> dict[str, Any]:
    """Return a measurement as a row, held against its bar."""
    made: dict[str, Any] = {'what': what, 'how': how, 'value': float(value), 'unit': unit}
    if clock is not None:
        made['clock'] = float(clock)
    if what in BARS:
        bar = BARS[what]
        made |= {'bar': bar, 'met': 'yes' if (value >= bar if what in _AT_LEAST else value <= bar) else 'no'}
    return made


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of all rows."""
    titles = ('what', 'how', 'value', 'by the clock', 'bar', 'met')
    lines = ['| ' + ' | '.join(titles) + ' |', '|' + '---|' * len(titles)]
    for one in rows:
        sign = ('≥ ' if one['what'] in _AT_LEAST else '≤ ') if 'bar' in one else ''
        value = f'{one["value"]:.3g}' if one['value'] < 1000 else f'{one["value"]:.0f}'
        clock = f'{one["clock"]:.3g} s' if 'clock' in one else ''
        cells = (one['what'], one['how'], f'{value} {one["unit"]}'.strip(), clock, f'{sign}{one.get("bar", "")}')
        lines.append('| ' + ' | '.join((*cells, one.get('met', ''))) + ' |')
    return '\n'.join(lines) + '\n'


def _machine(device: str) -> tuple[str, int, dict[str, float]]:
    """Return the precision the app would take, the threads, and the operations per second by precision."""
    return best_precision(device), workers(device), {each: matmul_rate(each, device=device) for each in PRECISIONS}


def _steps(folder: Path, weights: Path | None) -> list[Measured]:
    """Time what happens to an image beside the engine, and keep it prepared."""
    keep_freed_memory()
    found: list[Measured] = []

    def step(what: str, work: Callable[[], Any]) -> Any:
        answer, spent = timed(work)
        found.append((what, '', spent.work / workers('cpu') if what == 'tissue' else spent.work, 's', spent.wall))
        return answer

    volume = step('read', lambda: read_volume(folder / 'data' / SCAN))
    brain = step('brain mask', lambda: brain_mask(volume))
    head = step('head mask', lambda: head_mask(volume.data) | brain)
    field = step('bias', lambda: n4_field(volume.data, affine=volume.affine, mask=brain))
    volume = volume.with_data(corrected(volume.data, field=field, brain=brain))
    segment = make_segment(weights)
    shares = step('tissue', lambda: tissue_shares(volume, brain, segment) if segment else None)
    if shares:
        volume = step('bias left', lambda: evened(volume, brain, shares))
    tissue = step('tissue settled', lambda: shares.settled(volume) if shares else None)
    step('write', lambda: write_volume(volume, folder / 'written.nii.gz'))
    found.append(('peak memory of preparing', '', peak_memory(), 'GiB', None))
    scale = brain_scale(volume.data, brain)
    Prepared(volume, brain, head, scale, scan_protocol().acquisition, 'T1w', tissue).save(folder / 'prepared.npz')
    return found


def _network(
    folder: Path, weights: Path | None, device: str, precision: str, engine: str, batch: int, rate: float
) -> list[Measured]:
    """Time three planes of the generator on a prepared image by one engine; the last row is the time."""
    keep_freed_memory()
    trained = load_trained(weights, device=device)
    source, target = (prompt_style(trained, one, 'T1w') for one in _acquisitions())
    image = Prepared.load(folder / 'prepared.npz')
    head = to_ras(image.head, image.volume.affine)
    box = bounding_box(head)
    data = np.clip(to_ras(image.volume.data / image.scale, image.volume.affine), 0, None)[box]
    # OpenVINO compiles for every shape: it is shown whole slices.
    seen = np.ones_like(head[box]) if engine == 'openvino' else head[box]
    run = as_engine(trained.generator, engine, precision=precision, batch=batch)

    def plane(axis: int, some: slice = slice(None)) -> np.ndarray:
        part, inside = (np.moveaxis(np.moveaxis(each, axis, 0)[some], 0, axis) for each in (data, seen))
        return run_plane(run, part, head=inside, axis=axis, spacing=(1.0, 1.0, 1.0), source=source, target=target,
                         residual=True, batch=batch,
                         precision=torch.float32 if engine == 'openvino' else dtype_of(precision))

    # The first slices of a plane pay for compiling and for finding the fastest kernels.
    _, first = timed(lambda: [plane(axis, slice(batch)) for axis in range(3)], device=device)
    made, spent = timed(lambda: fuse([plane(axis) for axis in range(3)])[0], device=device)
    how, seconds = f'{precision}, {engine}', spent.work / workers(device)
    operations = volume_operations(trained.generator, seen)
    found: list[Measured] = []
    if how == 'fp32, torch':
        np.save(folder / 'reference.npy', made)
        shape = ' × '.join(map(str, data.shape))
        found.append(('multiply-adds', shape, operations / 2e12, '10¹²', None))
    else:
        off = np.abs(made - np.load(folder / 'reference.npy'))[head[box]]
        found.append(('largest difference to fp32', how, float(off.max()), '', None))
        found.append(('PSNR to fp32', how, float(-10 * np.log10(max(float((off**2).mean()), 1e-12))), 'dB', None))
    found += [
        ('floor', how, operations / rate, 's', None),
        ('first slices', how, first.work / workers(device), 's', first.wall),
        ('peak memory of the network', how, peak_memory(device), 'GiB', None),
        ('share of the matmul rate', how, operations / rate / seconds, '', None),
        ('network', how, seconds, 's', spent.wall),
    ]
    return found


def _engine(folder: Path, weights: Path | None, device: str) -> list[Measured]:
    """Time the engine as the app calls it, uncertainty and styles included."""
    engine = DistClip(weights=weights, device=device)
    image = Prepared.load(folder / 'prepared.npz')
    target = Target('protocol', default_protocol('T1w').name, 'T1w', _acquisitions()[1])
    answer, spent = timed(lambda: engine.harmonize(image, target), device=device)
    how = str(answer.details['precision'])
    return [
        ('engine', how, spent.work / workers(device), 's', spent.wall),
        ('peak memory of the engine', how, peak_memory(), 'GiB', None),
        *([('peak memory of the card', how, peak_memory(device), 'GiB', None)] if device != 'cpu' else []),
    ]  # fmt: skip


def _acquisitions() -> tuple[Any, Any]:
    return scan_protocol().acquisition, default_protocol('T1w').acquisition
