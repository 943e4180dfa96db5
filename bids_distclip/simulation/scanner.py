"""What a scanner does to the ideal image: coil shading, finite resolution, noise, ghosts, vendor filters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Effects:
    """Strengths for one image. ``noise`` is relative to the intensity scale, ``bias`` the log-amplitude of shading,
    ``keep`` the fraction of k-space along each in-plane axis, ``window`` how soft its edge is (0 sharp, 1 Hann),
    ``sharpen`` the weight of an unsharp mask, ``ghost`` the weight of a half-field-of-view ghost, ``shift`` its phase.
    """

    noise: float
    bias: float
    keep: tuple[float, float]
    window: float
    sharpen: float
    ghost: float
    seed: int


def draw_resolution(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Draw which part of k-space is acquired in-plane, and how it is windowed."""
    rows, columns = np.clip(rng.normal(0.88, 0.15, 2), 0.5, 1.0)
    return (float(rows), float(columns)), float(rng.uniform(0.2, 1.0))


def draw_effects(
    rng: np.random.Generator, *, resolution: tuple[tuple[float, float], float], strength: float = 1.0
) -> Effects:
    """Draw the strengths for one image; ``resolution`` is shared by images that should be equally sharp."""
    keep, window = resolution
    return Effects(
        noise=strength * float(rng.choice([rng.uniform(0.003, 0.02), rng.uniform(0.02, 0.05)], p=[0.7, 0.3])),
        bias=strength * float(rng.uniform(0.0, 0.12)),
        keep=keep,
        window=window,
        sharpen=strength * float(rng.choice([0.0, rng.uniform(0.0, 0.4)])),
        ghost=strength * float(rng.choice([0.0, rng.uniform(0.0, 0.03)], p=[0.8, 0.2])),
        seed=int(rng.integers(2**31)),
    )


def limit_resolution(image: Tensor, *, keep: tuple[float, float], window: float) -> Tensor:
    """Cut and window k-space of ``(..., H, W)`` images; the grid stays the same."""
    spectrum = torch.fft.fft2(image)
    for axis, fraction in ((-2, keep[0]), (-1, keep[1])):
        frequency = torch.fft.fftfreq(image.shape[axis], device=image.device).abs() * 2 / fraction
        hann = torch.cos(frequency.clamp(max=1) * (torch.pi / 2)) ** 2
        weight = torch.where(frequency <= 1, 1 - window + window * hann, torch.zeros_like(frequency))
        spectrum = spectrum * (weight[:, None] if axis == -2 else weight)
    return torch.fft.ifft2(spectrum).real


def apply_effects(image: Tensor, effects: Effects, *, noise_scale: float = 1.0) -> Tensor:
    """Return the image ``(H, W)`` as this scanner would have written it: magnitude, Rician noise, shading, filters.

    The resolution limit is applied by :func:`limit_resolution` before, because source and target share it.
    Rician statistics: Gudbjartsson and Patz 1995.
    """
    generator = torch.Generator(device='cpu').manual_seed(effects.seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(image.device)

    if effects.bias > 0:
        field = F.interpolate(normal(1, 1, 4, 4), size=image.shape, mode='bicubic', align_corners=True)[0, 0]
        image = image * torch.exp(effects.bias * field)
    if effects.ghost > 0:
        image = image + effects.ghost * torch.roll(image, image.shape[-1] // 2, dims=-1)
    sigma = effects.noise * noise_scale
    real = image + sigma * normal(*image.shape)
    magnitude = torch.sqrt(real**2 + (sigma * normal(*image.shape)) ** 2)
    if effects.sharpen > 0:
        blurred = F.avg_pool2d(F.pad(magnitude[None, None], (1, 1, 1, 1), mode='replicate'), 3, stride=1)[0, 0]
        magnitude = (magnitude + effects.sharpen * (magnitude - blurred)).clamp(min=0)
    return magnitude
