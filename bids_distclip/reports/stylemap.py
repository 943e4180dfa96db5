"""A map of known acquisitions in the space of MR-CLIP, with source, output and target of one image."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bids_distclip.reports.figures import save_figure
from bids_distclip.reports.map import COLOURS
from bids_distclip.reports.mosaic import DPI

#: Mark, face and size of each picture; the source's ring stays visible around an output that has not moved.
_MARKS = {'source': ('o', 'white', 150), 'output': ('o', 'black', 45), 'target': ('*', 'black', 170)}


def read_points(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Return where known acquisitions lie, by contrast family, from the table beside the weights; empty without one."""
    if not path.is_file():
        return {}
    points = defaultdict(list)
    with path.open(encoding='utf-8', newline='') as stream:
        for row in csv.DictReader(stream, delimiter='\t'):
            points[row['family']].append((float(row['x']), float(row['y'])))
    return dict(points)


def draw_style_map(
    places: Mapping[str, Sequence[float]],
    *,
    points: Mapping[str, Sequence[tuple[float, float]]],
    out_dir: Path,
    stem: str,
) -> dict[str, str]:
    """Draw ``places`` (source, output, target: x, y) among ``points`` (by family); return name to file name."""
    if not places or not points:
        return {}
    figure = Figure(figsize=(9, 4.2), dpi=DPI, facecolor='white', layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, (family, known) in zip(COLOURS, sorted(points.items()), strict=False):
        xs, ys = zip(*known, strict=True)
        axes.scatter(xs, ys, s=10, color=colour, alpha=0.35, linewidths=0, label=family)
    for name, (mark, face, size) in _MARKS.items():
        if name in places:
            x, y = places[name]
            axes.scatter(x, y, s=size, marker=mark, facecolor=face, edgecolor='black',
                         linewidth=1.6, zorder=3, label=name)
    if {'source', 'output'} <= set(places):
        (x, y), (x_before, y_before) = places['output'], places['source']
        axes.annotate('', xy=(x, y), xytext=(x_before, y_before), zorder=2,
                      arrowprops={'arrowstyle': '->', 'color': 'black'})
    axes.set(xlabel='component 1', ylabel='component 2')
    axes.spines[['top', 'right']].set_visible(False)
    legend = axes.legend(frameon=False, loc='center left', bbox_to_anchor=(1.0, 0.5))
    for handle in legend.legend_handles[: len(points)]:
        if handle is not None:
            handle.set(alpha=1, sizes=[40])
    out_dir.mkdir(parents=True, exist_ok=True)
    return {'stylemap': save_figure(figure, path=out_dir / f'{stem}_stylemap.webp')}
