"""A geometric head for demonstrations and tests: nested, folded surfaces with FreeSurfer-like label ids."""

from __future__ import annotations

import numpy as np

from bids_distclip.simulation.anatomy import Anatomy, from_labels


def phantom_labels(*, seed: int = 0, size: tuple[int, int, int] = (160, 200, 190)) -> np.ndarray:
    """Return an int16 label map ``(X, Y, Z)``, 1 mm, RAS: scalp, skull, fluid, folded cortex, nuclei, ventricles.

    Different seeds fold differently and have ventricles of another size. It is no anatomy of anybody.
    """
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing='ij')
    z = z - 8
    angle = np.arctan2(y, x)
    height = np.arctan2(z, np.hypot(x, y))
    folds = np.zeros(size)
    for count in (7, 9, 12, 15):
        phase = rng.uniform(0, 2 * np.pi, 3)
        folds += np.sin(count * angle + phase[0] + 2 * np.sin(4 * height + phase[2])) * np.cos(
            (count - 3) * height + phase[1]
        )
    folds = folds / folds.std()

    def ball(rx: float, ry: float, rz: float, center: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
        return np.sqrt(((x - center[0]) / rx) ** 2 + ((y - center[1]) / ry) ** 2 + ((z - center[2]) / rz) ** 2)

    skull, cap = ball(72, 88, 76), z > -60
    labels = np.zeros(size, np.int16)
    labels[(ball(78, 95, 83) < 1) | ((np.hypot(x / 58, y / 66) < 1) & (z < -30))] = 507
    labels[(ball(78, 95, 83) < 1) & (ball(76, 93, 81) >= 1)] = 511
    labels[(skull < 1) & cap] = 515
    labels[(ball(70, 86, 74) < 1) & (ball(68.5, 84.5, 72.5) >= 1) & cap] = 516
    labels[(ball(67, 83, 71) < 1) & (z > -52)] = 24
    cerebrum = ball(64, 80, 68)
    left = x < 0
    fissure = (np.abs(x) > 1.5) | (z < 10)
    gray = (cerebrum < 1 - 0.05 * np.clip(folds, 0, None)) & (z > -30) & fissure
    labels[gray & left], labels[gray & ~left] = 3, 42
    white = cerebrum < 0.9 - 0.07 * np.clip(folds + 0.4, 0, None)
    labels[white & gray & left], labels[white & gray & ~left] = 2, 41
    _deep_structures(labels, ball, left, grow=float(rng.uniform(0.85, 1.35)))
    return labels


def _deep_structures(labels: np.ndarray, ball, left: np.ndarray, *, grow: float) -> None:
    """Write ventricles, nuclei, cerebellum and brain stem into the label map; ``grow`` scales the ventricles."""
    for sign, shift in ((-1, 0), (1, 1)):
        thalamus, caudate, putamen, pallidum = (10, 11, 12, 13) if not shift else (49, 50, 51, 52)
        labels[ball(9, 14, 9, (sign * 11, -8, 0)) < 1] = thalamus
        labels[ball(5, 16, 7, (sign * 14, 16, 12)) < 1] = caudate
        labels[ball(6, 17, 10, (sign * 26, 4, 0)) < 1] = putamen
        labels[ball(4, 9, 6, (sign * 19, 0, -1)) < 1] = pallidum
        labels[ball(4.5 * grow, 30, 8 * grow, (sign * 7, 2, 16)) < 1] = 43 if shift else 4
    labels[ball(1.8 * grow, 10, 8, (0, -6, 2)) < 1] = 14
    cerebellum = ball(46, 26, 20, (0, -46, -42))
    for side, (gray, white) in ((left, (8, 7)), (~left, (47, 46))):
        labels[(cerebellum < 1) & side] = gray
        labels[(ball(30, 14, 8, (0, -44, -40)) < 1) & side] = white
    labels[ball(13, 12, 34, (0, -22, -34)) < 1] = 16
    labels[ball(5, 4, 8, (0, -34, -36)) < 1] = 15


def phantom(*, seed: int = 0) -> Anatomy:
    """Return a geometric head as an anatomy."""
    return from_labels(phantom_labels(seed=seed), name=f'phantom{seed}')
