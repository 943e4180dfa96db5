"""Whether two images of a person show the same anatomy at the same place, and the one on the grid of the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from bids_distclip.volume.coarse import onto, resampled
from bids_distclip.volume.lattice import turn_onto
from bids_distclip.volume.prepared import Prepared
from bids_distclip.volume.registration import mutual_information

#: Voxel size (mm) at which two images are compared, and the moves that are tried (mm, degrees). Images whose voxels are
#: larger are compared at their size: nothing finer can be told of them.
STEP = 2.0
#: What is allowed: displacement and rotation as a share of that step, least overlap of the brains (Dice), least share
#: of a brain that the other image sees.
FAR, OVERLAP, SEEN = 0.5, 0.85, 0.8
#: How much larger a side of one image's voxels may be than the other's; less where slices are thicker than this (mm).
COARSER, COARSER_THICK, THICK = 1.6, 1.25, 2.0
_RANKS = 32


@dataclass(frozen=True)
class Alignment:
    """How two images lie: ``shift`` in mm and ``turn`` in degrees about the three world axes that would make them agree
    best, ``overlap`` of their brains (Dice), and why they are no pair (``refused``, empty where they are one).
    """

    refused: str
    overlap: float = 0.0
    shift: tuple[float, ...] = ()
    turn: tuple[float, ...] = ()


def align(first: Prepared, second: Prepared) -> Alignment:
    """Compare two images by their headers and their contents; nothing is moved.

    Voxels have to be of about the same size, brains have to cover each other, and mutual information has to be largest
    where the headers put the images: moved by two millimetres or degrees either way it must fall, so that the summit
    of the parabola through the three values lies within one.
    """
    refused = _too_coarse(first, second)
    if refused:
        return Alignment(refused)
    step = max(STEP, *(sorted(one.volume.spacing)[1] for one in (first, second)))
    image, grid = resampled(first.volume.data, affine=first.volume.affine, size=step)
    shape = image.shape
    brain = onto(first.brain, affine=first.volume.affine, grid=grid, shape=shape) > 0.5
    other, own = resampled(second.volume.data, affine=second.volume.affine, size=step)
    other_brain = onto(second.brain, affine=second.volume.affine, grid=grid, shape=shape) > 0.5
    seen = onto(np.ones_like(other), affine=own, grid=grid, shape=shape) > 0.5
    share = float((brain & seen).sum() / max(1, brain.sum()))
    if share < SEEN:
        return Alignment(f'the other image sees {share:.0%} of the brain ({SEEN:.0%} needed)')
    overlap = 2 * float((brain & other_brain).sum()) / max(1.0, float((brain & seen).sum() + other_brain.sum()))
    if overlap < OVERLAP:
        return Alignment(f'the brains overlap by {overlap:.2f} ({OVERLAP} needed)', overlap)
    # Moving an image between voxels takes noise away, which alone makes two agree better: here it is taken before.
    image, other = ndi.gaussian_filter(image, 1.0), ndi.gaussian_filter(other, 1.0)
    compared = _Compared(image, brain & seen, other, own, grid, step=step)
    found = [compared.summit(axis) for axis in range(6)]
    shift, turn = tuple(found[:3]), tuple(found[3:])
    apart = f'they agree better when one is moved by up to {step:g} mm or degrees'
    return Alignment('' if np.isfinite(found).all() else apart, overlap, shift, turn)


def placed(second: Prepared, first: Prepared) -> np.ndarray:
    """Return the second image on the first one's grid, float32 ``(X, Y, Z)``, in its own units.

    Voxels that are the same stay as they are; others are interpolated by cubic splines. Zero where it sees nothing.
    """
    volume, grid, shape = second.volume, first.volume.affine, first.volume.data.shape
    turn = turn_onto(volume.affine, volume.data.shape, grid=grid, grid_shape=shape)
    if turn is not None:
        import nibabel as nib

        return np.ascontiguousarray(nib.orientations.apply_orientation(volume.data, turn))
    step = np.linalg.inv(volume.affine) @ grid
    moved = ndi.affine_transform(volume.data, step[:3, :3], step[:3, 3], output_shape=shape, order=3)
    return np.clip(moved, 0, None).astype(np.float32)


class _Compared:
    """Mutual information of one image with another that is moved about the middle of the brain."""

    def __init__(
        self,
        image: np.ndarray,
        inside: np.ndarray,
        other: np.ndarray,
        own: np.ndarray,
        grid: np.ndarray,
        *,
        step: float,
    ) -> None:
        self.step = step
        self.inside, self.other, self.own, self.grid = inside, other, own, grid
        self.middle = grid[:3, :3] @ np.argwhere(inside).mean(0) + grid[:3, 3]
        self.rows = _ranked(image[inside], image[inside])
        self.edges_from = onto(other, affine=own, grid=grid, shape=inside.shape)[inside]
        self.here = self.at(np.eye(4))

    def at(self, move: np.ndarray) -> float:
        """Return the mutual information (nats) with the other image moved by a 4×4 map of the world."""
        values = onto(self.other, affine=move @ self.own, grid=self.grid, shape=self.inside.shape)[self.inside]
        joint = np.bincount(self.rows * _RANKS + _ranked(values, self.edges_from), minlength=_RANKS**2)
        return mutual_information(joint.reshape(_RANKS, _RANKS).astype(float))

    def summit(self, axis: int) -> float:
        """Return where along one of three translations and three rotations it is largest; inf where that is further
        than :data:`FAR`, which is where one of the two moves that are tried is better."""
        back, forth = (self.at(self._move(axis, side * self.step)) for side in (-1, 1))
        bend = back - 2 * self.here + forth
        summit = (back - forth) / (2 * bend) if bend < 0 else np.inf
        return float(self.step * summit) if abs(summit) <= FAR else np.inf

    def _move(self, axis: int, by: float) -> np.ndarray:
        move = np.eye(4)
        if axis < 3:
            move[axis, 3] = by
            return move
        a, b = (i for i in range(3) if i != axis - 3)
        cosine, sine = np.cos(np.radians(by)), np.sin(np.radians(by))
        move[a, a], move[a, b], move[b, a], move[b, b] = cosine, -sine, sine, cosine
        move[:3, 3] = self.middle - move[:3, :3] @ self.middle
        return move


def _ranked(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.quantile(like, np.linspace(0, 1, _RANKS + 1)[1:-1]), values)


def _too_coarse(first: Prepared, second: Prepared) -> str:
    """Return why the voxels of two images are too different; sides are measured along the first one's axes."""
    own = np.array(first.volume.spacing)
    axes = first.volume.affine[:3, :3] / own
    others = np.linalg.norm(np.linalg.inv(axes) @ second.volume.affine[:3, :3], axis=1)
    for mine, theirs in zip(own, others, strict=True):
        small, large = sorted((float(mine), float(theirs)))
        allowed = COARSER_THICK if large > THICK else COARSER
        if large > allowed * small * (1 + 1e-3):
            return f'voxels of {small:.2f} and {large:.2f} mm along one axis ({allowed:g} times allowed)'
    return ''
