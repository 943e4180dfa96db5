"""Pictures of benchmark cases, to be looked at: source, answer, truth and what differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_distclip.benchmark.cases import Case


def draw_case(case: Case, engine: str, made: np.ndarray, folder: Path) -> Path:
    """Write a PNG with three planes of source, engine's answer, truth and signed difference; return its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    middle = [int(np.median(i)) for i in np.nonzero(case.source.brain)]
    truth = case.truth * case.source.brain
    source = case.source.volume.data / case.source.scale
    columns = (
        ('source', source, 'gray', 0, 1.1),
        (engine, made, 'gray', 0, 1.1),
        ('truth', truth, 'gray', 0, 1.1),
        ('difference', made - np.clip(truth, 0, 1), 'RdBu_r', -0.4, 0.4),
    )
    figure = Figure(figsize=(12, 9.5))
    FigureCanvasAgg(figure)
    for row, axis in enumerate((2, 1, 0)):
        for column, (title, data, colors, low, high) in enumerate(columns):
            place = figure.add_subplot(3, 4, 4 * row + column + 1)
            place.imshow(np.take(data, middle[axis], axis=axis).T, origin='lower', cmap=colors, vmin=low, vmax=high)
            place.set_axis_off()
            if row == 0:
                place.set_title(title)
    figure.suptitle(f'{case.data} {case.head}: {case.pair}')
    figure.tight_layout()
    head = f'{case.head}-{case.draw}' if case.draw else case.head
    name = f'{case.data}_{head}_{case.pair}_{engine}'.replace('→', '-to-').replace(', ', '-').replace(' ', '')
    path = folder / f'{name}.png'
    figure.savefig(path, dpi=70)
    return path
