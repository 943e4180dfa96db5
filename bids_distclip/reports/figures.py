"""The figures of one image: source, harmonized and target in one layout, what changed where, histograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d

from bids_distclip.draft import draft
from bids_distclip.quality.guard import LEAST
from bids_distclip.quality.metrics import metric_table
from bids_distclip.quality.parts import brain_parts
from bids_distclip.quality.tissue import channel
from bids_distclip.reports.mosaic import DPI, Frame, Mosaic, frame
from bids_distclip.reports.scale import WHITE, shown_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bids_distclip.harmonizers.base import Target
    from bids_distclip.volume.prepared import Prepared

#: Normalized intensities shown from black to white.
WINDOW = (0.0, WHITE)
#: JPEG codes each block for itself, so that a flicker between two pictures shows no change that is not there;
#: WebP, smaller, spreads the difference of two labels over the whole picture.
_FLICKERED = ('source', 'harmonized', 'target')
#: The source below a map, in pale grey: a place can be found on it, and what has not changed lets it through.
PALE = (0.0, 4 * WHITE)
_NORMALIZED = '1 = 99.5th percentile in the brain'


def draw_figures(
    source: Prepared,
    harmonized: np.ndarray,
    target: Target,
    *,
    uncertainty: np.ndarray | None = None,
    structure: np.ndarray | None = None,
    out_dir: Path,
    stem: str,
) -> dict[str, str]:
    """Draw the figures of one image and return name to file name in ``out_dir``.

    ``harmonized`` and ``uncertainty`` are ``(X, Y, Z)`` on the source's grid in the target's units;
    ``structure`` is the map of :class:`bids_distclip.quality.guard.Guard`. Names: ``source``, ``harmonized``,
    ``difference``, ``mask``, ``histogram``; ``target`` if the target is an image; ``uncertainty`` and
    ``structure`` if given. All mosaics have one size in pixels and millimetres; ``source`` and ``harmonized``
    share the intensity window as well, so that a page can flicker them. Orientation is neurological.
    """
    before = source.volume.data / np.float32(source.scale)
    after = np.asarray(harmonized, dtype=np.float32) / np.float32(target.scale)
    shown = _frame(source, beside=target.image)
    drawn = {
        'source': _picture(shown, data=before, text=f'Source; {_NORMALIZED}'),
        'harmonized': _picture(shown, data=after, text=f'Harmonized; {_NORMALIZED}'),
        'difference': _difference(shown, data=after - before, brain=source.brain),
        'mask': _masks(shown, data=before, source=source),
        'histogram': _histogram(before, after, source=source, target=target),
    }
    if target.image is not None:
        drawn['target'] = _target(target.image, scale=target.scale, beside=source)
    if uncertainty is not None:
        spread = np.asarray(uncertainty, dtype=np.float32) / np.float32(target.scale)
        drawn['uncertainty'] = _uncertainty(shown, data=spread, brain=source.brain)
    if structure is not None:
        drawn['structure'] = _structure(shown, data=structure, below=before)
    out_dir.mkdir(parents=True, exist_ok=True)
    kinds = {name: 'jpg' if name in _FLICKERED else 'webp' for name in drawn}
    return {name: save_figure(drawn[name], path=out_dir / f'{stem}_{name}.{kind}') for name, kind in kinds.items()}


def _frame(image: Prepared, *, beside: Prepared | None) -> Frame:
    """Return the frame of an image, wide enough for another that is shown beside it in the same scale."""
    own = frame(image.volume.affine, brain=image.brain, head=image.head)
    if beside is None:
        return own
    other = frame(beside.volume.affine, brain=beside.brain, head=beside.head)
    x, y, z = (max(pair) for pair in zip(own.extent, other.extent, strict=True))
    return replace(own, extent=(x, y, z))


def _picture(shown: Frame, *, data: np.ndarray, text: str) -> Figure:
    mosaic = Mosaic(shown)
    mosaic.show(data, colours='gray', limits=WINDOW)
    mosaic.legend(text, colours='gray', limits=WINDOW)
    return mosaic.figure


def _target(image: Prepared, *, scale: float, beside: Prepared) -> Figure:
    data = image.volume.data / np.float32(scale)
    return _picture(_frame(image, beside=beside), data=data, text=f'Target image; {_NORMALIZED}')


def _difference(shown: Frame, *, data: np.ndarray, brain: np.ndarray) -> Figure:
    # By the brain alone: a scalp that changes more would leave the brain pale.
    limit = shown_range(np.abs(data), mask=brain)
    mosaic = Mosaic(shown, ground='white')
    mosaic.show(data, colours='RdBu_r', limits=(-limit, limit))
    mosaic.legend('Harmonized minus source, normalized (red: brighter now)', colours='RdBu_r', limits=(-limit, limit))
    return mosaic.figure


def _uncertainty(shown: Frame, *, data: np.ndarray, brain: np.ndarray) -> Figure:
    limit = shown_range(data, mask=brain)
    mosaic = Mosaic(shown)
    mosaic.show(data, colours='magma', limits=(0, limit))
    mean = f', {data[brain].mean():.2g} on average in the brain' if brain.any() else ''
    mosaic.legend(f'Uncertainty, normalized{mean}', colours='magma', limits=(0, limit))
    return mosaic.figure


def _structure(shown: Frame, *, data: np.ndarray, below: np.ndarray) -> Figure:
    limit = structure_range(data)
    mosaic = Mosaic(shown, ground='white')
    mosaic.show(below, colours='gray_r', limits=PALE)
    mosaic.show(data, colours=clear_middle('PuOr'), limits=(-limit, limit))
    mosaic.legend('Structure lost (brown), invented (purple)', colours='PuOr', limits=(-limit, limit))
    return mosaic.figure


def structure_range(data: np.ndarray) -> float:
    """Return the range on which a map of structure is drawn: not below 0.2, where every image has something."""
    return max(0.2, shown_range(np.abs(data), mask=np.abs(data) > LEAST))


def clear_middle(name: str) -> ListedColormap:
    """Return a diverging colour scale that is transparent in its middle and opaque from a third of its reach on."""
    colours = colormaps[name](np.linspace(0, 1, 256))
    colours[:, 3] = np.clip(3 * np.abs(np.linspace(-1, 1, 256)), 0, 1)
    return ListedColormap(colours)


def _masks(shown: Frame, *, data: np.ndarray, source: Prepared) -> Figure:
    mosaic = Mosaic(shown)
    mosaic.show(data, colours='gray', limits=WINDOW)
    mosaic.outline(source.head, colour='#56b4e9')
    if source.tissue is not None:
        mosaic.outline(source.tissue == channel('WM'), colour='#009e73')
    mosaic.outline(source.brain, colour='#e69f00')
    also = ', white matter (green)' if source.tissue is not None else ''
    mosaic.legend(f'Source with brain mask (orange){also} and head mask (blue)')
    return mosaic.figure


def _histogram(before: np.ndarray, after: np.ndarray, *, source: Prepared, target: Target) -> Figure:
    curves = [
        ('Source', before[source.brain], '#000000', '-'),
        ('Harmonized', after[source.brain], '#d55e00', '-'),
    ]
    if target.image is not None:
        wanted = target.image.volume.data[target.image.brain] / np.float32(target.scale)
        curves.append(('Target', wanted, '#0072b2', '--'))
    figure = Figure(figsize=(9, 5.6), dpi=DPI, facecolor='white', layout='constrained')
    FigureCanvasAgg(figure)
    parts = brain_parts(source)
    if parts:
        panels = figure.subplot_mosaic([['all'] * len(parts), list(parts)], height_ratios=(1.5, 1))
    else:
        panels = figure.subplot_mosaic([['all']])
    _curves(panels['all'], curves)
    panels['all'].set(xlabel=f'intensity in the brain mask ({_NORMALIZED})', ylabel='density (smoothed)')
    panels['all'].legend(frameon=False)
    own = [curve[1:] for curve in curves]
    wanted_parts = brain_parts(target.image) if target.image is not None else {}
    for name, part in parts.items():
        masks = [part, part, wanted_parts.get(name)]
        shown = [('', v[m], c, d) for (v, c, d), m in zip(own, masks, strict=False) if m is not None]
        _curves(panels[name], shown)
        panels[name].set_title(metric_table()[name]['label'], fontsize=10)
    return figure


def _curves(axes: Axes, curves: Sequence[tuple[str, np.ndarray, str, str]]) -> None:
    """Draw densities: label, values, colour and dashes of each."""
    edges = np.linspace(-0.05, 1.35, 281)
    for label, values, colour, dash in curves:
        counts, _ = np.histogram(values, bins=edges)
        # Integer grey values beat against the bins; a kernel of 0.015 hides that comb and no tissue peak.
        share = gaussian_filter1d(counts / max(1, values.size) / np.diff(edges), 3.0)
        axes.plot((edges[1:] + edges[:-1]) / 2, share, color=colour, linestyle=dash, linewidth=2, label=label)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.spines[['top', 'right']].set_visible(False)


def save_figure(figure: Figure, *, path: Path) -> str:
    """Write a figure as the suffix of its path says, whole or not at all, and return the file's name."""
    kind = path.suffix.removeprefix('.')
    with draft(path) as hidden:
        figure.savefig(hidden, format=kind, facecolor=figure.get_facecolor(), pil_kwargs={'quality': 86})
    return path.name
