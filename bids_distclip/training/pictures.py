"""Pictures of a training in progress: a few slices that stay the same, as they are and as they are rendered."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from bids_distclip.errors import UsageError
from bids_distclip.simulation.stream import Batch
from bids_distclip.training.batch import is_paired
from bids_distclip.training.terms import Made

COLUMNS = ('source', 'true target', 'own contrast', 'target contrast', 'target − true')
#: Intensities of the pictures, in units of the intensity scale, and of their differences.
WINDOW, APART = (0.0, 1.1), 0.3


class Gallery:
    """Writes ``step-NNNNNN.png`` into a folder at every so many steps; ``render`` makes pictures of the batch."""

    def __init__(self, folder: Path, batch: Batch, *, every: int, render: Callable[[Batch, int], Made]) -> None:
        if importlib.util.find_spec('matplotlib') is None:
            raise UsageError('Pictures need the library matplotlib.', cure='Install it, or leave out --pictures.')
        self.folder, self.batch, self.every, self.render = folder, batch, every, render

    def __call__(self, step: int) -> None:
        """Write the pictures of a step, if it is one of those that have any."""
        if step % self.every == 0:
            path = self.folder / f'step-{step:06}.png'
            write_grid(path, self.batch, self.render(self.batch, 0), title=f'step {step}')


def write_grid(path: Path, batch: Batch, made: Made, *, title: str = '') -> Path:
    """Draw one row per slice and direction (the first picture to the second and back) with :data:`COLUMNS`.

    Where there is no true picture of the target, the picture whose style was asked for stands in its place, and
    there is no difference.
    """
    from matplotlib.figure import Figure

    slices = len(batch.clean)
    rows = [(s, p) for s in range(slices) for p in range(2)]
    figure = Figure(figsize=(2 * len(COLUMNS), 2.15 * len(rows) + 0.4), layout='constrained')
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(len(rows), len(COLUMNS), squeeze=False)
    paired = is_paired(batch)
    for line, (s, p) in zip(axes, rows, strict=True):
        families = [batch.protocols[s][q].family for q in (p, 1 - p)]
        index = s + p * slices
        source, target = batch.noisy[s, p].numpy(), batch.clean[s, 1 - p].numpy()
        own, cross = (_array(t[index, 0]) for t in (made.own, made.cross))
        apart = cross - target if paired[s] else np.full_like(cross, np.nan)
        for axis, picture, name in zip(line, (source, target, own, cross, apart), COLUMNS, strict=True):
            signed = name == COLUMNS[-1]
            low, high = (-APART, APART) if signed else WINDOW
            # Slices are (right, anterior) or the like: shown with the first axis to the right, the second up.
            axis.imshow(picture.T, cmap='RdBu_r' if signed else 'gray', vmin=low, vmax=high, origin='lower')
            axis.set_axis_off()
        names = [families[0], families[1] if paired[s] else f'{families[1]}, another slice', families[0], families[1]]
        names.append(f'mean |difference| {np.abs(apart).mean():.3f}' if paired[s] else 'no true picture')
        for axis, column, name in zip(line, COLUMNS, names, strict=True):
            axis.set_title(f'{column}: {name}' if column != COLUMNS[-1] else name, fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _array(image: Tensor) -> np.ndarray:
    return np.asarray(image.detach().float().cpu())
