"""What a picture's contrast looks like in numbers: histograms of the brain, by how deep and how even it is there.

Nothing here knows where a structure lies or how large it is: what two heads differ in is left out as far as it can be.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Pixels from the edge of the brain at which its rings begin: fluid and cortex lie in the outer, white matter and the
#: deep nuclei in the inner one.
RINGS = (3, 8)
#: Bins and upper end of the histograms of the local mean and of the local standard deviation, the latter by level, too.
_LEVELS, _TOP = 33, 1.3
_ROUGH, _TOP_ROUGH = 20, 0.39
_AT_LEVEL, _TOP_AT_LEVEL, _STEPS, _STEP = 8, 0.3, 12, 0.1
#: A place is even where the local standard deviation is smaller.
_EVEN = 0.06
#: Bands of the radial power spectrum.
_BANDS = 16
#: Numbers that describe a slice.
LOOK = 8 * _LEVELS + 4 * _ROUGH + _STEPS * _AT_LEVEL + 5 + _BANDS


def describe_look(slices: Tensor, inside: Tensor) -> Tensor:
    """Return the numbers ``(B, LOOK)`` of slices ``(B, H, W)`` on the intensity scale, the brain in ``inside``.

    Square roots of histogram shares of the local mean and the local standard deviation (3×3 pixels), shares of the
    rings, and the logarithm of the power spectrum against that of its second band. Outside the brain nothing is read.
    """
    image = slices.float().clamp(0, 2) * inside
    mean = F.avg_pool2d(image[:, None], 3, 1, 1)
    rough = (F.avg_pool2d((image**2)[:, None], 3, 1, 1) - mean**2).clamp(min=0).sqrt()
    brain = inside.float()[:, None]
    deep = [1 - F.max_pool2d(1 - brain, 2 * reach + 1, 1, reach) for reach in RINGS]
    rings = [brain - deep[0], deep[0] - deep[1], deep[1]]
    even = (rough < _EVEN).float()
    places = torch.cat([brain, even * brain, *(ring * even for ring in rings), *rings], 1).flatten(2)
    steps = [brain * ((mean >= k * _STEP) & (mean < (k + 1) * _STEP)) for k in range(_STEPS)]
    rows = [
        _shares(mean.flatten(1), places, _TOP, _LEVELS),
        _shares(rough.flatten(1), torch.cat([brain, *rings], 1).flatten(2), _TOP_ROUGH, _ROUGH),
        _shares(rough.flatten(1), torch.cat(steps, 1).flatten(2), _TOP_AT_LEVEL, _AT_LEVEL),
        places[:, :5].sum(2) / places[:, :1].sum(2).clamp(min=1),
        _spectrum(slices.float() * inside),
    ]
    return torch.cat([row.flatten(1) for row in rows], 1)


def _shares(values: Tensor, weights: Tensor, top: float, bins: int) -> Tensor:
    """Return roots of the shares ``(B, K, bins)`` of values ``(B, N)`` in 0…``top`` at K places ``(B, K, N)``.

    Every value is shared between the two nearest bins.
    """
    place = values.clamp(0, top * (1 - 1e-4)) / top * (bins - 1)
    low = place.long()
    high = (place - low)[:, None]
    index = low[:, None].expand_as(weights)
    counts = torch.zeros(*weights.shape[:2], bins, device=values.device)
    counts.scatter_add_(2, index, weights * (1 - high)).scatter_add_(2, index + 1, weights * high)
    return (counts / weights.sum(2, keepdim=True).clamp(min=1)).sqrt()


def _spectrum(image: Tensor) -> Tensor:
    """Return the logarithm of the power ``(B, _BANDS)`` by spatial frequency, up to that of two pixels."""
    height, width = image.shape[-2:]
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)
    power = torch.fft.fft2(image * window.to(image)).abs() ** 2
    rows, columns = (torch.fft.fftfreq(n, device=image.device)[:, None] * 2 for n in (height, width))
    band = ((rows**2 + columns.T**2).sqrt() * _BANDS).long()
    found = torch.log10(torch.stack([power[:, band == number].mean(1) for number in range(_BANDS)], 1) + 1e-4)
    return found - found[:, 1:2]
