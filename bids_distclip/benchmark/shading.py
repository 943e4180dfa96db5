"""Shading: how much of it is left after its correction, and what the correction leaves of a large lesion's contrast.

Both are slow changes of brightness, so that what follows one follows the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.benchmark.cases import as_volume
from bids_distclip.quality.tissue import channel
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.volumes import SimulatedVolume, shading, simulate_volumes
from bids_distclip.volume.bias import corrected, n4_field
from bids_distclip.volume.prepared import prepare
from bids_distclip.volume.tissue import Segment

COLUMNS = ('head', 'family', 'shading', 'way', 'error', 'contrast', 'kept')
FAMILIES = ('T1w', 'T2w', 'FLAIR')
#: Standard deviations of the logarithm of the shading in the brain: none, that of most scans, that of a strong one.
SHADINGS = (0.0, 0.1, 0.25)
#: Ways of N4 without knowing tissue, by the number of iterations at each level of control points.
LEVELS = {'2 levels': (50, 50), '3 levels': (50, 50, 50), '4 levels': (50, 50, 50, 50)}
#: The app's own way.
APP = 'app'
#: The kind of lesion, the largest that are drawn, and how far (voxels) white matter counts as healthy.
KIND, APART = 'tumour', 2

#: Makes an image ``(X, Y, Z)`` in a brain mask even.
Correct = Callable[[np.ndarray, np.ndarray], np.ndarray]


def measure(
    anatomies: Sequence[Anatomy], *, segment: Segment, draws: int = 1, seed: int = 31_000,
    size: tuple[int, int, int] = (160, 192, 144),
) -> Iterator[dict[str, Any]]:
    """Yield one row of :data:`COLUMNS` per head with a tumour, contrast family, strength of shading and way.

    ``error`` is the standard deviation in the brain of the logarithm of what is left of the shading; ``contrast`` the
    lesion's median over that of healthy white matter, less one, before shading, and ``kept`` the same after its
    correction. Brains are known; noise, motion and all else that scanners do are there.
    """
    for draw in range(draws):
        for index, anatomy in enumerate(anatomies):
            chance = seed + 100 * draw + index
            rng = np.random.default_rng(chance)
            head = Head(anatomy, seed=chance, deform_mm=2.0, lesion_kinds=(KIND,))
            protocols = [draw_protocol(rng, family=family) for family in FAMILIES]
            scans = simulate_volumes(head, protocols, size=size, seed=chance, strip=2.0, shaded=False)
            for number, (family, scan) in enumerate(zip(FAMILIES, scans, strict=True)):
                field = shading(size, amplitude=1.0, seed=chance + 10 * number)
                for row in correct(scan, field, ways(scan.affine, segment)):
                    yield {'head': f'{anatomy.name}-{draw + 1}', 'family': family, **row}


def ways(affine: np.ndarray, segment: Segment) -> dict[str, Correct]:
    """Return the ways to correct shading of an image with this affine."""

    def by_levels(levels: tuple[int, ...]) -> Correct:
        return lambda image, brain: corrected(
            image, field=n4_field(image, affine=affine, mask=brain, iterations=levels), brain=brain
        )

    def as_app(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
        volume = as_volume(image, affine)
        return prepare(volume, acquisition=Acquisition(), brain=brain, segment=segment).volume.data

    return {name: by_levels(levels) for name, levels in LEVELS.items()} | {APP: as_app}


def correct(scan: SimulatedVolume, field: np.ndarray, ways: Mapping[str, Correct]) -> Iterator[dict[str, Any]]:
    """Shade a scan with a field ``(X, Y, Z)``, strongly and less so, and yield what every way leaves of it."""
    brain = scan.brain > 0.5
    log_field = np.log(field) - np.log(field)[brain].mean()
    log_field /= log_field[brain].std()
    sick = ndimage.binary_dilation(scan.lesion > 0.05, iterations=APART)
    lesion, white = scan.lesion > 0.5, (scan.tissue == channel('WM')) & ~sick
    if not lesion.any() or not white.any():
        return
    # Where noise alone is seen a quotient says nothing.
    seen = brain & (scan.image > 0.05)
    contrast = _contrast(scan.image, lesion, white)
    for strength in SHADINGS:
        shaded = np.ascontiguousarray(scan.image * np.exp(strength * log_field), dtype=np.float32)
        for way, even in ways.items():
            made = even(shaded, brain)
            left = np.log(np.maximum(made[seen], 1e-6) / scan.image[seen])
            yield {'shading': strength, 'way': way, 'error': float(left.std()), 'contrast': contrast,
                   'kept': _contrast(made, lesion, white)}


def _contrast(image: np.ndarray, lesion: np.ndarray, white: np.ndarray) -> float:
    return float(np.median(image[lesion]) / np.median(image[white]) - 1)


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a Markdown table of error and share of contrast kept (its slope through zero), by shading and way."""
    groups: dict[str, dict[float, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row['way']][row['shading']].append(row)
    lines = ['| shading | ' + ' | '.join(groups) + ' |', '|' + '---|' * (len(groups) + 1)]
    for strength in sorted({strength for some in groups.values() for strength in some}):
        cells = [_cell(some[strength]) if some[strength] else '' for some in groups.values()]
        lines.append(f'| {strength:g} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _cell(rows: Sequence[Mapping[str, Any]]) -> str:
    error, true, kept = (np.array([row[name] for row in rows]) for name in ('error', 'contrast', 'kept'))
    return f'{error.mean():.3f} / {(kept * true).sum() / max((true**2).sum(), 1e-12):.2f}'
