"""The generator as it runs between two fixed styles (see :mod:`bids_distclip.networks.lean`).

Every slice of a volume is changed from the same style to the same style. What depends on styles alone is made once:
scales and shifts go into the weights around them, and the half of a convolution that looks at the style is a constant,
but for the border. What depends on the slice alone is made once for both styles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.networks.ast import SOFTMAX_LIMIT, AdaptiveStyleTransfer
from bids_distclip.networks.generator import Generator, StyleFusionDecoder, widened
from bids_distclip.networks.lean import LeanBlock, LeanMapper, enlarged, normalized, packed


class LeanGenerator:
    """A :class:`Generator` between the styles ``source`` and ``target``, ``(1, 512)`` each."""

    def __init__(self, generator: Generator, *, source: Tensor, target: Tensor, dtype: torch.dtype) -> None:
        own, other = widened(source), widened(target)
        self.mapper = LeanMapper(generator.mapper, dtype=dtype, style=own if generator.options.mapper_style else None)
        self.reader = LeanReader(generator.decoder, dtype=dtype)
        self.source, self.target = (
            LeanPainter(generator.decoder, theta, dtype=dtype) for theta in (own, other)
        )

    @staticmethod
    def knows(generator: object) -> bool:
        """Tell whether a network is one that can be run this way: the ablations of the style transfer are not."""
        return isinstance(generator, Generator) and generator.options.variant == 'ast'

    def change(self, x: Tensor) -> Tensor:
        """Return what slices ``(B, 1, H, W)`` in float32 must change by to go from one style to the other."""
        beta = self.mapper(x)
        deep, skips = self.reader(beta)
        return self.target(beta, deep, skips) - self.source(beta, deep, skips)

    def render(self, x: Tensor) -> Tensor:
        """Return slices ``(B, 1, H, W)``, given in float32, rendered in the target's style."""
        beta = self.mapper(x)
        return self.target(beta, *self.reader(beta))


class LeanReader:
    """What the decoder finds in β before any style: the deepest features, and the skips as the way up takes them."""

    def __init__(self, decoder: StyleFusionDecoder, *, dtype: torch.dtype) -> None:
        widths = [block.first.out_channels for block in decoder.down]
        self.down = [LeanBlock(block, dtype=dtype) for block in decoder.down]
        self.up = [
            LeanBlock(block, dtype=dtype, skip=wide) for block, wide in zip(decoder.up, widths[-2::-1], strict=True)
        ]

    def __call__(self, beta: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features of the coarsest scale, and what each block of the way up takes of its skip."""
        features, skips = beta, []
        for index, block in enumerate(self.down):
            features = block(F.avg_pool2d(features, 2) if index else features)
            skips.append(features)
        return features, [block.of_skip(skip) for block, skip in zip(self.up, skips[-2::-1], strict=True)]


class LeanPainter:
    """The way up of the decoder, and its head, in one style ``theta`` ``(1, 512)``."""

    def __init__(self, decoder: StyleFusionDecoder, theta: Tensor, *, dtype: torch.dtype) -> None:
        self.up = LeanReader(decoder, dtype=dtype).up
        self.transfer = [LeanTransfer(one, theta, dtype=dtype) for one in decoder.transfer]
        scale, shift, scale_second, shift_second = decoder.film(theta)[0].chunk(4)
        self.point = _filmed(decoder.point, scale, shift, dtype)
        self.point_second = _filmed(decoder.point_second, scale_second, shift_second, dtype)
        self.out = packed(decoder.out.weight, dtype), decoder.out.bias.to(dtype)

    def __call__(self, beta: Tensor, deep: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Return slices ``(B, 1, H, W)`` from β and what :class:`LeanReader` found in it."""
        features = self.transfer[0](deep)
        for block, transfer, skip in zip(self.up, self.transfer[1:], skips, strict=True):
            features = transfer(block(enlarged(features), skip))
        joined = torch.cat([beta, features], 1)
        # One slice at a time: its many channels stay in the cache.
        return torch.cat([self._pointwise(one) for one in joined.split(1)])

    def _pointwise(self, x: Tensor) -> Tensor:
        x = F.silu(F.conv2d(x, *self.point), inplace=True)
        return F.conv2d(F.silu(F.conv2d(x, *self.point_second), inplace=True), *self.out)


def _filmed(layer: nn.Module, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a pointwise layer whose result is scaled by one more than ``scale`` and shifted."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    weight = layer.weight * (1 + scale)[:, None, None, None]
    return packed(weight, dtype), (layer.bias * (1 + scale) + shift).to(dtype)


class LeanTransfer:
    """An :class:`AdaptiveStyleTransfer` of the variant *ast* in one style ``theta`` ``(1, 512)``."""

    def __init__(self, transfer: AdaptiveStyleTransfer, theta: Tensor, *, dtype: torch.dtype) -> None:
        channels, self.heads = transfer.query.out_channels, transfer.heads
        style = transfer.style(theta)
        self.query_bias = (transfer.query.bias + transfer.query_style(style)[0]).to(dtype)
        self.query, self.key, self.value, self.mix = (
            layer.weight[:, :, 0, 0] for layer in (transfer.query, transfer.key, transfer.value, transfer.mix)
        )
        self.both = torch.cat([self.query, self.key]).to(dtype)
        self.key_bias, self.value_bias, self.mix_bias = (
            layer.bias for layer in (transfer.key, transfer.value, transfer.mix)
        )
        which = torch.arange(channels, device=style.device) // (channels // self.heads)
        self.same_head = (which[:, None] == which).to(style.dtype)
        self.hidden = packed(transfer.hidden.weight[:, :channels], dtype)
        # A constant map that is padded with zeros has nine kinds of places: corners, sides and the middle.
        frame = F.conv2d(style[..., None, None].expand(-1, -1, 3, 3), transfer.hidden.weight[:, channels:],
                         transfer.hidden.bias, padding=1)
        self.hidden_bias = frame[0, :, 1, 1].to(dtype)
        self.frame = (frame - frame[:, :, 1:2, 1:2]).to(dtype)
        bias, shift_bias = transfer.modulate.bias.chunk(2)
        weight, shift_weight = transfer.modulate.weight.chunk(2)
        self.scale = packed(weight, dtype), (1 + bias).to(dtype)
        self.shift = packed(shift_weight, dtype), shift_bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return restyled features of the shape of ``x`` ``(B, C, H, W)``, channels last."""
        linear = x.shape[-2] * x.shape[-1] > SOFTMAX_LIMIT
        normal = normalized((self._attended if linear else self._attended_softmax)(x, normalized(x)))
        hidden = F.conv2d(normal, self.hidden, self.hidden_bias, padding=1)
        _add_frame(hidden, self.frame)
        hidden.relu_()
        return F.conv2d(hidden, *self.shift, padding=1).addcmul_(F.conv2d(hidden, *self.scale, padding=1), normal)

    def _attended(self, x: Tensor, normal: Tensor) -> Tensor:
        """Add linear attention to ``x``.

        Keys and values meet in one small matrix per slice, into which values and mixing go as well: the values
        themselves are never made. A bias of the keys cancels in their softmax.
        """
        batch, channels, height, width = x.shape
        flat, flat_normal = (t.permute(0, 2, 3, 1).reshape(batch, -1, channels) for t in (x, normal))
        both = torch.bmm(self.both.expand(batch, -1, -1), flat_normal.transpose(1, 2))
        query, key = both[:, :channels], both[:, channels:]
        query += self.query_bias[:, None]
        met = torch.bmm(key.softmax(-1), flat).float()
        values = (met @ self.value.T + self.value_bias) * self.same_head
        # The weights of a query sum to one in every head, so that its rows can carry the bias.
        mixed = values @ self.mix.T + self.mix_bias / self.heads
        split = query.view(batch, self.heads, -1, height * width)
        weights = split.softmax(2).view(batch, channels, -1)
        made = torch.baddbmm(flat, weights.transpose(1, 2), mixed.to(x.dtype))
        return made.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _attended_softmax(self, x: Tensor, normal: Tensor) -> Tensor:
        """Add softmax attention to ``x``."""
        batch, channels, height, width = x.shape
        flat, flat_normal = (t.permute(0, 2, 3, 1).reshape(batch, -1, channels) for t in (x, normal))

        def layer(t: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            made = F.linear(t, weight.to(t.dtype), bias.to(t.dtype))
            return made.view(batch, -1, self.heads, channels // self.heads).transpose(1, 2)

        query, key = (layer(flat_normal, *one) for one in ((self.query, self.query_bias), (self.key, self.key_bias)))
        found = F.scaled_dot_product_attention(query, key, layer(flat, self.value, self.value_bias))
        made = flat + F.linear(found.transpose(1, 2).reshape(batch, -1, channels), self.mix.to(x.dtype),
                               self.mix_bias.to(x.dtype))
        return made.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _add_frame(x: Tensor, frame: Tensor) -> None:
    """Add to the corners and sides of maps ``(B, C, H, W)``, in place, what ``frame`` ``(1, C, 3, 3)`` has there."""
    for here, there in ((0, 0), (2, -1)):
        x[:, :, there, 1:-1] += frame[:, :, here, 1:2]
        x[:, :, 1:-1, there] += frame[:, :, 1:2, here]
        x[:, :, there, 0] += frame[:, :, here, 0]
        x[:, :, there, -1] += frame[:, :, here, 2]
