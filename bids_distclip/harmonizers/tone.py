"""Tissue held to the brightness that two styles let expect: one rising curve of intensities for a whole image.

The network renders slices one by one. It cannot know which intensity a whole image's scale stands for, nor how much of
what a picture shows is its scanner's. What acquisitions of a style show is known
(:meth:`bids_distclip.networks.photometer.Photometer.expected`), and so is where the source has its tissues. A curve
moves no edge and treats equal intensities alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import PchipInterpolator

from bids_distclip.harmonizers.styles import Styles, apart
from bids_distclip.quality.tissue import channel
from bids_distclip.volume.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from bids_distclip.networks.photometer import Photometer

#: Share of what a tissue's brightness departs from what is expected that is put down to the scan, not the person, per
#: contrast family, the tissue that sets the scale first (docs/benchmark.md). It grows like the share that a picture has
#: in a style.
HELD: Mapping[str, Mapping[str, float]] = {'T1w': {'WM': 0.75, 'CGM': 0.75, 'CSF': 0.5}}
#: What voxels told to be a tissue hold of pure white matter, cortical gray matter, fluid, thalamus and putamen.
MIXED: Mapping[str, tuple[float, ...]] = {
    'WM': (0.92, 0.0, 0.0, 0.0, 0.08),
    'CGM': (0.0, 0.36, 0.12, 0.52, 0.0),
    'CSF': (0.0, 0.0, 0.68, 0.19, 0.13),
}
#: Fewer voxels of a tissue say too little; a factor beyond these would say that something else is wrong.
LEAST, LIMITS = 500, (0.8, 1.25)
#: The curve rises nowhere less or more steeply than this, against the factor of the tissue that sets the scale.
SLOPES = (0.5, 2.0)


@dataclass(frozen=True)
class Tone:
    """Medians of tissues on the normalized scale before (``was``) and after (``now``) they were held, by tissue."""

    was: Mapping[str, float]
    now: Mapping[str, float]

    def told(self) -> dict[str, list[float]]:
        """Return the medians before and after, by tissue, rounded for a sidecar."""
        return {name: [round(self.was[name], 4), round(self.now[name], 4)] for name in self.was}

    def applied(self, image: np.ndarray) -> np.ndarray:
        """Return an image ``(X, Y, Z)`` with the curve through these points; beyond the last a factor."""
        order = sorted(self.was, key=self.was.__getitem__)
        before, after = (np.array([0.0, *(side[name] for name in order)]) for side in (self.was, self.now))
        top = float(after[-1] / before[-1])
        if len(order) == 1:
            return (image * np.float32(top)).astype(np.float32)
        curve = PchipInterpolator(np.append(before, 2 * before[-1]), np.append(after, 2 * after[-1]))
        inside = curve(np.clip(image, 0, before[-1]))
        return np.where(image < before[-1], inside, image * top).astype(np.float32)


def tone(meter: Photometer | None, source: Prepared, styles: Styles, out: np.ndarray) -> Tone | None:
    """Return the curve for ``out`` ``(X, Y, Z)``, on the normalized scale; None where nothing is known, or to do.

    The tissue that sets the scale becomes the source's times what the styles let expect of target and source, drawn
    towards what is expected of the target by the share :data:`HELD`. The others follow its factor and are drawn
    likewise. What would bend the curve beyond :data:`SLOPES` is done by the part that does not. Nothing is done where
    both styles are the same.
    """
    family = source.family or ''
    if meter is None or family not in HELD or family not in meter.families or source.tissue is None:
        return None
    near = apart(styles.source, styles.target)
    tissues = {name: source.tissue == channel(name) for name in HELD[family]}
    tissues = {name: mask for name, mask in tissues.items() if mask.sum() >= LEAST}
    first = next(iter(HELD[family]))
    if near == 0 or first not in tissues:
        return None
    before, after = (_shown(meter.expected(theta, family=family)) for theta in (styles.source, styles.target))
    was = {name: float(np.median(out[mask])) for name, mask in tissues.items()}
    seen = float(np.median(source.volume.data[tissues[first]])) / source.scale
    if min(seen, before[first], after[first], was[first]) <= 0:
        return None
    person = 1 - near * HELD[family][first]
    factor = float(np.clip(after[first] / was[first] * (seen / before[first]) ** person, *LIMITS))
    followed = {name: factor * value for name, value in was.items()}
    goal = {
        name: value if name == first else value + near * HELD[family][name] * (after[name] - value)
        for name, value in followed.items()
    }
    for part in (1.0, 0.75, 0.5, 0.25):
        now = {name: value + part * (goal[name] - value) for name, value in followed.items()}
        if _gentle(was, now, factor):
            return Tone(was, now)
    return Tone({first: was[first]}, {first: followed[first]})


def _shown(brightness: Tensor) -> dict[str, float]:
    """Return how bright voxels told to be a tissue are, from that of pure tissues ``(T,)``."""
    pure = brightness.cpu().numpy()
    return {name: float(np.dot(shares, pure[: len(shares)])) for name, shares in MIXED.items()}


def _gentle(was: Mapping[str, float], now: Mapping[str, float], factor: float) -> bool:
    """Tell whether a curve through these points keeps their order and rises by no more or less than allowed."""
    order = sorted(was, key=was.__getitem__)
    before, after = (np.diff([0.0, *(side[name] for name in order)]) for side in (was, now))
    rise = after / np.maximum(before, 1e-9)
    return bool((rise >= SLOPES[0] * factor).all() and (rise <= SLOPES[1] * factor).all())
