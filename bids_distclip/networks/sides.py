"""The sides of slices: brought to those that a network takes, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def at_size(
    network: Callable[[Tensor], Tensor],
    slices: Tensor,
    *,
    size: Sequence[int],
    multiple: int,
    sharp: bool = False,
) -> Tensor:
    """Return what a network makes of slices ``(B, C, H, W)`` resampled to ``size`` pixels, on their own grid, float32.

    What the network sees is padded with zeros below and to the right to sides that are multiples of ``multiple``. Its
    answer is brought back bilinearly, or by a ``sharp`` bicubic that may overshoot.
    """
    own = list(slices.shape[-2:])
    fitted = _resized(slices, size, mode='bilinear', antialias=True)
    pad = [-n % multiple for n in size]
    answer = network(F.pad(fitted, (0, pad[1], 0, pad[0])))[..., : size[0], : size[1]].float()
    back: dict[str, Any] = {'mode': 'bicubic'} if sharp else {'mode': 'bilinear', 'antialias': True}
    return _resized(answer, own, **back)


def _resized(images: Tensor, size: Sequence[int], **how: Any) -> Tensor:
    if list(images.shape[-2:]) == list(size):
        return images
    return F.interpolate(images, size=tuple(size), align_corners=False, **how)
