"""What a scanner does to the ideal image: coil shading, finite resolution, noise, motion, ghosts, vendor filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Move:
    """The head lies elsewhere for the lines of k-space from ``line`` outwards (-1…1, the edges of k-space, never the
    middle): shifted by ``shift`` pixels (rows, columns) and turned by ``angle`` degrees."""

    line: float
    shift: tuple[float, float]
    angle: float


@dataclass(frozen=True)
class Effects:
    """Strengths for one image. ``noise`` is relative to the intensity scale, ``bias`` the log-amplitude of shading,
    ``keep`` the fraction of k-space along each in-plane axis, ``window`` how soft its edge is (0 sharp, 1 Hann, below 0
    enhanced), ``sharpen`` the weight of an unsharp mask, ``ghost`` the weight of a half-field-of-view ghost. The
    magnitude is the root of the summed squares of ``coils`` receivers; ``moves`` is what the head did during the scan.
    Chance follows from ``seed``, that of the noise from ``noise_seed`` where given: neighbouring slices share their
    shading alone.
    """

    noise: float
    bias: float
    keep: tuple[float, float]
    window: float
    sharpen: float
    ghost: float
    seed: int
    coils: int = 1
    moves: tuple[Move, ...] = ()
    noise_seed: int | None = None


#: One scan in so many has its edges enhanced, by at most so much at the rim of k-space: on real T1w, T2w and FLAIR of
#: clinical scanners power falls off less than in any image of which k-space is only cut.
_ENHANCED, _EDGES = 0.25, 0.7


def draw_resolution(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Draw which part of k-space is acquired in-plane, and how it is windowed (see :func:`limit_resolution`)."""
    if rng.random() < _ENHANCED:
        return (1.0, 1.0), -float(rng.uniform(0.0, _EDGES))
    rows, columns = np.clip(rng.normal(0.88, 0.15, 2), 0.5, 1.0)
    return (float(rows), float(columns)), float(rng.uniform(0.2, 1.0))


def draw_effects(
    rng: np.random.Generator, *, resolution: tuple[tuple[float, float], float], strength: float = 1.0
) -> Effects:
    """Draw the strengths for one image; ``resolution`` is shared by images that should be equally sharp."""
    keep, window = resolution
    moves = tuple(_draw_move(rng, strength) for _ in range(int(rng.integers(1, 4)))) if rng.random() < 0.15 else ()
    return Effects(
        noise=strength * float(rng.choice([rng.uniform(0.003, 0.02), rng.uniform(0.02, 0.05)], p=[0.7, 0.3])),
        bias=strength * float(rng.uniform(0.0, 0.12)),
        keep=keep,
        window=window,
        sharpen=strength * float(rng.choice([0.0, rng.uniform(0.0, 0.4)])),
        ghost=strength * float(rng.choice([0.0, rng.uniform(0.0, 0.03)], p=[0.8, 0.2])),
        seed=int(rng.integers(2**31)),
        coils=int(rng.choice([1, int(rng.integers(2, 9))], p=[0.7, 0.3])),
        moves=moves,
    )


def _draw_move(rng: np.random.Generator, strength: float) -> Move:
    rows, columns, angle = strength * rng.normal(0, 1, 3)
    return Move(float(rng.uniform(0.15, 0.9) * rng.choice([-1, 1])), (float(rows), float(columns)), float(angle))


def limit_resolution(image: Tensor, *, keep: tuple[float, float], window: float) -> Tensor:
    """Cut and window k-space of ``(..., H, W)`` images; the grid stays the same.

    ``keep`` are the fractions kept along rows and columns. Along each axis the weight goes from 1 in the middle to
    ``1 - window`` at the rim as a Hann window does: above 0 edges are soft, below 0 enhanced, as vendors' filters do.
    """
    spectrum = torch.fft.fft2(image)
    for axis, fraction in ((-2, keep[0]), (-1, keep[1])):
        frequency = torch.fft.fftfreq(image.shape[axis], device=image.device).abs() * 2 / fraction
        hann = torch.cos(frequency.clamp(max=1) * (torch.pi / 2)) ** 2
        weight = torch.where(frequency <= 1, 1 - window + window * hann, torch.zeros_like(frequency))
        spectrum = spectrum * (weight[:, None] if axis == -2 else weight)
    return torch.fft.ifft2(spectrum).real


def apply_effects(image: Tensor, effects: Effects, *, noise_scale: float = 1.0) -> Tensor:
    """Return the image ``(H, W)`` as this scanner would have written it: magnitude, noise, motion, shading, filters.

    The resolution limit is applied by :func:`limit_resolution` before, because source and target share it.
    Noise is Rician with one coil (Gudbjartsson and Patz 1995), else non-central chi (Constantinides 1997).
    """
    generator = torch.Generator(device='cpu').manual_seed(effects.seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(image.device)

    if effects.bias > 0:
        field = F.interpolate(normal(1, 1, 4, 4), size=image.shape, mode='bicubic', align_corners=True)[0, 0]
        image = image * torch.exp(effects.bias * field)
    if effects.ghost > 0:
        image = image + effects.ghost * torch.roll(image, image.shape[-1] // 2, dims=-1)
    image = move_head(image, effects.moves)
    if effects.noise_seed is not None:
        generator.manual_seed(effects.noise_seed)
    sigma = effects.noise * noise_scale
    squares = (image + sigma * normal(*image.shape)) ** 2
    for _ in range(2 * effects.coils - 1):
        squares = squares + (sigma * normal(*image.shape)) ** 2
    magnitude = torch.sqrt(squares)
    if effects.sharpen > 0:
        blurred = F.avg_pool2d(F.pad(magnitude[None, None], (1, 1, 1, 1), mode='replicate'), 3, stride=1)[0, 0]
        magnitude = (magnitude + effects.sharpen * (magnitude - blurred)).clamp(min=0)
    return magnitude


def move_head(image: Tensor, moves: Sequence[Move]) -> Tensor:
    """Return the magnitude of ``(H, W)`` whose outer rows of k-space were taken after the head had moved.

    The middle of k-space stays, so the picture stays where it was and shows ringing and ghosts along the rows.
    """
    if not moves:
        return image
    spectrum = torch.fft.fft2(image)
    line = torch.fft.fftfreq(image.shape[0], device=image.device)[:, None] * 2
    for move in moves:
        after = line * math.copysign(1, move.line) >= abs(move.line)
        spectrum = torch.where(after, torch.fft.fft2(_moved(image, move)), spectrum)
    return torch.fft.ifft2(spectrum).abs()


def _moved(image: Tensor, move: Move) -> Tensor:
    turn, (height, width) = math.radians(move.angle), image.shape
    matrix = torch.tensor(
        [
            [math.cos(turn), -math.sin(turn) * height / width, -2 * move.shift[1] / width],
            [math.sin(turn) * width / height, math.cos(turn), -2 * move.shift[0] / height],
        ],
        device=image.device,
    )
    grid = F.affine_grid(matrix[None], [1, 1, height, width], align_corners=False)
    return F.grid_sample(image[None, None], grid, mode='bicubic', align_corners=False)[0, 0]
