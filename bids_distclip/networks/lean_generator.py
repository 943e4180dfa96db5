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
from bids_distclip.networks.lean import LeanBlock, LeanMapper, biased, blocks, enlarged, exact, normalized, packed


class LeanGenerator:
    """A :class:`Generator` between the styles ``source`` and ``target``, ``(1, 512)`` each."""

    def __init__(self, generator: Generator, *, source: Tensor, target: Tensor, dtype: torch.dtype) -> None:
        own, other = widened(source), widened(target)
        decoder = generator.decoder
        assert isinstance(decoder, StyleFusionDecoder), 'another variant'
        self.mapper = LeanMapper(generator.mapper, dtype=dtype, style=own if generator.options.mapper_style else None)
        self.reader = LeanReader(decoder, dtype=dtype)
        self.source, self.target = (
            LeanPainter(decoder, theta, dtype=dtype) for theta in (own, other)
        )

    @staticmethod
    def knows(generator: object) -> bool:
        """Tell whether a network is one that can be run this way: the ablations of the style transfer are not."""
        return type(generator) is Generator and generator.options.variant == 'ast'

    def change(self, x: Tensor) -> Tensor:
        """Return what slices ``(B, 1, H, W)`` must change by to go from one style to the other."""
        beta = self.mapper(x)
        deep, skips = self.reader(beta)
        return self.target(beta, deep, skips) - self.source(beta, deep, skips)

    def render(self, x: Tensor) -> Tensor:
        """Return slices ``(B, 1, H, W)`` rendered in the target's style."""
        beta = self.mapper(x)
        return self.target(beta, *self.reader(beta))


class LeanReader:
    """What the decoder finds in β before any style: the deepest features, and the skips as the way up takes them."""

    def __init__(self, decoder: StyleFusionDecoder, *, dtype: torch.dtype) -> None:
        down = blocks(decoder.down)
        self.down = [LeanBlock(block, dtype=dtype) for block in down]
        self.up = [
            LeanBlock(block, dtype=dtype, skip=beside.first.out_channels)
            for block, beside in zip(blocks(decoder.up), down[-2::-1], strict=True)
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
        self.transfer = [LeanTransfer(one, theta, dtype=dtype)
                         for one in decoder.transfer if isinstance(one, AdaptiveStyleTransfer)]
        scale, shift, scale_second, shift_second = decoder.film(theta)[0].chunk(4)
        self.point = _filmed(decoder.point, scale, shift, dtype)
        self.point_second = _filmed(decoder.point_second, scale_second, shift_second, dtype)
        self.out = decoder.out.weight[:, :, 0, 0].to(dtype), biased(decoder.out, dtype)

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
        x = F.silu(F.conv2d(x, *self.point_second), inplace=True)
        # For a single channel a product of matrices is three times as fast as a convolution.
        return F.linear(x.permute(0, 2, 3, 1), *self.out).permute(0, 3, 1, 2)


def _filmed(layer: nn.Conv2d, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a pointwise layer whose result is scaled by one more than ``scale`` and shifted."""
    weight = layer.weight * (1 + scale)[:, None, None, None]
    return packed(weight, dtype), (biased(layer, shift.dtype) * (1 + scale) + shift).to(dtype)


class LeanTransfer:
    """An :class:`AdaptiveStyleTransfer` of the variant *ast* in one style ``theta`` ``(1, 512)``."""

    def __init__(self, transfer: AdaptiveStyleTransfer, theta: Tensor, *, dtype: torch.dtype) -> None:
        channels, self.heads = transfer.query.out_channels, transfer.heads
        style = transfer.style(theta)
        query, key, value, mix = (
            layer.weight[:, :, 0, 0] for layer in (transfer.query, transfer.key, transfer.value, transfer.mix)
        )
        bias = transfer.query.bias + transfer.query_style(style)[0]
        self.pairs = channels == 2 * self.heads
        difference = (query[0::2] - query[1::2], bias[0::2] - bias[1::2]) if self.pairs else (query, bias)
        self.both, self.query_bias = torch.cat([difference[0], key]).to(dtype), difference[1].to(dtype)[:, None]
        which = torch.arange(channels, device=style.device) // (channels // self.heads)
        self.same_head = which[:, None] == which
        self.value, self.mix = exact(value, dtype), exact(mix, dtype)
        layers = ((query, bias), (key, transfer.key.bias), (value, None), (mix, None))
        self.layers = [(weight.to(dtype), None if one is None else one.to(dtype)) for weight, one in layers]
        self.hidden = packed(transfer.hidden.weight[:, :channels], dtype)
        # A constant map that is padded with zeros has nine kinds of places: corners, sides and the middle.
        frame = F.conv2d(style[..., None, None].expand(-1, -1, 3, 3), transfer.hidden.weight[:, channels:],
                         transfer.hidden.bias, padding=1)
        self.hidden_bias = frame[0, :, 1, 1].to(dtype)
        self.frame = (frame - frame[:, :, 1:2, 1:2]).to(dtype)
        assert isinstance(transfer.modulate, nn.Conv2d), 'another variant'
        bias, shift_bias = biased(transfer.modulate, dtype).chunk(2)
        weight, shift_weight = transfer.modulate.weight.chunk(2)
        self.scale = packed(weight, dtype), 1 + bias
        self.shift = packed(shift_weight, dtype), shift_bias

    def __call__(self, x: Tensor) -> Tensor:
        """Return restyled features of the shape of ``x`` ``(B, C, H, W)``, channels last."""
        batch, channels, height, width = x.shape
        flat, normal = (t.permute(0, 2, 3, 1).reshape(batch, -1, channels) for t in (x, normalized(x)))
        attended = (self._linear if height * width > SOFTMAX_LIMIT else self._softmax)(flat, normal)
        normal = normalized(attended.view(batch, height, width, channels).permute(0, 3, 1, 2))
        hidden = F.conv2d(normal, self.hidden, self.hidden_bias, padding=1)
        _add_frame(hidden, self.frame)
        hidden.relu_()
        return F.conv2d(hidden, *self.shift, padding=1).addcmul_(F.conv2d(hidden, *self.scale, padding=1), normal)

    def _linear(self, flat: Tensor, normal: Tensor) -> Tensor:
        """Add linear attention to features ``(B, N, C)``, but for what is the same at all their positions.

        A norm follows, which removes that: of the biases of values and mixing nothing is left, as the weights of a
        query sum to one in every head; the keys' cancels in their softmax. Keys and features meet in one small matrix
        per slice, into which values and mixing go: the values themselves are never made.
        """
        batch, positions, channels = flat.shape
        both = torch.bmm(self.both.expand(batch, -1, -1), normal.transpose(1, 2))
        query, key = both[:, :-channels], both[:, -channels:]
        query += self.query_bias
        met = exact(torch.bmm(key.softmax(-1), flat), flat.dtype)
        mixed = ((met @ self.value.T) * self.same_head) @ self.mix.T
        if self.pairs:
            # Two weights that sum to one are one weight of the difference.
            query, mixed = query.sigmoid_(), mixed[:, 0::2] - mixed[:, 1::2]
        else:
            query = query.view(batch, self.heads, -1, positions).softmax(2).view(batch, channels, -1)
        return torch.baddbmm(flat, query.transpose(1, 2), mixed.to(flat.dtype))

    def _softmax(self, flat: Tensor, normal: Tensor) -> Tensor:
        """Add softmax attention to features ``(B, N, C)``, but for what is the same at all their positions."""
        batch, positions, channels = flat.shape
        query, key, value = (
            F.linear(given, *layer).view(batch, positions, self.heads, -1).transpose(1, 2)
            for given, layer in zip((normal, normal, flat), self.layers, strict=False)
        )
        found = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        return flat + F.linear(found.reshape(batch, positions, channels), *self.layers[-1])


def _add_frame(x: Tensor, frame: Tensor) -> None:
    """Add to the corners and sides of maps ``(B, C, H, W)``, in place, what ``frame`` ``(1, C, 3, 3)`` has there."""
    for here, there in ((0, 0), (2, -1)):
        x[:, :, there, 1:-1] += frame[:, :, here, 1:2]
        x[:, :, 1:-1, there] += frame[:, :, 1:2, here]
        x[:, :, there, 0] += frame[:, :, here, 0]
        x[:, :, there, -1] += frame[:, :, here, 2]
