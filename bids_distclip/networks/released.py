"""MR-CLIP weights that a user brings: a checkpoint of open_clip's layout in the released shape, ViT-B/16.

Weights of others are never shipped and never unpickled: the user saves the checkpoint's state as safetensors once
(docs/training.md). The mapping is open_clip's own names, with or without ``module.`` before them, below ``towers.``
here; a first layer for three equal channels becomes one for one channel by its sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bids_distclip.errors import BadData
from bids_distclip.networks.mrclip import MRCLIP

#: The configuration of the released shape.
RELEASED = 'mrclip-vit-b-16'
_FIRST = 'visual.conv1.weight'


def adopt(state: Mapping[str, Tensor], *, file: Path) -> MRCLIP:
    """Return an MR-CLIP with these weights; its read-out, which only training uses, says nothing yet.

    Raises
    ------
    BadData
        If a tensor is missing or of another shape than in the released model.
    """
    found = {name.removeprefix('module.'): value.float() for name, value in state.items()}
    if _FIRST in found and found[_FIRST].ndim == 4 and found[_FIRST].shape[1] == 3:
        found[_FIRST] = found[_FIRST].sum(1, keepdim=True)
    model = MRCLIP(RELEASED)
    own = model.towers.state_dict()
    wrong = sorted(name for name, value in own.items() if name not in found or found[name].shape != value.shape)
    if wrong:
        raise BadData(
            f'Not an MR-CLIP of the released shape: {len(wrong)} of {len(own)} tensors are missing or of another '
            f'shape, such as {wrong[0]}',
            file=file,
            cure='Give weights of this package, or the state of an open_clip ViT-B/16 with 98 tokens of context.',
        )
    model.towers.load_state_dict({name: found[name] for name in own})
    with torch.no_grad():
        for parameter in model.read_out.parameters():
            parameter.zero_()
    return model.requires_grad_(False)
