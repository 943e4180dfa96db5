"""Pictures of the places where structure changed most: source, harmonized and change in one axial slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bids_distclip.reports.figures import PALE, WINDOW, clear_middle, save_figure, structure_range
from bids_distclip.reports.mosaic import DPI, Frame, frame

if TYPE_CHECKING:
    from bids_distclip.harmonizers.base import Target
    from bids_distclip.quality.guard import Finding
    from bids_distclip.volume.prepared import Prepared

#: Half the side of what is shown around a place, and the radius of the ring on it, in millimetres.
REACH, RING = 45.0, 9.0


def draw_findings(
    source: Prepared,
    harmonized: np.ndarray,
    target: Target,
    *,
    findings: Sequence[Finding],
    structure: np.ndarray,
    out_dir: Path,
    stem: str,
) -> list[dict[str, Any]]:
    """Draw one strip per finding and return the findings for the record, each with its file name as ``figure``."""
    shown = frame(source.volume.affine, brain=source.brain, head=source.head)
    before, after = source.volume.data / np.float32(source.scale), np.asarray(harmonized, dtype=np.float32)
    limit = structure_range(structure)
    panels: tuple[tuple[str, list[tuple[np.ndarray, Any, tuple[float, float]]]], ...] = (
        ('Source', [(before, 'gray', WINDOW)]),
        ('Harmonized', [(after / np.float32(target.scale), 'gray', WINDOW)]),
        (f'Lost (brown), invented (purple), to {limit:g}',
         [(before, 'gray_r', PALE), (structure, clear_middle('PuOr'), (-limit, limit))]),
    )
    rows = []
    for number, finding in enumerate(findings, start=1):
        figure = Figure(figsize=(9, 3.3), dpi=DPI, facecolor='black', layout='constrained')
        FigureCanvasAgg(figure)
        for axes, (label, layers) in zip(figure.subplots(1, 3), panels, strict=True):
            for data, colours, limits in layers:
                _slice(axes, data, shown=shown, voxel=finding.voxel, colours=colours, limits=limits)
            axes.set_title(label, color='white', fontsize=15 if len(layers) == 1 else 12)
        name = save_figure(figure, path=out_dir / f'{stem}_finding{number}.webp')
        rows.append({**asdict(finding), 'figure': name})
    return rows


def _slice(
    axes: Any, data: np.ndarray, *, shown: Frame, voxel: Sequence[int], colours: Any, limits: tuple[float, float]
) -> None:
    """Paint the axial slice of a voxel around it, the subject's left on the left, with a ring on the place."""
    spot = np.zeros(data.shape, dtype=bool)
    spot[tuple(voxel)] = True
    x, y, z = (int(i[0]) for i in np.nonzero(shown.turned(spot)))
    tile = shown.turned(data)[:, :, z].T
    right, up = shown.spacing[0], shown.spacing[1]
    extent = (-(x + 0.5) * right, (tile.shape[1] - x - 0.5) * right, -(y + 0.5) * up, (tile.shape[0] - y - 0.5) * up)
    axes.imshow(tile, cmap=colours, vmin=limits[0], vmax=limits[1], origin='lower', extent=extent,
                interpolation='hanning', interpolation_stage='data')
    turn = np.linspace(0, 2 * np.pi, 60)
    axes.plot(RING * np.cos(turn), RING * np.sin(turn), color='#56b4e9', linewidth=1.5)
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect='equal')
    axes.set_axis_off()
