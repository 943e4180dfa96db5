"""What a segmenter says, made a brain mask, and whether it can be that of a brain."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from bids_distclip.quality.tissue import channel
from bids_distclip.volume.coarse import largest

#: A whole brain with the fluid around it (litres), and the least share of it that is white matter, and cortex.
LITRES = (0.7, 2.3)
LEAST = {'WM': 0.12, 'CGM': 0.12}


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
