"""Slices of a head in three planes, on one canvas with labels, so that two canvases can be flickered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

DPI = 100
#: Canvas width, legend height and gap between slices, in pixels.
WIDTH, LEGEND, GAP = 1260, 72, 6
#: Points of labels on slices, of the legend and of its ticks; side by side a canvas is shown at a third of its size.
LABEL, LEGEND_TEXT, TICKS = 19, 17, 15
#: Where slices are cut, as fractions of the brain's extent.
CUTS = (0.28, 0.5, 0.72)
#: Name, in-plane axes (right, up), through-plane axis, edge labels (left, right), coordinate name.
PLANES = (
    ('axial', (0, 1), 2, ('L', 'R'), 'z'),
    ('coronal', (0, 2), 1, ('L', 'R'), 'y'),
    ('sagittal', (1, 2), 0, ('P', 'A'), 'x'),
)
#: Millimetres shown around the head, and around the brain where the head mask holds neck and shoulders.
MARGIN, NECK = 6.0, 55.0


@dataclass(frozen=True)
class Frame:
    """The part of an image that is shown, after turning its axes to the nearest right-anterior-superior.

    ``turn`` is nibabel's orientation transform; ``spacing``, ``centre`` and ``extent`` are in millimetres
    along the turned axes, measured from the outer face of the first voxel; ``cuts`` are slice numbers per
    turned axis, ``places`` the same in scanner millimetres.
    """

    turn: np.ndarray
    spacing: tuple[float, float, float]
    centre: tuple[float, float, float]
    extent: tuple[float, float, float]
    cuts: tuple[tuple[int, ...], ...]
    places: tuple[tuple[float, ...], ...]

    def turned(self, data: np.ndarray) -> np.ndarray:
        """Return an array of the image's grid with its axes turned; a view."""
        return nib.apply_orientation(data, self.turn)


def frame(affine: np.ndarray, *, brain: np.ndarray, head: np.ndarray) -> Frame:
    """Choose what to show of an image: its head without the neck, and three cuts per plane.

    ``affine`` is ``(4, 4)``, voxel to RAS+ millimetres; the masks are boolean ``(X, Y, Z)``, and an empty one
    stands for the whole grid. Oblique images are shown along their own axes.
    """
    turn = nib.io_orientation(affine)
    turned = affine @ nib.orientations.inv_ornt_aff(turn, brain.shape)
    spacing = np.linalg.norm(turned[:3, :3], axis=0)
    inner, outer = (_limits(nib.apply_orientation(m, turn)) for m in (brain, head))
    low = np.maximum(outer[0] * spacing - MARGIN, inner[0] * spacing - NECK)
    high = np.minimum(outer[1] * spacing + MARGIN, inner[1] * spacing + NECK)
    cuts = [[int(a + c * (b - 1 - a) + 0.5) for c in CUTS] for a, b in zip(*inner, strict=True)]
    middle = (inner[0] + inner[1] - 1) / 2
    places = [
        [float((turned @ [*np.where(np.arange(3) == axis, cut, middle), 1.0])[axis]) for cut in row]
        for axis, row in enumerate(cuts)
    ]
    return Frame(
        turn=turn,
        spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        centre=tuple((low + high) / 2),
        extent=tuple(high - low),
        cuts=tuple(tuple(row) for row in cuts),
        places=tuple(tuple(row) for row in places),
    )


def _limits(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first and one-past-last index per axis; of the whole grid for an empty mask."""
    if not mask.any():
        return np.zeros(3), np.array(mask.shape, dtype=float)
    spans = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return np.array([s[0] for s in spans], float), np.array([s[-1] + 1 for s in spans], float)


class Mosaic:
    """One canvas: three planes as rows, slices as columns, a legend with the colour scale below.

    Two mosaics whose frames have the same ``extent`` have the same size and the same millimetres per pixel.
    """

    def __init__(self, shown: Frame, *, ground: str = 'black') -> None:
        self.frame, self.ground = shown, ground
        self.ink = 'white' if ground == 'black' else 'black'
        self.extent = shown.extent
        slot = (WIDTH - (len(CUTS) + 1) * GAP) / len(CUTS)
        self.scale = slot / max(self.extent[0], self.extent[1])
        heights = [self.extent[up] * self.scale for _, (_, up), *_ in PLANES]
        self.height = round(sum(heights) + (len(PLANES) + 1) * GAP + LEGEND)
        self.figure = Figure(figsize=(WIDTH / DPI, self.height / DPI), dpi=DPI, facecolor=ground)
        FigureCanvasAgg(self.figure)
        self.axes: list[list[Axes]] = []
        top: float = self.height - GAP
        for (_, (right, _), *_), tall in zip(PLANES, heights, strict=True):
            wide = self.extent[right] * self.scale
            lefts = [GAP + column * (slot + GAP) + (slot - wide) / 2 for column in range(len(CUTS))]
            self.axes.append([self._axes(left, bottom=top - tall, wide=wide, tall=tall) for left in lefts])
            top -= tall + GAP
        for row, plane in zip(self.axes, PLANES, strict=True):
            self._label(row, plane=plane)

    def _axes(self, left: float, *, bottom: float, wide: float, tall: float) -> Axes:
        place = (left / WIDTH, bottom / self.height, wide / WIDTH, tall / self.height)
        axes = self.figure.add_axes(place, facecolor=self.ground)
        axes.set_axis_off()
        return axes

    def _label(self, row: list[Axes], *, plane: tuple) -> None:
        name, (right, up), through, edges, letter = plane
        halo = [withStroke(linewidth=3, foreground=self.ground)]
        style: dict[str, Any] = {'color': self.ink, 'fontsize': LABEL, 'parse_math': False, 'path_effects': halo}
        for number, axes in enumerate(row):
            half = self.extent[right] / 2, self.extent[up] / 2
            axes.set(xlim=(-half[0], half[0]), ylim=(-half[1], half[1]))
            place = self.frame.places[through][number]
            axes.text(0.02, 0.98, f'{letter} {place:+.0f} mm', transform=axes.transAxes, va='top', **style)
            axes.text(0.01, 0.5, edges[0], transform=axes.transAxes, va='center', **style)
            axes.text(0.99, 0.5, edges[1], transform=axes.transAxes, va='center', ha='right', **style)
        row[0].text(0.02, 0.02, name, transform=row[0].transAxes, va='bottom', **style)

    def show(self, data: np.ndarray, *, colours: str | Colormap, limits: tuple[float, float]) -> None:
        """Paint an array of the frame's grid."""
        for axes, tile, extent in self._tiles(data):
            axes.imshow(
                tile, cmap=colours, vmin=limits[0], vmax=limits[1], origin='lower', extent=extent,
                aspect='auto', interpolation='hanning', interpolation_stage='data',
            )

    def outline(self, mask: np.ndarray, *, colour: str) -> None:
        """Draw the border of a mask of the frame's grid."""
        for axes, tile, extent in self._tiles(mask):
            if tile.any() and not tile.all():
                axes.contour(
                    tile.astype(np.float32), [0.5], colors=[colour], linewidths=1.1, extent=extent,
                    origin='lower',
                )

    def _tiles(self, data: np.ndarray) -> Iterator[tuple[Axes, np.ndarray, tuple[float, float, float, float]]]:
        turned = self.frame.turned(data)
        for row, (_, (right, up), through, *_) in zip(self.axes, PLANES, strict=True):
            low, high = ([n * self.frame.spacing[a] - self.frame.centre[a] for a, n in ends]
                         for ends in (((right, 0), (up, 0)), ((right, turned.shape[right]), (up, turned.shape[up]))))
            extent = (low[0], high[0], low[1], high[1])
            for axes, cut in zip(row, self.frame.cuts[through], strict=True):
                limits = axes.get_xlim(), axes.get_ylim()
                yield axes, turned[(slice(None),) * through + (cut,)].T, extent
                axes.set(xlim=limits[0], ylim=limits[1])

    def legend(self, text: str, *, colours: str | None = None, limits: tuple[float, float] = (0, 1)) -> None:
        """Write what is shown below the slices, with its colour scale and a bar of 50 mm."""
        style: dict[str, Any] = {'color': self.ink, 'fontsize': LEGEND_TEXT, 'va': 'center', 'parse_math': False}
        self.figure.text(GAP / WIDTH, 40 / self.height, text, **style)
        bar = 50 * self.scale
        base = self._axes(WIDTH - GAP - bar, bottom=14, wide=bar, tall=28)
        base.set(xlim=(0, 1), ylim=(0, 1))
        base.plot([0, 1], [0.1, 0.1], color=self.ink, linewidth=2, solid_capstyle='butt')
        base.text(0.5, 0.3, '50 mm', color=self.ink, fontsize=TICKS, ha='center', va='bottom')
        if colours is None:
            return
        place = self._axes(WIDTH - 300 - bar, bottom=44, wide=240, tall=14)
        place.set_axis_on()
        scale = ScalarMappable(Normalize(*limits), colours)
        ticks = np.linspace(*limits, 3)
        drawn = self.figure.colorbar(scale, cax=place, orientation='horizontal', ticks=ticks)
        drawn.ax.set_xticklabels([f'{t:.3g}' for t in ticks])
        drawn.ax.tick_params(colors=self.ink, labelsize=TICKS, length=3)
        drawn.outline.set_edgecolor(self.ink)
