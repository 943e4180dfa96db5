"""A small 3-D network that weighs three planes against each other in every voxel: an ablation of the median."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.benchmark.passes import Passes

#: What planes make of a brain differs by some hundredths: so many times that is what the network sees.
_GAIN = 10.0


class FusionNet(nn.Module):
    """Weights of three planes from these and the source, by two 3 × 3 × 3 convolutions; it starts as their mean.

    What it gives lies between the planes: it can invent nothing.
    """

    def __init__(self, *, width: int = 16) -> None:
        super().__init__()
        self.look = nn.Conv3d(4, width, 3, padding=1)
        self.weigh = nn.Conv3d(width, 3, 3, padding=1)
        for weight in self.weigh.parameters():
            nn.init.zeros_(weight)

    def forward(self, image: Tensor, pictures: Tensor) -> Tensor:
        """Return the picture ``(B, X, Y, Z)`` from a source of this shape and three pictures ``(B, 3, X, Y, Z)``."""
        apart = _GAIN * (pictures - pictures.mean(1, keepdim=True))
        weights = self.weigh(F.silu(self.look(torch.cat([image[:, None], apart], 1)))).softmax(1)
        return (weights * pictures).sum(1)


def fused_by(net: FusionNet, image: np.ndarray, pictures: np.ndarray, *, slab: int = 32) -> np.ndarray:
    """Return the network's picture ``(X, Y, Z)`` of three ``(3, X, Y, Z)``, computed in overlapping slabs."""
    out = np.empty_like(image)
    with torch.inference_mode():
        for start in range(0, len(image), slab):
            low, high = max(0, start - 2), min(len(image), start + slab + 2)
            seen = torch.as_tensor(image[low:high])[None], torch.as_tensor(pictures[:, low:high])[None]
            made = net(*seen)[0].numpy()
            out[start : start + slab] = made[start - low : start - low + slab]
    return out


def train_fusion(
    scans: Iterable[Passes], *, crops: int = 16, side: int = 32, steps: int = 400, batch: int = 4, seed: int = 0
) -> FusionNet:
    """Return a network that has learnt the truth in brains from crops of simulated scans: squared error, Adam."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    seen = torch.stack([crop for scan in scans for crop in _crops(scan, rng, count=crops, side=side)])
    net = FusionNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = seen[torch.as_tensor(rng.integers(len(seen), size=batch))]
        image, pictures, truth, brain = chosen[:, 0], chosen[:, 1:4], chosen[:, 4], chosen[:, 5]
        error = ((net(image, pictures) - truth) ** 2 * brain).sum() / brain.sum().clamp(min=1)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def _crops(scan: Passes, rng: np.random.Generator, *, count: int, side: int) -> Iterable[Tensor]:
    """Yield ``(6, side, side, side)``: source, three pictures, truth and brain around places of the brain."""
    if scan.truth is None:
        return
    every = np.stack([scan.image, *scan.pictures, scan.truth.clip(0, 1), scan.brain.astype(np.float32)])
    short = [max(0, side - n) for n in every.shape[1:]]
    every = np.pad(every, [(0, n) for n in (0, *short)])
    middle = np.argwhere(scan.brain)
    for place in middle[rng.integers(len(middle), size=count)]:
        corner = [int(np.clip(p - side // 2, 0, n - side)) for p, n in zip(place, every.shape[1:], strict=True)]
        x, y, z = (slice(c, c + side) for c in corner)
        yield torch.as_tensor(every[:, x, y, z].copy())
