"""Maps of images before and after, one mark per site: by the look of their intensities, and as MR-CLIP sees them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
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
#: So many sites have their names below a map.
LISTED = 12


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
    if not _worth(looks):
        return None
    points, share = map_points(looks)
    names = [f'component {number} ({part:.0%})' for number, part in enumerate(share, start=1)]
    return _draw(np.split(points, 2), sites=[look.site for look in looks], names=names)


def draw_style(looks: Sequence[Look]) -> Inlined | None:
    """Draw where sources and outputs lie in the first two components of MR-CLIP, and their targets as stars.

    None with fewer than three images that an engine told it of, or one site.
    """
    told = [look for look in looks if {'source', 'output'} <= set(look.style)]
    if not _worth(told):
        return None
    parts = [np.array([look.style[name] for look in told], dtype=float) for name in ('source', 'output')]
    stars = {look.family: look.style['target'] for look in told if 'target' in look.style}
    return _draw(parts, sites=[look.site for look in told], names=('component 1', 'component 2'),
                 stars=stars)


def _worth(looks: Sequence[Look]) -> bool:
    return len(looks) >= 3 and len({look.site for look in looks}) >= 2


def _draw(
    parts: Sequence[np.ndarray], *, sites: Sequence[str], names: Sequence[str],
    stars: Mapping[str, Sequence[float]] | None = None,
) -> Inlined:
    """Draw points ``(N, 2)`` before and after, side by side on the same axes, and targets on both."""
    figure = Figure(figsize=(9, 4.4), dpi=100, facecolor='white', layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for panel, title, part in zip(panels, ('Before', 'After'), parts, strict=True):
        for number, site in enumerate(sorted(set(sites))):
            mine = np.array([one == site for one in sites])
            # A second site of one colour has another mark.
            mark = MARKS[(number + number // len(COLOURS)) % len(MARKS)]
            panel.scatter(*part[mine].T, color=COLOURS[number % len(COLOURS)], marker=mark, s=64, alpha=0.8,
                          label=site if number < LISTED else '_')
        for number, (family, (x, y)) in enumerate((stars or {}).items()):
            panel.scatter(x, y, color='black', marker='*', s=170, zorder=3, label='_' if number else 'target')
            panel.annotate(family, (x, y), xytext=(8, 6), textcoords='offset points', fontsize=11, parse_math=False)
        panel.set_title(title, fontsize=14)
        panel.set_xlabel(names[0], fontsize=13)
        panel.tick_params(labelsize=11)
        panel.spines[['top', 'right']].set_visible(False)
    panels[0].set_ylabel(names[1], fontsize=13)
    handles, labels = panels[1].get_legend_handles_labels()
    columns = max(1, min(4, 84 // (6 + max(map(len, labels), default=0))))
    more = len(set(sites)) - LISTED
    legend = figure.legend(handles, labels, frameon=False, fontsize=13, loc='outside lower center', ncols=columns,
                           title=f'and {more} more sites' if more > 0 else None)
    for text in legend.get_texts():
        text.set_parse_math(False)
    stream = io.BytesIO()
    figure.savefig(stream, format='webp', pil_kwargs={'quality': 86})
    width, height = figure.canvas.get_width_height()
    return Inlined(f'data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}', width, height)
