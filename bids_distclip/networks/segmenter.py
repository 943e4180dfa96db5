"""Tissue of any contrast: a U-Net that tells brain tissue apart on slices, trained on the simulator.

A volume is looked at twice: coarsely in all planes that have slices thin enough, whose shares are averaged (as
FastSurfer does, Henschel et al. 2020), for where the brain is; then finely around it in one plane. Tissue is where both
together say it is: two more fine planes added 0.00 to 0.03 to its Dice on a simulated head, for twice the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from bids_distclip.networks.lean import LeanUNet, biased, packed
from bids_distclip.networks.sides import at_size
from bids_distclip.networks.unet import UNet
from bids_distclip.quality.tissue import TISSUES

#: Name of the file beside the weights.
SEGMENTER = 'segmenter.safetensors'
#: Channels per level.
WIDTHS = (16, 32, 64, 128, 160)
#: Of the brightest per cent of a volume or slice, what is called 1.
BRIGHT = 0.99


class Segmenter(UNet):
    """Tell the classes of :data:`bids_distclip.quality.tissue.TISSUES` apart on slices of any contrast.

    Normalization per slice and channel leaves nothing of an image's gain; of its gamma and its contrast the training
    leaves nothing, because the same anatomy is shown under many.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__(widths)
        self.out = nn.Conv2d(self.widths[0], len(TISSUES), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, 7, H, W)`` of slices ``(B, 1, H, W)`` whose brightest per cent is about 1."""
        return self.out(self.features(x))


#: In-plane pixels (mm) at which slices go through the network as they are: to find the brain, and to tell its tissue.
#: It has learnt pixels of 0.8 to 2.3 mm.
COARSE, FINE = (1.6, 2.3), (0.8, 2.3)
#: Of what is cut around the brain that was found coarsely (mm).
MARGIN = 12.0


def segment(
    segmenter: Segmenter,
    volume: np.ndarray,
    *,
    spacing: Sequence[float],
    axes: Sequence[int] = (0, 1, 2),
    precision: torch.dtype = torch.float32,
) -> np.ndarray:
    """Return the shares of tissue, float32 ``(7, X, Y, Z)``, in a RAS volume of any contrast and unit.

    Far from the brain all is background. ``spacing`` is in mm; ``axes`` are those whose slices may be looked at.
    """
    scaled = np.clip(volume, 0, None) / np.float32(max(_bright(volume), 1e-12))
    out = np.zeros((len(TISSUES), *volume.shape), np.float32)
    out[0] = 1
    steps = [max(1, round(2.0 / side)) for side in spacing]
    small = F.avg_pool3d(torch.as_tensor(scaled)[None, None], steps, ceil_mode=True)[0, 0].numpy()
    wide = [side * step for side, step in zip(spacing, steps, strict=True)]
    coarse = tissue_shares(segmenter, small, spacing=wide, axes=axes, pixels=COARSE, precision=precision)
    pieces, count = ndimage.label(coarse[0] < 0.5)
    if not count:
        return out
    found = ndimage.find_objects(pieces)[int(np.bincount(pieces.ravel())[1:].argmax())]
    reach = [max(1, round(MARGIN / side)) for side in wide]
    part = tuple(slice(max(0, p.start - r), min(n, p.stop + r))
                 for p, r, n in zip(found, reach, small.shape, strict=True))
    box = tuple(slice(p.start * step, min(p.stop * step, n))
                for p, step, n in zip(part, steps, volume.shape, strict=True))
    fine = tissue_shares(
        segmenter, scaled[box], spacing=spacing, axes=tuple(axes)[-1:], pixels=FINE, precision=precision
    )
    scale = [float(step) for step in steps]
    around = torch.as_tensor(np.stack([one[part] for one in coarse]))[None]
    wider = F.interpolate(around, scale_factor=scale, mode='trilinear')[0].numpy()
    shares = wider[:, : fine.shape[1], : fine.shape[2], : fine.shape[3]]
    # Which tissue it is both say; whether it is brain at all, the planes together.
    kinds = shares[1:] + fine[1:]
    kinds *= (1 - shares[0]) / np.maximum(kinds.sum(0), 1e-6)
    for number, part_of in enumerate((shares[0], *kinds)):
        out[number][box] = part_of
    return out


def _bright(volume: np.ndarray) -> float:
    """Return the intensity that one in a hundred voxels with signal exceeds."""
    signal = volume[volume > 0]
    return float(np.quantile(signal, BRIGHT)) if signal.size else 0.0


def tissue_shares(
    segmenter: Segmenter,
    volume: np.ndarray,
    *,
    spacing: Sequence[float],
    axes: Sequence[int],
    pixels: tuple[float, float],
    batch: int = 16,
    precision: torch.dtype = torch.float32,
) -> np.ndarray:
    """Return the shares of tissue ``(7, X, Y, Z)`` in a RAS volume, the mean over the planes perpendicular to ``axes``.

    Slices are brought to sides of pixels in the range ``pixels`` (mm), and shares back to the volume's.
    """
    data = torch.as_tensor(np.ascontiguousarray(volume, dtype=np.float32)).clamp(min=0)
    total = torch.zeros(len(TISSUES), *volume.shape)
    with torch.inference_mode():
        told = _teller(segmenter, precision)
        for axis in axes:
            stack, into = data.movedim(axis, 0)[:, None], total.movedim(axis + 1, 1)
            sides = [s for a, s in enumerate(spacing) if a != axis]
            for start in range(0, len(stack), batch):
                some = stack[start : start + batch]
                into[:, start : start + batch] += _slice_shares(
                    told, some, sides, pixels, multiple=segmenter.multiple
                ).movedim(1, 0)
    return (total / len(axes)).numpy()


def _teller(segmenter: Segmenter, precision: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return what tells the shares of tissue on slices, in the lean way; a network of another kind as it is."""
    if type(segmenter) is not Segmenter:
        return lambda slices: segmenter(slices).float().softmax(1)
    lean = LeanUNet(segmenter, dtype=precision)
    layer = packed(segmenter.out.weight, precision), biased(segmenter.out, precision)

    def told(slices: Tensor) -> Tensor:
        return F.conv2d(lean.features(slices), *layer).float().softmax(1)

    return told


def _slice_shares(
    told: Callable[[Tensor], Tensor],
    slices: Tensor,
    sides: Sequence[float],
    pixels: tuple[float, float],
    *,
    multiple: int,
) -> Tensor:
    size = [
        max(16, round(n * side / float(np.clip(side, *pixels))))
        for n, side in zip(slices.shape[-2:], sides, strict=True)
    ]
    return at_size(told, slices, size=size, multiple=multiple)
