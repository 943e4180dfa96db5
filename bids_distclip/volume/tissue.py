"""Tissue of a volume, as a segmenter and the image's own intensities tell it; whether it can be that of a brain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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


def told_tissue(volume: Volume, brain: np.ndarray, segment: Segment) -> np.ndarray | None:
    """Return the tissue of a volume within a brain mask, uint8 ``(X, Y, Z)``; None if it cannot be a whole brain's."""
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
    inside = brain[box] & (shares[0] < 0.5)
    kept = np.zeros(brain.shape, np.uint8)
    kept[box][inside] = _settled(data[inside], np.stack([one[inside] for one in shares]))
    return kept if is_whole_brain(kept, voxel=float(np.prod(volume.spacing))) else None


def _settled(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the class of N brain voxels from intensities ``(N,)`` and shares ``(C, N)``; none is background."""
    if not values.size:
        return np.zeros(0, np.uint8)
    shares[0] = 0
    bright = max(float(np.quantile(values, 0.99)), 1e-12)
    return settled(values / bright, shares, classes=[channel(name) for name in SETTLED])


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
