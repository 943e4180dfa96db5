"""Lesions: soft-edged blobs in white matter that change the tissue they lie in, of kinds learnt from and kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.rotation import random_rotation
from bids_distclip.simulation.tissue import tissue_table

#: Kinds of lesion: parameters are *factors* on the tissue they lie in, radius in millimetres, how many at most.
LESIONS: dict[str, dict[str, tuple[float, float]]] = {
    'ms': {'t1': (1.3, 1.9), 't2': (1.6, 2.6), 'pd': (1.03, 1.15), 'radius': (1.5, 7.0), 'count': (1, 12)},
    'oedema': {'t1': (1.3, 1.7), 't2': (1.5, 2.5), 'pd': (1.05, 1.15), 'radius': (10.0, 28.0), 'count': (1, 1)},
    'tumour': {'t1': (1.3, 2.2), 't2': (1.3, 2.8), 'pd': (1.02, 1.15), 'radius': (8.0, 24.0), 'count': (1, 1)},
    'enhancing': {'t1': (0.35, 0.6), 't2': (1.0, 1.8), 'pd': (1.0, 1.1), 'radius': (3.0, 12.0), 'count': (1, 2)},
    'infarct': {'t1': (1.4, 2.6), 't2': (1.6, 4.0), 'pd': (1.05, 1.2), 'radius': (3.0, 20.0), 'count': (1, 2)},
}

#: Kinds that no training ever draws: what becomes of a lesion that is like none that was learnt (old blood, a cyst
#: filled with fluid, calcium).
UNSEEN: dict[str, dict[str, tuple[float, float]]] = {
    'blood': {'t1': (0.45, 0.8), 't2': (0.25, 0.6), 'pd': (0.9, 1.0), 'radius': (3.0, 12.0), 'count': (1, 2)},
    'cyst': {'t1': (3.0, 4.5), 't2': (8.0, 20.0), 'pd': (1.2, 1.35), 'radius': (3.0, 12.0), 'count': (1, 2)},
    'calcium': {'t1': (0.75, 1.0), 't2': (0.4, 0.7), 'pd': (0.4, 0.7), 'radius': (2.0, 7.0), 'count': (1, 3)},
}


@dataclass(frozen=True)
class Lesion:
    """A soft-edged blob: ``center`` in label-map voxels, ``shape`` maps to the unit ball, factors on T1, T2, PD."""

    kind: str
    center: np.ndarray
    shape: np.ndarray
    factors: tuple[float, float, float]


def draw_lesions(rng: np.random.Generator, anatomy: Anatomy, kinds: Sequence[str]) -> list[Lesion]:
    """Draw lesions of these kinds (:data:`LESIONS`, :data:`UNSEEN`), all in white matter; none where there is none."""
    white = tissue_table(3.0).index('white_matter')
    places = np.flatnonzero(anatomy.tissue.reshape(-1) == white)
    lesions: list[Lesion] = []
    if len(places) == 0:
        return lesions
    for kind in kinds:
        spec = (LESIONS | UNSEEN)[kind]
        for _ in range(int(rng.integers(int(spec['count'][0]), int(spec['count'][1]) + 1))):
            center = np.array(np.unravel_index(rng.choice(places), anatomy.tissue.shape), dtype=np.float32)
            radius = rng.uniform(*spec['radius']) * rng.uniform(0.7, 1.4, 3)
            t1, t2, pd = (float(rng.uniform(*spec[name])) for name in ('t1', 't2', 'pd'))
            lesions.append(Lesion(kind, center, np.diag(1 / radius) @ random_rotation(rng, 3.1), (t1, t2, pd)))
    return lesions


def lesions_at(
    lesions: Sequence[Lesion], where: Tensor, brain: Tensor, wobble: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the share of lesion ``(N,)`` at points ``(N, 3)`` in label-map voxels and the factors on T1, T2, PD.

    Lesions end with the ``brain``; ``wobble`` is a random field of unit variance that bends their edges.
    """
    total = torch.zeros(len(where), device=where.device)
    factors = [torch.ones(len(where), device=where.device) for _ in range(3)]
    low, high = where.amin(0), where.amax(0)
    for lesion in lesions:
        center = torch.as_tensor(lesion.center, device=where.device)
        reach = 2.5 / float(np.linalg.svd(lesion.shape, compute_uv=False).min())
        if bool(((center + reach) < low).any() or ((center - reach) > high).any()):
            continue
        shape = torch.as_tensor(lesion.shape, dtype=torch.float32, device=where.device)
        distance = ((where - center) @ shape.T).norm(dim=1) + 0.18 * wobble
        inside = torch.sigmoid((1 - distance) * 8) * brain
        factors = [f * torch.exp(inside * float(np.log(g))) for f, g in zip(factors, lesion.factors, strict=False)]
        total = torch.maximum(total, inside)
    return total, factors
