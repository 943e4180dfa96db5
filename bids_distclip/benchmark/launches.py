"""Data to time the app on, and how long its command line takes: for one image, for help, for one of many people."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_distclip.benchmark.arithmetic import Spent
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.simulation.volumes import simulate_volumes

#: Where the one image lies below its dataset, and another of the same head.
SCAN, TWIN = (Path(f'sub-{label}') / 'anat' / f'sub-{label}_T1w.nii.gz' for label in ('01', '02'))
#: Voxels of 1 mm that the geometric head needs, with some air around it.
_SIZE = (172, 212, 204)
_GAIN, _NOISE = 800.0, 0.01


def write_person(root: Path, *, grid: int = 256) -> Path:
    """Write a BIDS dataset of one geometric head, a T1w of ``grid`` cubed voxels of 1 mm, twice; return its folder.

    The second has other noise, so that nothing of the first can do for it.
    """
    chosen = scan_protocol()
    size = min(_SIZE[0], grid), min(_SIZE[1], grid), min(_SIZE[2], grid)
    made = simulate_volumes(Head(phantom(), seed=0, deform_mm=2.0), [chosen], size=size, seed=0)[0]
    rng = np.random.default_rng(0)
    corner = [(grid - n) // 2 for n in size]
    affine = made.affine.copy()
    affine[:3, 3] -= corner
    _describe(root, chosen)
    for path in (SCAN, TWIN):
        whole = np.abs(rng.normal(0, _NOISE, (grid,) * 3)).astype(np.float32)
        whole[tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))] += made.image
        _save(root / path, np.clip(np.round(whole * _GAIN), 0, 32767).astype(np.int16), affine)
    return root


def scan_protocol() -> Protocol:
    """Return the protocol the head is scanned with."""
    return draw_protocol(np.random.default_rng(1), family='T1w')


def write_people(root: Path, *, people: int) -> Path:
    """Write a dataset of many people whose images are one and the same small file, and return its folder."""
    _describe(root, scan_protocol())
    first = root / 'sub-00001' / 'anat' / 'sub-00001_T1w.nii.gz'
    _save(first, np.arange(512, dtype=np.int16).reshape(8, 8, 8), np.eye(4))
    for number in range(2, people + 1):
        path = root / f'sub-{number:05d}' / 'anat' / f'sub-{number:05d}_T1w.nii.gz'
        path.parent.mkdir(parents=True)
        path.hardlink_to(first)
    return root


def _describe(root: Path, chosen: Protocol) -> None:
    root.mkdir(parents=True)
    about = {'Name': 'Phantoms to time the app with', 'BIDSVersion': '1.10.0', 'License': 'CC0', 'Authors': ['nobody']}
    (root / 'dataset_description.json').write_text(json.dumps(about), encoding='utf-8')
    (root / 'README').write_text('Phantoms; no person is behind them.\n', encoding='utf-8')
    (root / 'T1w.json').write_text(json.dumps(dict(chosen.sidecar)), encoding='utf-8')


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, path)


def launched(words: Sequence[str]) -> Spent:
    """Run the app with some words and return what its process took; raise RuntimeError where it fails."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, '-m', 'bids_distclip', *words], capture_output=True, text=True, check=False,
                          env={**os.environ, 'OMP_WAIT_POLICY': 'PASSIVE'})
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f'bids_distclip ended with {done.returncode}: {(done.stdout + done.stderr)[-1000:]}')
    return Spent(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def help_spent(*, repeats: int = 5) -> Spent:
    """Return what ``bids_distclip --help`` takes, the best of several."""
    return min((launched(['--help']) for _ in range(repeats)), key=lambda spent: spent.work)


def app_spent(data: Path, out: Path, *, images: int, weights: Path | None, device: str) -> Spent:
    """Return what the app takes for one or both images of :func:`write_person`'s dataset, from start to page.

    Every step runs in the process of the app itself: the time of workers that outlive it would be nobody's.
    """
    plugin = out.parent / f'{out.name}_plugin.yaml'
    plugin.write_text('plugin: Linear\n', encoding='utf-8')
    words = [str(data), str(out), 'participant', '--skip-bids-validation', '--notrack', '--device', device,
             '--use-plugin', str(plugin), '--participant-label', *('01', '02')[:images]]
    return launched([*words, *(['--weights', str(weights)] if weights else [])])


def planning_spent(folder: Path, *, people: int, repeats: int = 3) -> Spent:
    """Return what planning one of many people takes, the best of several; the dataset is written first."""
    data = write_people(folder / 'data', people=people)
    words = [str(data), str(folder / 'out'), 'participant', '--dry-run', '--skip-bids-validation', '--notrack',
             '--participant-label', f'{people:05d}']
    return min((launched(words) for _ in range(repeats)), key=lambda spent: spent.work)
