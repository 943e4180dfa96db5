"""Simulated beside real: contrast between tissues, noise and sharpness of T1w, T2w and FLAIR scans of one head each."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from bids_distclip.benchmark.cases import read_real
from bids_distclip.quality.metrics import noise_level
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.scanner import draw_resolution
from bids_distclip.simulation.volumes import simulate_volumes
from bids_distclip.volume.bias import corrected, n4_field

FAMILIES = ('T1w', 'T2w', 'FLAIR')

#: What is measured of each image: ratios of tissue medians to white matter, noise, sharpness.
MEASURES = ('gray', 'ventricle', 'sulcus', 'open_fluid', 'contrast_to_noise', 'spectral_slope')


def measure(images: Mapping[str, np.ndarray], brain: np.ndarray) -> dict[tuple[str, str], float]:
    """Return ``{(family, measure): value}`` of co-registered images ``(X, Y, Z)`` of one head, 1 mm, RAS.

    Tissues are told apart on the T1w image alone, by brightness and depth below the brain's surface, the same way for
    real and simulated heads: white matter is the brightest fifth deeper than 8 mm; gray matter lies at 60–78 % of
    that, near the surface; fluid is darker than 45 %, deeper than 25 mm (``ventricle``) or at 2–12 mm (``sulcus``);
    of the latter, what T1w shows as dark as the ventricles is ``open_fluid``.
    ``contrast_to_noise`` is |white − gray| over the noise in white matter (median absolute deviation of the
    difference to the six neighbours' mean); ``spectral_slope`` the slope of the log power of axial slices over log
    frequency at 0.05–0.35 cycles/mm.
    """
    depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(brain))
    t1w = images['T1w']
    white = brain & (depth > 8) & (t1w > np.percentile(t1w[brain], 80))
    relative = t1w / np.median(t1w[white])
    places = {
        'gray': brain & (relative > 0.60) & (relative < 0.78) & (depth > 3) & (depth < 20),
        'ventricle': brain & (relative < 0.45) & (depth > 25),
        'sulcus': brain & (relative < 0.45) & (depth > 2) & (depth < 12),
    }
    # As dark to within a tenth of white matter: noise and the mean of a few voxels blur that much.
    darkest = np.median(relative[places['ventricle']]) + 0.03 if places['ventricle'].any() else 0.0
    places['open_fluid'] = places['sulcus'] & (relative < darkest)
    smooth = ndimage.gaussian_filter(relative, 1.0)
    deep = ndimage.binary_erosion((smooth > 0.88) & (smooth < 1.15) & (depth > 8), iterations=2)
    found = {}
    for family, image in images.items():
        level = float(np.median(image[white]))
        for name, place in places.items():
            found[family, name] = float(np.median(image[place])) / level if place.sum() > 200 else float('nan')
        noise = noise_level(image, mask=deep)
        found[family, 'contrast_to_noise'] = abs(1 - found[family, 'gray']) * level / max(noise, 1e-6)
        found[family, 'spectral_slope'] = _spectral_slope(image, brain)
    return found


def _spectral_slope(image: np.ndarray, brain: np.ndarray) -> float:
    filled = np.flatnonzero(brain.any((0, 1)))
    low, high = np.quantile(filled, [0.4, 0.7]).astype(int)
    slices = np.moveaxis(image[:, :, low:high], 2, 0)
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    power = (np.abs(np.fft.fft2(slices * window)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None, :])
    inside = (frequency > 0.05) & (frequency < 0.35)
    return float(np.polyfit(np.log(frequency[inside]), np.log(power[inside] + 1e-12), 1)[0])


def real_heads(brains: Path, subjects: Sequence[str]) -> Iterable[tuple[str, dict[tuple[str, str], float]]]:
    """Yield name and measures of every real head that has all three contrasts."""
    for subject in subjects:
        scans = {f: read_real(brains, subject, f) for f in FAMILIES}
        brain = scans['T1w'].brain
        yield subject, measure({f: flattened(s.volume.data, brain) for f, s in scans.items()}, brain)


def flattened(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Return an image ``(X, Y, Z)`` of 1 mm as N4 leaves it: shading would count as contrast between tissues."""
    return corrected(image, field=n4_field(image, affine=np.eye(4), mask=brain), brain=brain)


def simulated_heads(
    anatomies: Sequence[Anatomy], *, draws: int = 1, seed: int = 700, size: tuple[int, int, int] = (160, 192, 144)
) -> Iterable[tuple[str, dict[tuple[str, str], float]]]:
    """Yield name and measures of ``draws`` heads of each anatomy, each under one drawn protocol per contrast, noise and
    all."""
    for index, (draw, anatomy) in enumerate(itertools.product(range(draws), anatomies)):
        rng = np.random.default_rng([seed, index])
        protocols = [draw_protocol(rng, family=f) for f in FAMILIES]
        head = Head(anatomy, seed=seed + index, deform_mm=2.0, texture_scale=float(rng.uniform(0.3, 2.2)))
        volumes = simulate_volumes(
            head, protocols, size=size, seed=seed + index, strip=2.0, resolution=draw_resolution(rng)
        )
        brain = volumes[0].brain > 0.5
        images = {f: flattened(v.image, brain) for f, v in zip(FAMILIES, volumes, strict=True)}
        yield f'{anatomy.name}-{draw + 1}', measure(images, brain)


def write_realism(
    real: Mapping[str, Mapping[tuple[str, str], float]],
    simulated: Mapping[str, Mapping[tuple[str, str], float]],
    folder: Path,
) -> float:
    """Write ``realism.tsv`` and ``realism.png``; return the share of real values within the simulated range.

    Of values drawn from one distribution ``(n - 1) / (n + 1)`` lie within the range of ``n`` others.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    inside = []
    figure = Figure(figsize=(13, 7))
    FigureCanvasAgg(figure)
    with (folder / 'realism.tsv').open('w', encoding='utf-8', newline='') as stream:
        writer = csv.writer(stream, delimiter='\t', lineterminator='\n')
        writer.writerow(['data', 'head', 'image', *MEASURES])
        for data, heads in (('real', real), ('simulated', simulated)):
            for name, values in heads.items():
                for family in FAMILIES:
                    writer.writerow([data, name, family, *(f'{values[family, m]:.4g}' for m in MEASURES)])
    for row, family in enumerate(FAMILIES):
        for column, name in enumerate(MEASURES):
            made = np.array([v[family, name] for v in simulated.values()])
            seen = np.array([v[family, name] for v in real.values()])
            made, seen = made[np.isfinite(made)], seen[np.isfinite(seen)]
            if len(made) and len(seen):
                inside += list((seen >= made.min()) & (seen <= made.max()))
            place = figure.add_subplot(len(FAMILIES), len(MEASURES), len(MEASURES) * row + column + 1)
            spread = np.random.default_rng(0).uniform(-0.15, 0.15, 999)
            place.plot(made, spread[: len(made)], 'o', color='0.6', markersize=4, label='simulated')
            place.plot(seen, 1 + spread[: len(seen)], 'd', color='tab:red', markersize=6, label='real')
            place.set_yticks([0, 1], ['simulated', 'real'] if column == 0 else ['', ''])
            place.set_ylim(-0.5, 1.5)
            place.set_title(f'{family} {name.replace("_", " ")}', fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / 'realism.png', dpi=80)
    return float(np.mean(inside)) if inside else float('nan')
