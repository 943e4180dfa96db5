"""Loss terms of the generator, each a pure function of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_l1(prediction: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the mean absolute error of ``(B, C, H, W)`` tensors under a weight ``(B, 1, H, W)``."""
    return ((prediction - truth).abs() * weight).sum() / (weight.sum() * truth.shape[1]).clamp(min=1.0)


def gradient_l1(prediction: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the mean absolute error of horizontal and vertical differences, at full and half resolution."""
    total = prediction.new_zeros(())
    for scale in (1, 2):
        if scale > 1:
            prediction, truth, weight = (F.avg_pool2d(t, 2) for t in (prediction, truth, weight))
        for axis in (-2, -1):
            length = prediction.shape[axis] - 1
            error = (prediction.diff(dim=axis) - truth.diff(dim=axis)).abs()
            inside = weight.narrow(axis, 0, length)
            total = total + (error * inside).sum() / inside.sum().clamp(min=1.0)
    return total


def structure_loss(
    prediction: Tensor, truth: Tensor, *, counted: Tensor | None = None, window: int = 7
) -> Tensor:
    """Return 1 − SSIM (Wang 2004) of ``(B, 1, H, W)`` images with data range 1, averaged over the picture.

    ``counted`` ``(B,)`` tells which images count; by default all.
    """
    pad = window // 2

    def mean(t: Tensor) -> Tensor:
        return F.avg_pool2d(t, window, stride=1, padding=pad, count_include_pad=False)

    mu_p, mu_t = mean(prediction), mean(truth)
    var_p = (mean(prediction**2) - mu_p**2).clamp(min=0)
    var_t = (mean(truth**2) - mu_t**2).clamp(min=0)
    covariance = mean(prediction * truth) - mu_p * mu_t
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mu_p * mu_t + c1) * (2 * covariance + c2) / ((mu_p**2 + mu_t**2 + c1) * (var_p + var_t + c2))
    if counted is None:
        return 1 - ssim.mean()
    return ((1 - ssim.mean((1, 2, 3))) * counted).sum() / counted.sum().clamp(min=1)


def style_distance(made: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of 1 − cosine between styles ``(B, 512)``, of those that count ``(B,)``."""
    apart = 1 - F.cosine_similarity(made, wanted, dim=1)
    return (apart * counted).sum() / counted.sum().clamp(min=1)


def least_squares(answers: Tensor, wanted: float) -> Tensor:
    """Return the mean squared distance of a discriminator's answers from what is wanted (Mao et al. 2017)."""
    return (answers - wanted).square().mean()


def patch_contrast(
    first: Tensor,
    second: Tensor,
    mask: Tensor,
    *,
    patches: int = 128,
    side: int = 7,
    temperature: Tensor | float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Return the InfoNCE loss (van den Oord 2018) between β of one slice under two contrasts.

    ``first`` and ``second`` are ``(B, C, H, W)``; patches of ``side`` pixels around the same place of the same slice
    are positives, those around other places of that slice negatives; places are drawn by ``seed`` inside ``mask``
    ``(B, 1, H, W)``. One pixel of one channel has no direction to compare, hence patches.
    """
    losses = []
    generator = torch.Generator().manual_seed(seed)
    for a, b, inside in zip(first, second, mask, strict=False):
        places = inside[0].nonzero()
        if len(places) < 8:
            continue
        chosen = places[torch.randperm(len(places), generator=generator)[:patches].to(places.device)]
        left, right = (_patches(beta, chosen, side=side) for beta in (a, b))
        losses.append(F.cross_entropy(left @ right.T / temperature, torch.arange(len(chosen), device=a.device)))
    return torch.stack(losses).mean() if losses else first.new_zeros(())


def _patches(beta: Tensor, places: Tensor, *, side: int) -> Tensor:
    """Return unit vectors ``(N, C·side²)`` of the patches of β ``(C, H, W)`` around N places, their mean taken away."""
    around = F.pad(beta[None], (side // 2,) * 4, mode='replicate')[0].unfold(1, side, 1).unfold(2, side, 1)
    found = around[:, places[:, 0], places[:, 1]].movedim(1, 0).flatten(1)
    return F.normalize(found - found.mean(0), dim=1)
