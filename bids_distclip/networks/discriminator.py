"""A discriminator of patches (Isola et al. 2017): is a piece of a slice a picture, or was it rendered?"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

#: Channels per level; every level halves the resolution, so that an answer is about 30 pixels of a slice.
WIDTHS = (32, 64, 128)


class PatchDiscriminator(nn.Module):
    """Strided 4×4 convolutions with instance norm and LeakyReLU(0.2), the first without norm.

    Parameters
    ----------
    widths
        Channels per level.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Conv2d(before, width, 4, stride=2, padding=1)
            for before, width in zip((1, *widths), widths, strict=False)
        )
        self.norms = nn.ModuleList(nn.InstanceNorm2d(width, affine=True) for width in widths[1:])
        self.out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return an answer per patch ``(B, 1, H/8, W/8)`` for slices ``(B, 1, H, W)``; 1 is a picture, 0 is not."""
        features = F.leaky_relu(self.levels[0](x), 0.2)
        for level, norm in zip(self.levels[1:], self.norms, strict=True):
            features = F.leaky_relu(norm(level(features)), 0.2)
        return self.out(features)
