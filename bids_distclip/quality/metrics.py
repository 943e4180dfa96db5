"""Image quality numbers: against a truth where there is one, and for each image where there is none."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from scipy import ndimage
from skimage.metrics import structural_similarity

from bids_distclip.quality.gradient import alignment, box, gradient, magnitude
from bids_distclip.quality.guard import Guard, compare_structure
from bids_distclip.quality.parts import brain_parts

if TYPE_CHECKING:
    from bids_distclip.harmonizers.base import Target
    from bids_distclip.volume.prepared import Prepared

#: Probabilities at which quantile functions are compared.
_QUANTILES = np.linspace(0.0005, 0.9995, 1000)


def psnr(a: np.ndarray, b: np.ndarray, *, data_range: float = 1.0, mask: np.ndarray | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log10(range² / mean squared error), inf if equal.

    ``a`` and ``b`` have one shape; ``mask`` (boolean, the same shape) restricts where errors count.
    """
    error = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    mse = float(np.mean(np.square(error if mask is None else error[mask])))
    return float('inf') if mse == 0 else float(10 * np.log10(data_range**2 / mse))


def ssim(a: np.ndarray, b: np.ndarray, *, data_range: float = 1.0, mask: np.ndarray | None = None) -> float:
    """Return the mean structural similarity, -1..1, over the image or over a mask.

    Gaussian window of 1.5 voxels, K1 = 0.01, K2 = 0.03 (Wang et al. 2004), in as many dimensions as the
    arrays have; every side must be at least 11 voxels long.
    """
    value, full = structural_similarity(
        np.asarray(a, dtype=np.float64),
        np.asarray(b, dtype=np.float64),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(value) if mask is None else float(full[mask].mean())


def paper_protocol(pred: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return mean PSNR (dB) and mean SSIM over axial slices, background included.

    ``pred`` and ``truth`` are ``(X, Y, Z)`` with axial slices along the last axis, min-max normalized to 0..1
    and zero outside the brain (the protocol of the published DIST-CLIP numbers). Slices in which the truth is
    zero everywhere are left out; raises ValueError if none remains.
    """
    slices = np.flatnonzero((np.asarray(truth) > 0).any(axis=(0, 1)))
    if slices.size == 0:
        raise ValueError('no slice of the truth contains brain')
    pairs = [(pred[..., k], truth[..., k]) for k in slices]
    return float(np.mean([psnr(*p) for p in pairs])), float(np.mean([ssim(*p) for p in pairs]))


def structure_preserved(
    source: np.ndarray,
    output: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> float:
    """Return how well the output's edges follow the source's, whatever the sign of the contrast.

    Mean squared cosine between both gradient fields (Gaussian of 1 mm), weighted by the source's gradient
    magnitude: 1 for every image a·source + b with a ≠ 0, 1/3 for unrelated edges, nan for a flat source.
    """
    first = gradient(source, spacing=spacing, sigma=1.0)
    second = gradient(output, spacing=spacing, sigma=1.0)
    weight = magnitude(first)
    if mask is not None:
        weight = weight * mask
    total = float(weight.sum(dtype=np.float64))
    return float((weight * alignment(first, second)).sum(dtype=np.float64) / total) if total else float('nan')


def sharpness(data: np.ndarray, *, mask: np.ndarray | None = None) -> float:
    """Return root-mean-square gradient at a Gaussian of 1 voxel over that at 2 voxels, whatever the scale.

    A step edge blurred by a Gaussian of s voxels gives ((s² + 4) / (s² + 1))^(1/4); nan for a flat image.
    """
    inside = np.ones(data.shape, dtype=bool) if mask is None else mask
    fine, coarse = (
        float(np.mean(magnitude(gradient(data, spacing=(1, 1, 1), sigma=s))[inside] ** 2)) for s in (1, 2)
    )
    return float(np.sqrt(fine / coarse)) if coarse > 0 else float('nan')


def edge_sharpness_ratio(source: np.ndarray, output: np.ndarray, *, mask: np.ndarray | None = None) -> float:
    """Return the output's :func:`sharpness` over the source's: below 1 blurred, above 1 sharper."""
    before = sharpness(source, mask=mask)
    return sharpness(output, mask=mask) / before if before > 0 else float('nan')


def noise_level(data: np.ndarray, *, mask: np.ndarray) -> float:
    """Return the standard deviation of white noise in a place of ``(X, Y, Z)``, nan where the mask is empty.

    From the median absolute deviation of the difference to the six neighbours' mean, which has √(7/6) of the noise.
    """
    if not mask.any():
        return float('nan')
    part = box(mask, margin=1)
    data, inside = data[part].astype(np.float64), mask[part]
    kernel = ndimage.generate_binary_structure(3, 1).astype(float) / 6
    kernel[1, 1, 1] = 0
    rough = (data - ndimage.convolve(data, kernel))[inside]
    return float(1.4826 * np.median(np.abs(rough - np.median(rough))) / np.sqrt(7 / 6))


def slice_jump(data: np.ndarray, *, mask: np.ndarray, axis: int, spacing: Sequence[float]) -> float:
    """Return how much more neighbouring voxels differ along an axis than along the two others, per millimetre.

    The mean absolute difference of neighbours within the mask, divided by the mean of the same along the other axes: 1
    without a preferred direction, above 1 where slices were treated apart; nan for a flat image.
    """
    steps = []
    for way in range(3):
        both = np.logical_and(*(np.take(mask, range(i, mask.shape[way] - 1 + i), axis=way) for i in (0, 1)))
        change = np.abs(np.diff(data, axis=way))[both]
        steps.append(float(change.mean()) / spacing[way] if change.size else 0.0)
    across = (sum(steps) - steps[axis]) / 2
    return steps[axis] / across if across > 0 else float('nan')


def slice_jump_ratio(
    source: np.ndarray, output: np.ndarray, *, mask: np.ndarray, spacing: Sequence[float]
) -> float:
    """Return the largest ratio, over the three axes, of the output's :func:`slice_jump` to the source's."""
    ratios = [
        slice_jump(output, mask=mask, axis=axis, spacing=spacing) / was
        for axis in range(3) if (was := slice_jump(source, mask=mask, axis=axis, spacing=spacing)) > 0
    ]
    return max(ratios, default=float('nan'))


def background_leak(data: np.ndarray, *, head: np.ndarray) -> float:
    """Return the mean absolute intensity outside the head mask, in the data's units; 0 without background."""
    outside = data[~head]
    return float(np.abs(outside).mean(dtype=np.float64)) if outside.size else 0.0


def histogram_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Wasserstein-1 distance between two samples of intensities, in their units.

    The mean absolute difference of their quantile functions at 1000 probabilities; nan if one is empty.
    """
    if not a.size or not b.size:
        return float('nan')
    return float(np.mean(np.abs(np.quantile(a, _QUANTILES) - np.quantile(b, _QUANTILES))))


def intensity_summary(values: np.ndarray) -> dict[str, float]:
    """Return mean, std, median, iqr, p01 and p99 of a sample of intensities, in its units."""
    if not values.size:
        return dict.fromkeys(('mean', 'std', 'median', 'iqr', 'p01', 'p99'), float('nan'))
    p01, p25, p50, p75, p99 = (float(q) for q in np.percentile(values, [1, 25, 50, 75, 99]))
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return {'mean': mean, 'std': std, 'median': p50, 'iqr': p75 - p25, 'p01': p01, 'p99': p99}


def brain_structure(
    source: np.ndarray, output: np.ndarray, *, brain: np.ndarray, spacing: Sequence[float]
) -> dict[str, float]:
    """Return :func:`structure_preserved` and :func:`edge_sharpness_ratio` within a mask, cropped to it."""
    part = box(brain, margin=6)
    first, second, inside = source[part], output[part], brain[part]
    return {
        'structure_preserved': structure_preserved(first, second, mask=inside, spacing=spacing),
        'edge_sharpness_ratio': edge_sharpness_ratio(first, second, mask=inside),
        'slice_jump_ratio': slice_jump_ratio(first, second, mask=inside, spacing=spacing),
    }


@functools.cache
def metric_table() -> dict[str, dict[str, str]]:
    """Return label, unit, meaning and what is good for each number, as written in ``metrics.yaml``."""
    return yaml.safe_load((files('bids_distclip.quality') / 'metrics.yaml').read_text(encoding='utf-8'))


def image_metrics(
    source: Prepared, harmonized: np.ndarray, target: Target, *, guard: Guard | None = None
) -> dict[str, dict[str, Any]]:
    """Return the numbers of one image: name to value, before, label, unit, meaning and good.

    ``harmonized`` is ``(X, Y, Z)`` on the source's grid, in the target's units. All intensities are compared
    on normalized scales, source / scale and harmonized / target.scale. ``before`` is the same number of the
    source, or None where that makes no sense; a number that cannot be computed is None. The distance to the
    target's histogram is there only when the target is an image of known brain. ``guard`` is the comparison of both
    structures, where it is known already.
    """
    before = source.volume.data / np.float32(source.scale)
    after = np.asarray(harmonized, dtype=np.float32) / np.float32(target.scale)
    values = _structure(before, after, source=source, guard=guard)
    values |= _intensity(before, after, source=source, target=target)
    table = metric_table()
    return {
        name: {'value': _number(value), 'before': _number(was), **table[name]}
        for name, (value, was) in values.items()
    }


def style_metrics(style: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what an engine says of its styles as numbers like those of :func:`image_metrics`; others are left out."""
    table = metric_table()
    before = {'target_after': style.get('target_before')}
    return {
        name: {'value': _number(value), 'before': _number(before.get(name)), **table[name]}
        for name, value in style.items() if name in table
    }


def _structure(
    before: np.ndarray, after: np.ndarray, *, source: Prepared, guard: Guard | None
) -> dict[str, tuple]:
    spacing = source.volume.spacing
    found = brain_structure(before, after, brain=source.brain, spacing=spacing)
    guard = guard or compare_structure(before, after, mask=source.brain, spacing=spacing)
    found |= {
        'structure_lost': guard.lost, 'structure_invented': guard.invented,
        'structure_lost_peak': guard.peak_lost, 'structure_invented_peak': guard.peak_invented,
    }
    return {name: (value, None) for name, value in found.items()}


def _intensity(
    before: np.ndarray, after: np.ndarray, *, source: Prepared, target: Target
) -> dict[str, tuple]:
    was, now = before[source.brain], after[source.brain]
    summary = intensity_summary(was), intensity_summary(now)
    values = {
        'background_leak': tuple(background_leak(d, head=source.head) for d in (after, before)),
        'change': (float(np.abs(now - was).mean()) if now.size else None, None),
        'brain_median': (summary[1]['median'], summary[0]['median']),
        'brain_iqr': (summary[1]['iqr'], summary[0]['iqr']),
    }
    values |= {
        name: (float(np.median(now[part])), float(np.median(was[part]))) for name, part in brain_parts(source).items()
    }
    if target.image is not None and target.image.brain.any():
        wanted = target.image.volume.data[target.image.brain] / np.float32(target.scale)
        values['histogram_distance'] = histogram_distance(now, wanted), histogram_distance(was, wanted)
    return values


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
