"""Tissue of a volume, as a segmenter and the image's own intensities tell it; whether it can be that of a brain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage as ndi

from bids_distclip.quality.tissue import channel
from bids_distclip.volume.image import Volume
from bids_distclip.volume.mixture import settled
from bids_distclip.volume.morphology import largest
from bids_distclip.volume.planes import bounding_box

#: A whole brain with the fluid around it (litres), and the least share of it that is white matter, and cortex.
LITRES = (0.7, 2.3)
LEAST = {'WM': 0.12, 'CGM': 0.12}
#: In-plane voxels larger than this (mm) mix cortex with what surrounds it everywhere: tissue is not told then.
COARSEST = 3.0
#: How far around the brain (mm) is shown to what tells tissue.
AROUND = 15.0
#: Tells the share of every class of tissue in a volume, ``(C, X, Y, Z)``; the first is what is not brain.
Segment = Callable[[Volume], np.ndarray]
#: Tissues between which the image's own intensities decide, with those shares as prior.
SETTLED = ('WM', 'CGM', 'CSF')


@dataclass(frozen=True)
class TissueShares:
    """What a segmenter says of the voxels of a brain mask: their ``shares`` of every class ``(C, N)``, N voxels where
    ``inside`` ``(X, Y, Z)`` is true; ``voxel`` in mm³."""

    inside: np.ndarray
    shares: np.ndarray
    voxel: float

    def likeliest(self) -> np.ndarray:
        """Return the likeliest class of every voxel, uint8 ``(X, Y, Z)``."""
        return self._placed(self.shares.argmax(0))

    def settled(self, volume: Volume) -> np.ndarray | None:
        """Return the class of every voxel as the intensities of a volume decide it; None if no whole brain has it."""
        values = volume.data[self.inside]
        if not values.size:
            return None
        bright = max(float(np.quantile(values, 0.99)), 1e-12)
        classes = [channel(name) for name in SETTLED]
        tissue = self._placed(settled(values / bright, self.shares, classes=classes))
        return tissue if is_whole_brain(tissue, voxel=self.voxel) else None

    def _placed(self, classes: np.ndarray) -> np.ndarray:
        placed = np.zeros(self.inside.shape, np.uint8)
        placed[self.inside] = classes
        return placed


def told_tissue(volume: Volume, brain: np.ndarray, segment: Segment) -> np.ndarray | None:
    """Return the tissue of a volume within a brain mask, uint8 ``(X, Y, Z)``; None if it cannot be a whole brain's."""
    shares = tissue_shares(volume, brain, segment)
    return shares.settled(volume) if shares else None


def tissue_shares(volume: Volume, brain: np.ndarray, segment: Segment) -> TissueShares | None:
    """Return what a segmenter says of a volume within a brain mask; None where the voxels are too large for it."""
    if not brain.any() or sorted(volume.spacing)[1] > COARSEST:
        return None
    margin = tuple(round(AROUND / side) for side in volume.spacing)
    box = tuple(
        slice(max(0, part.start - extra), part.stop + extra)
        for part, extra in zip(bounding_box(brain), margin, strict=True)
    )
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    data = np.ascontiguousarray(volume.data[box])
    shares = segment(replace(volume, data=data, affine=affine))
    inside = np.zeros(brain.shape, bool)
    inside[box] = brain[box] & (shares[0] < 0.5)
    kept = np.stack([one[inside[box]] for one in shares])
    # None of these voxels is background.
    kept[0] = 0
    return TissueShares(inside, kept, voxel=float(np.prod(volume.spacing)))


def tidied(likely: np.ndarray) -> np.ndarray:
    """Return the brain from how likely every voxel is part of it: the largest piece, thin bridges cut, holes filled."""
    mask = likely > 0.5
    core = largest(ndi.binary_opening(mask, iterations=2))
    return np.asarray(ndi.binary_fill_holes(ndi.binary_dilation(core, iterations=3, mask=mask)))


def is_whole_brain(tissue: np.ndarray, *, voxel: float) -> bool:
    """Return whether labels are those of a whole brain: its volume, white matter and cortex; ``voxel`` in mm³."""
    counts = np.bincount(tissue.ravel(), minlength=1)
    brain = int(counts[1:].sum())
    if not LITRES[0] <= brain * voxel * 1e-6 <= LITRES[1]:
        return False
    return all(len(counts) > channel(name) and counts[channel(name)] >= least * brain for name, least in LEAST.items())
