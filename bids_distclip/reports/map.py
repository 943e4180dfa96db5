"""A map of images by the look of their intensities, before and after, one mark per site."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bids_distclip.reports.page import Inlined

if TYPE_CHECKING:
    from bids_distclip.reports.effect import Look

#: Colours that the colour-blind tell apart (Okabe and Ito 2008), with marks for those who see none.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
MARKS = ('o', 's', '^', 'D', 'v', 'P', 'X')


def map_points(looks: Sequence[Look]) -> tuple[np.ndarray, np.ndarray]:
    """Return where images lie, ``(2 N, 2)``, first all before, then all after, and the share of each component.

    Contrast families differ more than sites do: each family and target lies around its own mean, so that sites are
    what is seen.
    """
    table = np.array([look.before[:-1] for look in looks] + [look.after[:-1] for look in looks])
    kinds = np.array([f'{look.family} {look.target}' for look in looks] * 2)
    centred = table - np.array([table[kinds == kind].mean(axis=0) for kind in kinds])
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T, size[:2] ** 2 / max(float((size**2).sum()), 1e-12)


def draw_map(looks: Sequence[Look]) -> Inlined | None:
    """Draw the first two principal components of the quantiles, before and after on the same axes.

    None with fewer than three images or one site.
    """
    sites = sorted({look.site for look in looks})
    if len(looks) < 3 or len(sites) < 2:
        return None
    points, share = map_points(looks)
    figure = Figure(figsize=(9, 4.2), dpi=100, facecolor='white', layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for panel, title, part in zip(panels, ('Before', 'After'), np.split(points, 2), strict=True):
        for number, site in enumerate(sites):
            mine = np.array([look.site == site for look in looks])
            panel.scatter(*part[mine].T, color=COLOURS[number % 7], marker=MARKS[number % 7], s=42, alpha=0.8,
                          label=site if number < 12 else '_')
        panel.set_title(title)
        panel.set_xlabel(f'component 1 ({share[0]:.0%})')
        panel.spines[['top', 'right']].set_visible(False)
    panels[0].set_ylabel(f'component 2 ({share[1]:.0%})')
    legend = panels[1].legend(frameon=False, fontsize=9, loc='center left', bbox_to_anchor=(1.0, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)
    stream = io.BytesIO()
    figure.savefig(stream, format='webp', pil_kwargs={'quality': 86})
    width, height = figure.canvas.get_width_height()
    return Inlined(f'data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}', width, height)
