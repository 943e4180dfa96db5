"""Answers about MR-CLIP as a table, and its map as a picture."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bids_distclip.simulation.protocol import Protocol


@dataclass(frozen=True)
class Answer:
    """One number: what was asked, about which part of the acquisitions, the value, that of chance, from how many."""

    question: str
    part: str
    value: float
    chance: float
    count: int

    def __str__(self) -> str:
        return f'{self.value:6.3f}  (chance {self.chance:.3f}, of {self.count})  {self.question}: {self.part}'


def draw_map(seen: Tensor, told: Tensor, protocols: Sequence[Protocol], path: Path) -> Path:
    """Draw prompts and pictures ``(P, D)`` on the prompts' first two principal axes, by family and by vendor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 10.5))
    FigureCanvasAgg(figure)
    centre = told.mean(0)
    axes = torch.linalg.svd(told - centre, full_matrices=False)[2][:2]
    places = {'prompts': (told - centre) @ axes.T, 'pictures': (seen - centre) @ axes.T}
    by = {
        'contrast family': np.array([p.family for p in protocols]),
        'manufacturer': np.array([str(p.acquisition.manufacturer) for p in protocols]),
    }
    for row, (what, place) in enumerate(places.items()):
        for column, (name, labels) in enumerate(by.items()):
            part = figure.add_subplot(2, 2, 1 + 2 * row + column)
            for label in np.unique(labels):
                x, y = place[torch.as_tensor(labels == label)].T.numpy()
                part.plot(x, y, '.', markersize=4, alpha=0.7, label=label)
            part.set_title(f'{what}, by {name}', fontsize=11)
            part.legend(fontsize=8, markerscale=2)
            part.set_xticks([])
            part.set_yticks([])
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    return path


def write_answers(answers: Iterable[Answer], path: Path) -> Path:
    """Write answers as TSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', encoding='utf-8', newline='') as stream:
        writer = csv.writer(stream, delimiter='\t', lineterminator='\n')
        writer.writerow(('question', 'part', 'value', 'chance', 'count'))
        for a in answers:
            writer.writerow((a.question, a.part, f'{a.value:.4f}', f'{a.chance:.4f}', a.count))
    return path
