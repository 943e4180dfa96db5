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
from bids_distclip.networks.windows import batches, network_sides, slice_windows


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
    head: np.ndarray,
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
    intensity-scale units. ``volume`` is RAS, ``head`` a boolean mask of its shape. The networks see every slice in a
    window around the head (:mod:`bids_distclip.networks.windows`); what lies beyond it, and slices without head or
    signal, are zero.
    """
    device = next(generator.parameters()).device
    stack, seen = (np.moveaxis(each, axis, 0) for each in (volume, head))
    pixel = [s for a, s in enumerate(spacing) if a != axis]
    out = np.zeros(stack.shape, dtype=np.float32)
    multiple = generator.mapper.multiple
    filled = np.flatnonzero((stack.reshape(len(stack), -1).max(1) > 0) & seen.any((1, 2))).tolist()
    windows = slice_windows(seen, pixel=pixel, step=multiple)
    with torch.inference_mode():
        made = _between(generator, source, target, residual=residual, precision=precision)
        for chosen in batches(windows, filled, most=batch):
            x = torch.as_tensor(np.stack([stack[number][windows[number]] for number in chosen]), device=device)[:, None]
            size = network_sides(x.shape[-2:], pixel=pixel)
            y = at_size(made, x, size=size, multiple=multiple, sharp=True)[:, 0].float().cpu().numpy()
            for number, answer in zip(chosen, y, strict=True):
                out[number][windows[number]] = answer
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
