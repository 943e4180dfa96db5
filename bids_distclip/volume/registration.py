"""Where the template's brain lies in an image of any contrast: an affine map found by mutual information."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from scipy import ndimage as ndi
from scipy.optimize import minimize

from bids_distclip.volume.coarse import resampled
from bids_distclip.volume.template import Template

#: Voxel size (mm) at which the template and the image are compared.
SIZE = 4.0
_RANKS = 24
_BRAIN_CLASSES = 8
#: Shells painted around the skull-stripped template: where scalp and air begin, in mm from the brain. Without
#: them mutual information is content to match the template's brain with the whole head.
_SHELLS = (6.0, 11.5)
_AIR_END = 26.0
#: Share of the brain, the skull, the scalp and the air in what is compared, whatever their volumes are.
_SHARES = (0.6, 0.15, 0.15, 0.1)
#: Prior mean and standard deviation of: translations (mm), rotations (rad; nodding is the freest), log scales
#: (the template's cavity of 1.9 L is larger than the usual 1.5 L), shears. Ours, loose.
_MEAN = np.array([0, 0, 0, 0.15, 0, 0, -0.07, -0.07, -0.07, 0, 0, 0])
_SPREAD = np.array([40, 40, 40, 0.4, 0.15, 0.15, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
_PRIOR_WEIGHT = 0.02
#: Price of brain and skull outside the head.
_BARE_WEIGHT = 2.0
#: Where the search starts: nods (rad; a tilted-back head is the commoner), and mm forward and up.
_NODS, _FORWARD, _UP = (-0.35, -0.1, 0.15, 0.4, 0.65), (-20, -4, 12), (-24, -8, 8, 24, 40)
#: Optimizer steps of about equal effect.
_STEP = np.array([4, 4, 4, 0.06, 0.06, 0.06, 0.04, 0.04, 0.04, 0.03, 0.03, 0.03])


@dataclass(frozen=True)
class Cloud:
    """The template as points: RAS+ mm ``(N, 3)``, and their class; and the brain's centre and top."""

    points: np.ndarray
    classes: np.ndarray
    centre: np.ndarray
    top: float


@lru_cache(maxsize=2)
def cloud(template: Template) -> Cloud:
    """Turn a template into points of eight brain intensity classes and painted skull, scalp and air; kept."""
    t1, grid = resampled(template.t1, affine=template.affine, size=SIZE, margin=32)
    part, _ = resampled(template.brain, affine=template.affine, size=SIZE, margin=32)
    brain = part > 0.5
    distance = ndi.distance_transform_edt(~brain) * SIZE
    edges = np.quantile(t1[brain], np.linspace(0, 1, _BRAIN_CLASSES + 1)[1:-1])
    classes = np.digitize(t1, edges)
    classes[~brain] = _BRAIN_CLASSES + np.digitize(distance[~brain], _SHELLS)
    world = np.moveaxis(np.indices(t1.shape), 0, -1) * SIZE + grid[:3, 3]
    # Below the skull base there is no skull, scalp and air in this order.
    vault = world[..., 2] > 0.12 * world[..., 1] - 8
    used = brain | (distance <= SIZE) | (vault & (distance <= _AIR_END))
    inside = world[brain]
    return Cloud(
        points=world[used],
        classes=classes[used],
        centre=inside.mean(axis=0),
        top=float(inside[:, 2].max() + SIZE / 2),
    )


@dataclass(frozen=True)
class Pose:
    """Twelve parameters about a first guess (RAS+ mm) of where the template's centre goes; the mismatch."""

    parameters: np.ndarray
    guess: np.ndarray
    centre: np.ndarray
    value: float

    @property
    def matrix(self) -> np.ndarray:
        """The affine map from template to image, both in RAS+ mm, as a 4x4 matrix."""
        matrix = np.eye(4)
        matrix[:3, :3] = linear(self.parameters)
        matrix[:3, 3] = self.guess + self.parameters[:3] - matrix[:3, :3] @ self.centre
        return matrix


class Mismatch:
    """What is minimized: minus mutual information, plus prices for poses, shells and views that cannot be.

    It is asked some two thousand times per image. Intensity ranks and the head are therefore interpolated once, onto
    voxels of half the size, where every point then looks up the nearest: at most a millimetre along each axis beside
    its place.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        grid: np.ndarray,
        head: np.ndarray,
        model: Cloud,
        guess: np.ndarray,
        count: int,
    ) -> None:
        edges = np.quantile(image[head], np.linspace(0, 1, _RANKS)[1:-1])
        ranks = np.interp(image, [0, *edges, max(image.max(), edges[-1])], np.arange(_RANKS))
        # A point outside the image looks up the rank that none inside it has.
        self.ranks = np.pad((_halved(ranks) + 0.5).astype(np.uint8), 1, constant_values=_RANKS)
        self.bare = np.pad(_halved(1 - head.astype(np.float32)), 1).ravel()
        self.last = np.array(self.ranks.shape, np.float32)[:, None] - 1
        # From RAS+ mm to places in that array, half a voxel up, so that rounding down finds the nearest.
        self.inverse = np.diag([2.0, 2.0, 2.0, 1.0]) @ np.linalg.inv(grid)
        self.inverse[:3, 3] += 2.5
        self.guess = guess
        chosen = np.random.default_rng(0).permutation(len(model.points))[:count]
        chosen = chosen[np.argsort(model.classes[chosen], kind='stable')]
        self.points = np.ones((4, len(chosen)), np.float32)
        self.points[:3] = (model.points[chosen] - model.centre).T
        classes = model.classes[chosen]
        self.cells = classes.astype(np.int32) * (_RANKS + 1)
        # Sorted by class: brain first, then skull.
        self.brain, self.inner = (int((classes < limit).sum()) for limit in (_BRAIN_CLASSES, _BRAIN_CLASSES + 1))
        group = np.maximum(np.arange(_BRAIN_CLASSES + 3) - _BRAIN_CLASSES + 1, 0)
        counts = np.bincount(np.maximum(classes - _BRAIN_CLASSES + 1, 0), minlength=4)
        self.weights = (_SHARES / np.maximum(counts, 1))[group][:, None]

    def __call__(self, parameters: np.ndarray) -> float:
        """Return the mismatch of translations, rotations, log scales and shears."""
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = linear(parameters), self.guess + parameters[:3]
        where = (self.inverse @ place)[:3].astype(np.float32) @ self.points
        np.clip(where, 0, self.last, out=where)
        index = where.astype(np.int32)
        _, rows, columns = self.ranks.shape
        index = (index[0] * rows + index[1]) * columns + index[2]
        ranks = self.ranks.ravel()[index]
        counts = np.bincount(self.cells + ranks, minlength=(_BRAIN_CLASSES + 3) * (_RANKS + 1))
        joint = counts.reshape(-1, _RANKS + 1)[:, :_RANKS] * self.weights
        seen = ranks < _RANKS
        if seen.mean() < 0.3:
            return 10.0
        # Skull and air, dark in every contrast, are one class here: as two, mutual information would not mind
        # if the skull fell on the scalp and the scalp on air, which makes the brain too large.
        joint[_BRAIN_CLASSES] += joint[-1]
        prior = 0.5 * float((((parameters - _MEAN) / _SPREAD) ** 2).sum())
        lost = max(0.0, 1 - float(seen[: self.brain].mean()) - 0.03)
        bare = float(self.bare[index[: self.inner]].sum()) / max(int(seen[: self.inner].sum()), 1)
        return -mutual_information(joint[:-1]) + _PRIOR_WEIGHT * prior + lost + _BARE_WEIGHT * bare


def _halved(values: np.ndarray) -> np.ndarray:
    """Interpolate an array linearly onto voxels of half the size that reach to the edges of its outer voxels."""
    out = np.asarray(values, dtype=np.float32)
    for axis in range(out.ndim):
        old = np.moveaxis(out, axis, 0)
        new = np.repeat(old, 2, axis=0)
        new = np.concatenate([new, new[-1:]])
        new[2:-1:2] = (old[:-1] + old[1:]) / 2
        out = np.moveaxis(new, 0, axis)
    return out


def mutual_information(joint: np.ndarray) -> float:
    """Return the mutual information (nats) of a joint histogram."""
    joint = joint / joint.sum()
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    full = joint > 0
    return float((joint[full] * np.log(joint[full] / expected[full])).sum())


def linear(parameters: np.ndarray) -> np.ndarray:
    """Return the 3x3 matrix of rotations (about x, y, z), shears and log scales."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(parameters[3:6]), np.sin(parameters[3:6])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = parameters[9:12]
    return about_z @ about_y @ about_x @ shear @ np.diag(np.exp(parameters[6:9]))


def register(image: np.ndarray, *, grid: np.ndarray, head: np.ndarray, template: Template) -> Pose:
    """Find the affine map from template to image roughly.

    ``image`` is a coarse RAS image (:func:`bids_distclip.volume.coarse.resampled`), free of strong bias;
    ``head`` its head mask. The search starts below the top of the head, where a cropped or long field of
    view does no harm. For each of five nods of the head the best of many places is followed with one scale,
    and the best of these with all twelve parameters.
    """
    model = cloud(template)
    guess = _first_guess(head, grid, model)
    mismatch = Mismatch(image, grid=grid, head=head, model=model, guess=guess, count=8000)
    followed = []
    for nod in _NODS:
        starts = []
        for forward, up in product(_FORWARD, _UP):
            parameters = _MEAN.copy()
            parameters[1:4] = forward, up, nod
            starts.append((mismatch(parameters), parameters))
        _, parameters = min(starts, key=lambda one: one[0])
        followed.append(_followed(mismatch, parameters, _ONE_SCALE, 180, 0.3))
    _, parameters = min(followed, key=lambda one: one[0])
    value, parameters = _followed(mismatch, parameters, np.eye(12), 500, 0.2)
    return Pose(parameters, guess, model.centre, value)


def improved(
    image: np.ndarray, *, grid: np.ndarray, head: np.ndarray, template: Template, start: Pose
) -> Pose:
    """Follow a pose to the end on an image better corrected for bias."""
    model = cloud(template)
    mismatch = Mismatch(image, grid=grid, head=head, model=model, guess=start.guess, count=20000)
    value, parameters = _followed(mismatch, start.parameters, np.eye(12), 700, 0.1)
    return Pose(parameters, start.guess, model.centre, value)


_ONE_SCALE = np.vstack([np.eye(7), np.eye(7)[6], np.eye(7)[6], np.zeros((3, 7))])


def _followed(
    mismatch: Mismatch, start: np.ndarray, basis: np.ndarray, calls: int, tolerance: float
) -> tuple[float, np.ndarray]:
    """Minimize from a start along the columns of a basis (Powell 1964); return the value and the pose."""
    found = minimize(
        lambda free: mismatch(start + (basis @ free) * _STEP),
        np.zeros(basis.shape[1]),
        method='Powell',
        options={'xtol': tolerance, 'ftol': 3e-4, 'maxfev': calls},
    )
    return float(found.fun), start + (basis @ found.x) * _STEP


def _first_guess(head: np.ndarray, grid: np.ndarray, model: Cloud) -> np.ndarray:
    """Return where the brain's centre should be: in the middle of the head's upper 15 cm, below its top."""
    area = head.sum(axis=(0, 1)) * SIZE**2
    full = np.flatnonzero(area > min(2500.0, 0.5 * area.max()))
    top = grid[2, 3] + SIZE * (full.max() + 0.5)
    upper = head.copy()
    upper[:, :, : max(0, int((top - 150 - grid[2, 3]) / SIZE))] = False
    guess = np.argwhere(upper).mean(axis=0) * SIZE + grid[:3, 3]
    guess[2] = top - 10 - 0.95 * (model.top - model.centre[2])
    return guess
