"""The curve of a training: means of its loss terms between two lines of a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from bids_distclip.training.devices import ALONE, Crew


class Curve:
    """A table of means by step. A term that comes up later than the first line gets a column of its own."""

    def __init__(self, path: Path, *, about: str = '') -> None:
        self.path, self.about = path, about
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Count the terms of one step; a term need not be in every step."""
        for name, value in parts.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + float(value.detach()), count + 1

    def write(self, step: int, *, seconds: float | None = None, crew: Crew = ALONE) -> dict[str, float]:
        """Write, print and forget the means since the last line, over all processes; the first one writes."""
        means = _means(crew.gather(self._sums))
        self._sums = {}
        if crew.first:
            pace = '' if seconds is None else f'{seconds:.2f} s/step  '
            about = f'{self.about}  ' if self.about else ''
            print(f'step {step}  {about}{pace}' + '  '.join(f'{k} {v:.4f}' for k, v in means.items()), flush=True)
            self._append({'step': str(step), **{name: f'{value:.6g}' for name, value in means.items()}})
        return means

    def _append(self, row: Mapping[str, str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = list(_read(self.path))
        columns = list(dict.fromkeys([*(rows[0] if rows else ()), *row]))
        fresh = not rows or columns != list(rows[0])
        with self.path.open('w' if fresh else 'a', encoding='utf-8', newline='') as stream:
            writer = csv.DictWriter(stream, columns, delimiter='\t', restval='')
            if fresh:
                writer.writeheader()
                writer.writerows(rows)
            writer.writerow(row)


def _means(told: list[dict[str, tuple[float, int]]]) -> dict[str, float]:
    names = dict.fromkeys(name for sums in told for name in sums)
    every = {name: [sums[name] for sums in told if name in sums] for name in names}
    return {name: sum(t for t, _ in pairs) / sum(n for _, n in pairs) for name, pairs in every.items()}


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding='utf-8', newline='') as stream:
        return list(csv.DictReader(stream, delimiter='\t'))
