"""What identifies a contrast: the physics of a protocol and how bright each tissue is under it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.simulation.protocol import Protocol
from bids_distclip.simulation.signal import Tissue
from bids_distclip.simulation.tissue import tissue_table

#: Tissues whose brightness is part of the signature.
TISSUES = (
    'white_matter',
    'cortical_gray',
    'csf',
    'thalamus',
    'putamen',
    'pallidum',
    'fat',
    'soft_tissue',
    'marrow',
)

#: Length of a signature: one number per tissue, six of timing, one per family.
LENGTH = len(TISSUES) + 6 + len(FAMILIES)


def signature(protocol: Protocol, *, scale: float) -> Tensor:
    """Return ``(LENGTH,)``: tissue signals over ``scale``; log TE, log TR, TI (0 if none), FA, B0, 3-D; family."""
    table = tissue_table(protocol.field_strength)
    rows = [table.index(t) for t in TISSUES]
    t1, t2, t2star, pd, mt = (
        torch.as_tensor(getattr(table, n)[rows], dtype=torch.float32) for n in ('t1', 't2', 't2star', 'pd', 'mt')
    )
    bright = (protocol.render(Tissue(t1, t2, t2star, pd, mt)) / scale).clamp(max=3.0)
    timing = torch.tensor(
        [
            math.log(protocol.echo / 0.02),
            math.log(protocol.repetition / 2.0),
            protocol.inversion_time or 0.0,
            protocol.flip_angle / 60.0,
            protocol.field_strength / 3.0,
            float(protocol.sidecar['MRAcquisitionType'] == '3D'),
        ]
    )
    family = torch.tensor([float(protocol.family == f) for f in FAMILIES])
    return torch.cat([bright, timing, family])
