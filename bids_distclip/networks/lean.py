"""U-Nets as they run when nothing is learnt: one dtype throughout, channels last, each style folded into the weights.

Under autocast on a processor much of a generator's time goes into casts, copies to and from the layout that
convolutions want, and normalization and bilinear enlargement in the other layout. Here the weights are cast once and
every array stays in the convolutions' layout. The numbers are those of the modules (tests hold both against each
other); what is trained and saved are the modules alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.networks.unet import AnatomyMapper, ConvBlock, UNet

#: Below so many pixels torch normalizes maps in this layout by a way that is fifty times slower than plain arithmetic.
SMALL = 1024
_EPSILON = 1e-5


def packed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a convolution's weight ``(O, I, H, W)`` in the dtype, channels last."""
    return weight.to(dtype).contiguous(memory_format=torch.channels_last)


def biased(layer: nn.Conv2d, dtype: torch.dtype) -> Tensor:
    """Return a convolution's bias in the dtype."""
    assert layer.bias is not None, 'a convolution without a bias'
    return layer.bias.to(dtype)


def exact(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return numbers in the dtype in which sums over maps of a dtype are to be taken: at least float32."""
    return x.to(torch.promote_types(dtype, torch.float32))


def normalized(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Return the instance norm of ``(B, C, H, W)``, channels last, with an :func:`exact` affine."""
    if x.shape[-2] * x.shape[-1] >= SMALL:
        return F.group_norm(x, x.shape[1], weight, bias, _EPSILON)
    wide = exact(x, x.dtype)
    off = wide - wide.mean((2, 3), keepdim=True)
    off *= torch.rsqrt((off * off).mean((2, 3), keepdim=True) + _EPSILON)
    if weight is not None and bias is not None:
        off = torch.addcmul(bias[:, None, None], off, weight[:, None, None])
    return off.to(x.dtype).contiguous(memory_format=torch.channels_last)


class LeanBlock:
    """A :class:`ConvBlock` with its style, if any, in the affine of its second norm.

    Of a block on features joined with a skip, ``skip`` says how many channels the latter has: its part of the first
    convolution is linear in it and can be had once for several styles.
    """

    def __init__(
        self, block: ConvBlock, *, dtype: torch.dtype, style: Tensor | None = None, skip: int = 0
    ) -> None:
        weight, deep = block.first.weight, block.first.in_channels - skip
        self.first, self.second = packed(weight[:, :deep], dtype), packed(block.second.weight, dtype)
        self.first_skip = packed(weight[:, deep:], dtype) if skip else None
        self.affine = exact(block.norm_first.weight, dtype), exact(block.norm_first.bias, dtype)
        scale, shift = block.norm_second.weight, block.norm_second.bias
        if block.film is not None and style is not None:
            more, further = block.film(style)[0].chunk(2)
            scale, shift = scale * (1 + more), shift * (1 + more) + further
        self.affine_second = exact(scale, dtype), exact(shift, dtype)

    def of_skip(self, skip: Tensor) -> Tensor:
        """Return the skip's part of the first convolution."""
        assert self.first_skip is not None, 'a block without a skip'
        return F.conv2d(skip, self.first_skip, padding=1)

    def __call__(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return what the block makes of features, and of a skip by :meth:`of_skip`."""
        x = F.conv2d(x, self.first, padding=1)
        if skip is not None:
            x += skip
        x = F.leaky_relu_(normalized(x, *self.affine), 0.1)
        return F.leaky_relu_(normalized(F.conv2d(x, self.second, padding=1), *self.affine_second), 0.1)


def blocks(modules: nn.ModuleList) -> list[ConvBlock]:
    """Return the blocks of a list."""
    return [module for module in modules if isinstance(module, ConvBlock)]


class LeanUNet:
    """A :class:`UNet` in one style, or without."""

    def __init__(self, unet: UNet, *, dtype: torch.dtype, style: Tensor | None = None) -> None:
        self.dtype = dtype
        self.down = [LeanBlock(block, dtype=dtype, style=style) for block in blocks(unet.down)]
        self.up = [
            LeanBlock(block, dtype=dtype, style=style, skip=wide)
            for block, wide in zip(blocks(unet.up), unet.widths[-2::-1], strict=True)
        ]

    def features(self, x: Tensor) -> Tensor:
        """Return ``(B, widths[0], H, W)`` of slices ``(B, 1, H, W)``."""
        features = packed(torch.cat([x, x.clamp(min=0).sqrt()], 1), self.dtype)
        skips = []
        for index, block in enumerate(self.down):
            features = block(F.avg_pool2d(features, 2) if index else features)
            skips.append(features)
        for block, skip in zip(self.up, skips[-2::-1], strict=False):
            features = block(enlarged(features), block.of_skip(skip))
        return features


class LeanMapper(LeanUNet):
    """An :class:`AnatomyMapper` in one style."""

    def __init__(self, mapper: AnatomyMapper, *, dtype: torch.dtype, style: Tensor | None = None) -> None:
        super().__init__(mapper, dtype=dtype, style=style)
        self.physical = mapper.physical
        weight = mapper.out.weight
        self.out = packed(weight[:, :-1], dtype), biased(mapper.out, dtype)
        self.out_slice = packed(weight[:, -1:], dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return β ``(B, channels, H, W)`` of slices ``(B, 1, H, W)``."""
        # Joining one channel to the features would tell torch that nothing is channels last.
        beta = F.conv2d(self.features(x), *self.out)
        beta += F.conv2d(packed(x, self.dtype), self.out_slice)
        return beta if self.physical else torch.sigmoid(beta)


def enlarged(x: Tensor) -> Tensor:
    """Return maps ``(B, C, H, W)`` bilinearly on pixels of half the size."""
    return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
