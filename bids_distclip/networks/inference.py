"""Run a generator over a volume: slice by slice in up to three planes, fused, with the spread as uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bids_distclip.networks.generator import Generator
from bids_distclip.networks.lean_generator import LeanGenerator
from bids_distclip.networks.look import describe_look
from bids_distclip.networks.mrclip import MRCLIP, fit_slices
from bids_distclip.networks.photometer import SIDE, Photometer
from bids_distclip.networks.sides import at_size

#: In-plane spacings (mm) at which slices go through the networks as they are; others are brought to 1 mm and back.
NATIVE_SPACING = (0.6, 1.3)


def best_precision(device: str) -> str:
    """Return ``bf16`` where the device multiplies bfloat16 in hardware, else ``fp32``."""
    if device.startswith('cuda'):
        return 'bf16' if torch.cuda.is_bf16_supported() else 'fp32'
    native = getattr(torch.cpu, '_is_avx512_bf16_supported', lambda: False)
    return 'bf16' if native() else 'fp32'


def embed_volume(
    clip: MRCLIP, volume: np.ndarray, *, spacing: Sequence[float], brain: np.ndarray, count: int = 12
) -> Tensor:
    """Return θ ``(1, 512)``, the mean embedding of ``count`` axial slices around the middle of the brain.

    ``volume`` is RAS ``(X, Y, Z)`` in intensity-scale units.
    """
    chosen = _middle_slices(brain, count)
    device = clip.read_out.weight.device
    slices = torch.as_tensor(np.moveaxis(volume[:, :, chosen], 2, 0).copy(), device=device)
    with torch.inference_mode():
        seen = clip.encode_image(fit_slices(slices, pixel=(spacing[0], spacing[1]), size=clip.image_size))
        return F.normalize(seen.mean(0, keepdim=True), dim=-1)


def embed_prompt(clip: MRCLIP, prompt: str) -> Tensor:
    """Return θ ``(1, 512)`` of a prompt."""
    with torch.inference_mode():
        return clip.encode_text([prompt])


def embed_words(clip: MRCLIP, prompt: str) -> Tensor:
    """Return the unit vector ``(1, 512)`` of a prompt's words: what the image tower has learnt to see of it."""
    with torch.inference_mode():
        return clip.encode_words([prompt])


def picture_style(
    meter: Photometer,
    volume: np.ndarray,
    *,
    spacing: Sequence[float],
    brain: np.ndarray,
    family: str,
    count: int = 12,
) -> Tensor:
    """Return θ ``(1, 512)`` of ``count`` axial slices around the middle of the brain, by photometry.

    ``volume`` and ``brain`` are RAS ``(X, Y, Z)``, the first in intensity-scale units.
    """
    with torch.inference_mode():
        slices, inside = _fitted(volume, brain, spacing=spacing, count=count)
        return meter.style(meter.read(slices, inside, family=family), family=family)


def look_volume(volume: np.ndarray, *, spacing: Sequence[float], brain: np.ndarray, count: int = 12) -> Tensor:
    """Return the looks ``(B, LOOK)`` of at most ``count`` axial slices around the middle of the brain, stripped.

    ``volume`` and ``brain`` are RAS ``(X, Y, Z)``, the first in intensity-scale units.
    """
    with torch.inference_mode():
        slices, inside = _fitted(volume, brain, spacing=spacing, count=count)
        return describe_look(slices, inside & (slices > 0))


def _fitted(volume: np.ndarray, brain: np.ndarray, *, spacing: Sequence[float], count: int) -> tuple[Tensor, Tensor]:
    """Return axial slices ``(B, H, W)`` as the networks look at them, and where the brain is in them."""
    chosen = _middle_slices(brain, count)
    stack = [np.moveaxis(a[:, :, chosen], 2, 0).astype(np.float32) for a in (volume, brain)]
    # Both at once, so that both are cropped at the same place.
    both = fit_slices(torch.as_tensor(np.concatenate(stack)), pixel=(spacing[0], spacing[1]), size=SIDE)[:, 0]
    slices, inside = both.chunk(2)
    return slices, inside > 0.5


def _middle_slices(brain: np.ndarray, count: int) -> np.ndarray:
    filled = np.flatnonzero(brain.any((0, 1)))
    low, high = np.quantile(filled, [0.3, 0.8]) if len(filled) else (0, brain.shape[2] - 1)
    return np.unique(np.linspace(low, high, count).round().astype(int))


def run_plane(
    generator: Generator,
    volume: np.ndarray,
    *,
    axis: int,
    spacing: Sequence[float],
    source: Tensor,
    target: Tensor,
    residual: bool,
    batch: int = 8,
    precision: torch.dtype = torch.float32,
) -> np.ndarray:
    """Return what the networks make of every slice perpendicular to ``axis``, on the volume's grid.

    With ``residual`` that is the *change* from the source's style to the target's, else the target's picture; in
    intensity-scale units. ``volume`` is RAS; slices without signal stay zero.
    """
    device = next(generator.parameters()).device
    stack = np.moveaxis(volume, axis, 0)
    pixel = [s for a, s in enumerate(spacing) if a != axis]
    out = np.zeros(stack.shape, dtype=np.float32)
    filled = np.flatnonzero(stack.reshape(len(stack), -1).max(1) > 0)
    with torch.inference_mode():
        made = _between(generator, source, target, residual=residual, precision=precision)
        for start in range(0, len(filled), batch):
            chosen = filled[start : start + batch]
            x = torch.as_tensor(np.ascontiguousarray(stack[chosen]), device=device)[:, None]
            low, high = NATIVE_SPACING
            size = [n if low <= p <= high else max(16, round(n * p)) for n, p in zip(x.shape[-2:], pixel, strict=True)]
            y = at_size(made, x, size=size, multiple=generator.mapper.multiple, sharp=True)
            out[chosen] = y[:, 0].float().cpu().numpy()
    return np.moveaxis(out, 0, axis)


def _between(
    generator: Generator, source: Tensor, target: Tensor, *, residual: bool, precision: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """Return what changes slices ``(B, 1, H, W)`` from one style to another, or renders them in the other.

    On a processor in the lean way, where the network can be run so; a card has no use for it.
    """
    device = next(generator.parameters()).device.type
    if device == 'cpu' and LeanGenerator.knows(generator):
        lean = LeanGenerator(generator, source=source, target=target, dtype=precision)
        return lean.change if residual else lean.render

    def made(slices: Tensor) -> Tensor:
        from_, to = source.expand(len(slices), -1), target.expand(len(slices), -1)
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            if residual:
                return generator.change(slices, from_, to)
            return generator.render(generator.anatomy(slices, from_), to)

    return made
