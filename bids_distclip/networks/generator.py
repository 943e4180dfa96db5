"""The DIST-CLIP generator: anatomy β from a slice, and the Style Fusion Decoder that renders β in a given style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.networks.analytic import SignalDecoder
from bids_distclip.networks.ast import TRANSFERS, AdaptiveStyleTransfer
from bids_distclip.networks.unet import AnatomyMapper, ConvBlock

#: Style transfers, and the decoder that is a signal equation.
VARIANTS = (*TRANSFERS, 'analytic')


@dataclass(frozen=True)
class GeneratorOptions:
    """Sizes and ablations of a generator; ``variant`` is one of :data:`VARIANTS`.

    *analytic* renders the three physical maps alone.
    ``channels`` of β are three physical and the rest free (none by default: what is left free carries the source's
    contrast past the style); ``physical=False`` is the released form (one free channel).
    ``mapper_style`` tells the mapper the source's style.
    """

    mapper: tuple[int, ...] = (16, 32, 64, 128, 160)
    decoder: tuple[int, ...] = (16, 24, 48)
    channels: int = 3
    style: int = 512
    variant: str = 'ast'
    physical: bool = True
    mapper_style: bool = True

    def to_dict(self) -> dict:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict) -> GeneratorOptions:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**raw, 'mapper': tuple(raw['mapper']), 'decoder': tuple(raw['decoder'])})


#: Sizes by name. *full* is close to the published model's, *small* about a quarter, *tiny* trains on two CPU cores.
PRESETS = {
    'tiny': GeneratorOptions(),
    'small': GeneratorOptions(mapper=(24, 48, 96, 192, 320), decoder=(24, 48, 96, 192, 320)),
    'full': GeneratorOptions(mapper=(48, 96, 192, 320, 512), decoder=(48, 96, 192, 320, 512)),
}


class StyleFusionDecoder(nn.Module):
    """Render β in the style θ: a U-Net on β with AST at every scale of the way up, and a pointwise head at full size.

    The head sees β itself, so that what is a function of T1, T2 and PD at one place needs no neighbourhood and
    boundaries stay where they are.
    """

    def __init__(self, options: GeneratorOptions) -> None:
        super().__init__()
        widths, style = options.decoder, options.style
        self.down = nn.ModuleList()
        before = options.channels
        for width in widths:
            self.down.append(ConvBlock(before, width))
            before = width
        self.up = nn.ModuleList(
            ConvBlock(deep + wide, wide) for deep, wide in zip(widths[:0:-1], widths[-2::-1], strict=False)
        )
        self.transfer = nn.ModuleList(
            AdaptiveStyleTransfer(width, style=style, variant=options.variant) for width in widths[::-1]
        )
        hidden = 4 * widths[0]
        self.point = nn.Conv2d(options.channels + widths[0], hidden, 1)
        self.point_second = nn.Conv2d(hidden, hidden, 1)
        self.film = nn.Sequential(nn.Linear(style, 128), nn.SiLU(), nn.Linear(128, 4 * hidden))
        self.out = nn.Conv2d(hidden, 1, 1)

    def forward(self, beta: Tensor, theta: Tensor) -> Tensor:
        """Return slices ``(B, 1, H, W)`` in units of the target's intensity scale."""
        return self.paint(beta, self.read(beta), theta)

    def read(self, beta: Tensor) -> list[Tensor]:
        """Return the features of β at every scale, which no style has touched yet."""
        features, skips = beta, []
        for index, block in enumerate(self.down):
            features = block(F.avg_pool2d(features, 2) if index else features)
            skips.append(features)
        return skips

    def paint(self, beta: Tensor, skips: Sequence[Tensor], theta: Tensor) -> Tensor:
        """Return slices ``(B, 1, H, W)`` from β, what :meth:`read` found in it, and a style."""
        features = self.transfer[0](skips[-1], theta)
        for block, transfer, skip in zip(self.up, self.transfer[1:], skips[-2::-1], strict=False):
            features = F.interpolate(features, scale_factor=2, mode='bilinear', align_corners=False)
            features = transfer(block(torch.cat([features, skip], 1)), theta)
        scale, shift, scale_second, shift_second = self.film(theta)[..., None, None].chunk(4, dim=1)
        point = F.silu(self.point(torch.cat([beta, features], 1)) * (1 + scale) + shift)
        point = F.silu(self.point_second(point) * (1 + scale_second) + shift_second)
        return self.out(point)


def widened(theta: Tensor) -> Tensor:
    """Return unit vectors with coordinates of about a quarter.

    Linear layers would hardly notice them unscaled; with coordinates of order one, 512 of them at a time, one optimizer
    step would turn the style about.
    """
    return theta * (0.25 * theta.shape[-1] ** 0.5)


class Generator(nn.Module):
    """Anatomy Mapper and Style Fusion Decoder.

    Harmonizing within a contrast family adds the *difference* of two renderings to the source, so that equal styles
    leave the source exactly as it is and detail, noise and lesions the networks cannot express pass through; another
    family is rendered from β alone.
    """

    def __init__(self, options: GeneratorOptions) -> None:
        super().__init__()
        self.options = options
        self.mapper = AnatomyMapper(
            options.mapper,
            channels=options.channels,
            physical=options.physical,
            style=options.style if options.mapper_style else 0,
        )
        analytic = options.variant == 'analytic'
        if analytic and (not options.physical or options.channels != 3):
            raise ValueError('a signal equation renders the three physical maps alone')
        self.decoder: SignalDecoder | StyleFusionDecoder = (
            SignalDecoder(style=options.style) if analytic else StyleFusionDecoder(options)
        )

    def anatomy(self, x: Tensor, source: Tensor) -> Tensor:
        """Return β ``(B, channels, H, W)`` of slices ``(B, 1, H, W)`` in the style ``source`` ``(B, 512)``."""
        return self.mapper(x, widened(source) if self.options.mapper_style else None)

    def render(self, beta: Tensor, target: Tensor) -> Tensor:
        """Return β rendered in the style ``target``, ``(B, 1, H, W)``."""
        return self.decoder(beta, widened(target))

    def harmonize(self, x: Tensor, source: Tensor, target: Tensor, *, residual: bool) -> Tensor:
        """Return slices ``(B, 1, H, W)`` in the target's style; ``residual`` for one and the same contrast family."""
        made = self.change(x, source, target) + x if residual else self.render(self.anatomy(x, source), target)
        return made.clamp(min=0)

    def change(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Return what slices ``(B, 1, H, W)`` must change by to go from one style to another.

        The difference of two renderings, with the work that both share done once.
        """
        beta = self.anatomy(x, source)
        skips = self.decoder.read(beta)
        first, second = (self.decoder.paint(beta, skips, widened(theta)) for theta in (source, target))
        return second - first

    def count(self) -> int:
        """Return the number of parameters."""
        return sum(p.numel() for p in self.parameters())
