"""What lies around the voxels of an anatomy: the ventricles' walls, open fluid, the outside of the head."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.tissue import tissue_table


def ventricle_walls(anatomy: Anatomy) -> Tensor:
    """Return vectors ``(1, 3, X/2, Y/2, Z/2)`` of length 0…1 towards the ventricles, longest at their walls.

    They are the gradient of the ventricles' mask, smoothed over some 12 mm so that no reasonable multiple of them folds
    space; the last anatomies' are kept.
    """
    key = (anatomy.name, anatomy.tissue.shape, int(anatomy.tissue.sum(dtype=np.int64)))
    if key not in _WALLS:
        mask = torch.as_tensor(anatomy.tissue == tissue_table(3.0).index('csf'), dtype=torch.float32)[None, None]
        half = [max(2, n // 2) for n in anatomy.tissue.shape]
        mask = F.interpolate(mask, size=half, mode='trilinear', align_corners=True)
        for _ in range(3):
            mask = F.avg_pool3d(mask, 5, stride=1, padding=2)
        vectors = torch.stack(torch.gradient(mask[0, 0]))[None]
        if len(_WALLS) >= 32:
            _WALLS.clear()
        _WALLS[key] = vectors / vectors.norm(dim=1).amax().clamp(min=1e-6)
    return _WALLS[key]


_WALLS: dict[tuple, Tensor] = {}


def fluid_surroundings(anatomy: Anatomy) -> Tensor:
    """Return how much of what is around each voxel is no brain tissue, and how much lies beyond the meninges, as uint8
    ``(2, X, Y, Z)``, 255 for all of it.

    The former over some 4 mm: a narrow sulcus has about 80, its mouth and a cistern more; the latter over some 5 mm,
    half of them at the very surface. The last anatomies' are kept.
    """
    key = (anatomy.name, anatomy.tissue.shape, int(anatomy.tissue.sum(dtype=np.int64)))
    if key not in _AROUND:
        closed = anatomy.brain & (anatomy.tissue != tissue_table(3.0).index('subarachnoid'))
        if len(_AROUND) >= 32:
            _AROUND.clear()
        _AROUND[key] = torch.stack([_share_around(~closed, rounds=2), _share_around(~anatomy.brain, rounds=3)])
    return _AROUND[key]


_AROUND: dict[tuple, Tensor] = {}


def _share_around(mask: np.ndarray, *, rounds: int) -> Tensor:
    share = torch.as_tensor(mask, dtype=torch.float32)[None, None]
    for _ in range(rounds):
        share = F.avg_pool3d(share, 3, stride=1, padding=1, count_include_pad=False)
    return (255 * share[0, 0]).round().to(torch.uint8)
