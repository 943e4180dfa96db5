"""Tissue held to the brightness that two styles let expect: one rising curve of intensities for a whole image.

The network renders slices one by one. It cannot know which intensity a whole image's scale stands for, nor how much of
what a picture shows is its scanner's; of another contrast it makes a guess that is too even. What acquisitions of a
style show is known (:meth:`bids_distclip.networks.photometer.Photometer.expected`), and so is where the source has its
tissues. A curve moves no edge and treats equal intensities alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from scipy.interpolate import PchipInterpolator

from bids_distclip.harmonizers.styles import Styles, apart
from bids_distclip.quality.tissue import channel
from bids_distclip.volume.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from bids_distclip.networks.photometer import Photometer

#: Fewer voxels of a tissue say too little; a factor beyond these would say that something else is wrong.
LEAST, LIMITS = 500, (0.8, 1.25)
#: From one tissue to the next the curve rises by no less and no more than this, against the factor of the tissue that
#: sets the scale. One that stretched a real, flat T1w (gray matter at 0.95 of white) by more showed structure beyond
#: every sound result's.
SLOPES = (0.8, 1.25)
#: So many slices are worked on at once.
_SLAB = 16


@dataclass(frozen=True)
class Tone:
    """Medians of tissues on the normalized scale before (``was``) and after (``now``) they were held, by tissue, and
    how far those may still be off (``error``). Where no curve can be laid through all, ``was`` has one tissue alone,
    whose factor the others follow."""

    was: Mapping[str, float]
    now: Mapping[str, float]
    error: Mapping[str, float]

    def doubt(self, image: np.ndarray) -> np.ndarray:
        """Return how far each voxel of a held image ``(X, Y, Z)`` may be off as a part of its tissue.

        That of the tissue as bright as it; between two tissues' medians, between their errors.
        """
        order = sorted(self.now, key=self.now.__getitem__)
        places, errors = ([side[name] for name in order] for side in (self.now, self.error))
        return np.interp(image, places, errors).astype(np.float32)

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
        out = np.empty(image.shape, np.float32)
        # The curve is evaluated in float64: slab by slab it takes no gigabyte.
        for start in range(0, len(image), _SLAB):
            part = image[start : start + _SLAB]
            out[start : start + _SLAB] = np.where(part < before[-1], curve(np.clip(part, 0, before[-1])), part * top)
        return out


@functools.cache
def held_tissues() -> Mapping[str, Mapping[str, Any]]:
    """Return the table ``tone.yaml``: by :func:`pair_name` ``scale``, a tissue or None, and ``tissues``."""
    table = yaml.safe_load((files('bids_distclip.harmonizers') / 'tone.yaml').read_text(encoding='utf-8'))
    return {pair: {**row, 'scale': None if row['scale'] == 'none' else row['scale']} for pair, row in table.items()}


def pair_name(source: str, target: str) -> str:
    """Return ``T1w→T2w``."""
    return f'{source}→{target}'


def tone(
    meter: Photometer | None, source: Prepared, styles: Styles, out: np.ndarray, *, family: str
) -> Tone | None:
    """Return the curve for ``out`` ``(X, Y, Z)``, on the normalized scale; None where nothing is known, or to do.

    ``family`` is the contrast family of ``out``, the source's own or, where it is synthesized, another.

    The tissue that sets the scale becomes what is expected of the target, times a share of what the source's departs
    from its own style. The others follow its factor, and are drawn by their share towards what is expected of the
    target. What would bend the curve beyond :data:`SLOPES` is done in part. The share grows with the distance of the
    two styles like that of a picture in a style: nothing is done where they are the same.
    """
    pair = pair_name(source.family or '', family)
    if meter is None or pair not in held_tissues() or source.tissue is None:
        return None
    if not {source.family, family} <= set(meter.families):
        return None
    near = apart(styles.source, styles.target)
    table, scale = held_tissues()[pair]['tissues'], held_tissues()[pair]['scale']
    tissues = {name: source.tissue == channel(name) for name in table}
    tissues = {name: mask for name, mask in tissues.items() if mask.sum() >= LEAST}
    if near == 0 or not tissues:
        return None
    after = shown(table, meter.expected(styles.target, family=family))
    was = {name: float(np.median(out[mask])) for name, mask in tissues.items()}
    factor = 1.0
    if scale:
        seen = {name: float(np.median(source.volume.data[mask])) / source.scale for name, mask in tissues.items()}
        before = shown(table, meter.expected(styles.source, family=family))
        if scale not in tissues or min(was[scale], seen[scale], before[scale]) <= 0 or not _told_right(seen, before):
            return None
        departs = seen[scale] / before[scale]
        factor = float(np.clip(after[scale] / was[scale] * departs ** (1 - near * table[scale]['share']), *LIMITS))
    followed = {name: factor * value for name, value in was.items()}
    wanted = {
        name: near * table[name]['share'] * (after[name] - value) for name, value in followed.items() if name != scale
    }
    for part in np.linspace(1.0, 0.1, 10):
        now = {name: value + float(part) * wanted.get(name, 0.0) for name, value in followed.items()}
        if _gentle(was, now, factor):
            return Tone(was, now, _errors(table, near, wanted, left=1 - float(part), of=tissues))
    return Tone({scale: was[scale]}, followed, _errors(table, near, wanted, left=1.0, of=tissues)) if scale else None


def _errors(
    table: Mapping[str, Any], near: float, wanted: Mapping[str, float], *, left: float, of: Iterable[str]
) -> dict[str, float]:
    """Return how far tissues may be off: as measured where all was done that was wanted, and by what was ``left``."""
    return {name: math.hypot(near * table[name]['error'], left * wanted.get(name, 0.0)) for name in of}


def _told_right(seen: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    """Tell whether the tissue expected to be a source's brightest is: if not, one was taken for another."""
    brightest = max(seen, key=lambda name: expected[name])
    return all(seen[name] <= seen[brightest] for name in seen)


def shown(table: Mapping[str, Any], brightness: Tensor) -> dict[str, float]:
    """Return how bright voxels told to be a tissue are, from that of pure tissues ``(T,)``."""
    pure = brightness.cpu().numpy()
    return {name: float(np.dot(row['holds'], pure[: len(row['holds'])])) for name, row in table.items()}


def _gentle(was: Mapping[str, float], now: Mapping[str, float], factor: float) -> bool:
    """Tell whether a curve through these points keeps their order and rises by no more or less than allowed."""
    order = sorted(was, key=was.__getitem__)
    before, after = (np.diff([0.0, *(side[name] for name in order)]) for side in (was, now))
    rise = after / np.maximum(before, 1e-9)
    return bool((rise >= SLOPES[0] * factor).all() and (rise <= SLOPES[1] * factor).all())
