"""U-Nets on slices, and the Anatomy Mapper, which reads physical tissue maps off a slice of any contrast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Two times 3×3 convolution, instance norm, LeakyReLU(0.1); an optional style shifts and scales the result."""

    def __init__(self, inputs: int, outputs: int, *, style: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm_first = nn.InstanceNorm2d(outputs, affine=True)
        self.norm_second = nn.InstanceNorm2d(outputs, affine=True)
        self.film = nn.Linear(style, 2 * outputs) if style else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Return ``(B, outputs, H, W)``; ``style`` is ``(B, style)``."""
        x = F.leaky_relu(self.norm_first(self.first(x)), 0.1)
        x = self.norm_second(self.second(x))
        if self.film is not None and style is not None:
            scale, shift = self.film(style)[..., None, None].chunk(2, dim=1)
            x = x * (1 + scale) + shift
        return F.leaky_relu(x, 0.1)


class UNet(nn.Module):
    """Convolution blocks on ever coarser pixels and back, with skips (Ronneberger et al. 2015).

    Parameters
    ----------
    widths
        Channels per level, the bottleneck last; every level halves the resolution.
    style
        Length of a vector that shifts and scales every block's result; 0 for none.
    """

    def __init__(self, widths: Sequence[int], *, style: int = 0) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.down = nn.ModuleList(
            ConvBlock(before, width, style=style) for before, width in zip((2, *self.widths), self.widths, strict=False)
        )
        self.up = nn.ModuleList(
            ConvBlock(deep + wide, wide, style=style)
            for deep, wide in zip(self.widths[:0:-1], self.widths[-2::-1], strict=False)
        )

    @property
    def multiple(self) -> int:
        """What the sides of a slice must be multiples of."""
        return 2 ** (len(self.widths) - 1)

    def features(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Return ``(B, widths[0], H, W)`` of slices ``(B, 1, H, W)``, seen as they are and as their square root."""
        features = torch.cat([x, x.clamp(min=0).sqrt()], 1)
        skips: list[Tensor] = []
        for index, block in enumerate(self.down):
            features = block(F.avg_pool2d(features, 2) if index else features, style)
            skips.append(features)
        for block, skip in zip(self.up, skips[-2::-1], strict=False):
            features = F.interpolate(features, scale_factor=2, mode='bilinear', align_corners=False)
            features = block(torch.cat([features, skip], 1), style)
        return features


class AnatomyMapper(UNet):
    """Map a slice to β: three physical channels (log T1, log T2, PD, standardized) and free ones.

    Parameters
    ----------
    widths
        Channels per level, the bottleneck last; every level halves the resolution.
    channels
        Channels of β. With ``physical=False`` they all are free and squashed to 0…1, as in the released model.
    style
        Length of the vector that tells which contrast the slice has; 0 leaves the mapper to find out by itself.
    """

    def __init__(self, widths: Sequence[int], *, channels: int, style: int = 0, physical: bool = True) -> None:
        super().__init__(widths, style=style)
        self.physical = physical
        self.out = nn.Conv2d(self.widths[0] + 1, channels, 1)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Return β ``(B, channels, H, W)`` of slices ``(B, 1, H, W)``; H, W are multiples of :attr:`multiple`.

        Instance norm would lose the absolute intensity; a copy of the slice as it is goes to the last layer.
        """
        beta = self.out(torch.cat([self.features(x, style), x], 1))
        return beta if self.physical else torch.sigmoid(beta)
