"""Batches of slices of real images, which lack some of the truth that simulated ones come with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.simulation.stream import Batch


@dataclass(frozen=True)
class Acquired:
    """What is known of how a real picture was made, where a simulated one has its protocol."""

    acquisition: Acquisition
    family: str


@dataclass(frozen=True)
class RealBatch(Batch):
    """S slices × 2 pictures of real images; what they lack is zero. ``clean`` is the picture as it is.

    ``paired`` ``(S,)`` tells whether both pictures show the same anatomy, ``told`` ``(S, 2)`` whether metadata say
    enough to guide, ``pictured`` ``(S, 2, 512)`` the styles that the app finds in the images the slices are of.
    """

    protocols: Any
    paired: Tensor
    told: Tensor
    pictured: Tensor


def is_paired(batch: Batch) -> Tensor:
    """Tell for each slice whether its pictures show the same anatomy, ``(S,)``."""
    return batch.paired if isinstance(batch, RealBatch) else torch.ones(len(batch.clean), dtype=torch.bool)


def is_known(batch: Batch) -> Tensor:
    """Tell for each slice whether its true physical maps are known, ``(S,)``."""
    return torch.full((len(batch.clean),), not isinstance(batch, RealBatch))


def is_told(batch: Batch) -> Tensor:
    """Tell for each picture whether its metadata say enough to guide, ``(S, P)``."""
    return batch.told if isinstance(batch, RealBatch) else torch.ones(batch.clean.shape[:2], dtype=torch.bool)


def is_alike(batch: Batch) -> Tensor:
    """Tell for each slice whether its two pictures are of one contrast family, ``(S,)``."""
    return torch.tensor([a.family == b.family for a, b in batch.protocols])
