"""What keeps results from the truth: the mapper, the decoder, the scale, or what nobody tells of a scanner.

On simulated slices every part can be given what it should have found. Metadata guide, no change within a family is
looked at: what is asked here is how well another contrast is rendered from a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.benchmark.intervals import half_width
from bids_distclip.networks.inference import embed_prompt
from bids_distclip.networks.weights import Trained
from bids_distclip.quality.tissue import channel
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.simulation.scanner import draw_effects
from bids_distclip.simulation.slices import Slice, SliceGeometry, intensity_scales, render_slice

COLUMNS = ('pair', 'given', 'people', 'psnr_brain', 'psnr_brain_ci', 'gain', 'fluid')
#: What the generator is given, in the order of the table.
GIVEN = {
    'as it is': 'source as scanned, target of a scanner that departs from its protocol',
    'a target that stands for its protocol': 'the same, beside the truth of a scanner that departs from nothing',
    'a source without noise': 'and a source without noise, of a scanner that departs from nothing',
    'the true tissue': 'every tissue of the slice where it is, with its median T1, T2 and PD everywhere',
    'the true maps': 'the true maps of T1, T2 and PD in place of the mapper\'s',
    'the true maps and scale': 'and the best gain for each slice',
}
#: Where slices lie, in millimetres from the brain's centre.
_OFFSETS = (-10.0, 20.0)
_RESOLUTION = ((1.0, 1.0), 0.4)


def find_limits(
    trained: Trained,
    anatomies: Sequence[Anatomy],
    source: str,
    target: str,
    *,
    people: int = 9,
    size: tuple[int, int] = (160, 192),
    seed: int = 31_000,
) -> Iterator[dict[str, Any]]:
    """Yield a row of :data:`COLUMNS` for each of :data:`GIVEN`: PSNR in the brain (dB), the mean over people bent from
    the anatomies in turn, half its 95 % confidence interval, the mean distance of the best gain from 1, and the share
    of squared errors that lies in fluid."""
    rng = np.random.default_rng([seed, *map(ord, source + target)])
    found: list[list[tuple[float, ...]]] = []
    for number in range(people):
        head = Head(anatomies[number % len(anatomies)], seed=seed + number, deform_mm=2.0, lesion_kinds=('ms',))
        pair = draw_protocol(rng, family=source), draw_protocol(rng, family=target)
        slices = _slices(head, pair, rng, size=size, seed=seed + number)
        styles = [embed_prompt(trained.clip, whole_prompt(p.acquisition, p.family)) for p in pair]
        each = np.array([_near(trained, one, *styles) for one in slices])
        found.append([tuple(map(float, values)) for values in each.mean(0)])
    for given, values in zip(GIVEN, np.array(found).transpose(1, 0, 2), strict=True):
        yield {
            'pair': f'{source}→{target}',
            'given': given,
            'people': people,
            'psnr_brain': float(values[:, 0].mean()),
            'psnr_brain_ci': half_width(values[:, 0]),
            'gain': float(values[:, 1].mean()),
            'fluid': float(values[:, 2].mean()),
        }


def _slices(
    head: Head, pair: tuple[Protocol, Protocol], rng: np.random.Generator, *, size: tuple[int, int], seed: int
) -> list[Slice]:
    """Return slices under both protocols, and both as they are without a scanner's departure."""
    protocols = [*pair, *(p.usual() for p in pair)]
    scales = intensity_scales(head, protocols, seed=seed)
    effects = [draw_effects(rng, resolution=_RESOLUTION, strength=0.5) for _ in protocols]
    return [
        render_slice(head, protocols, SliceGeometry(axis=2, offset=offset, size=size), scales=scales, seed=seed,
                     strip=2.0, resolution=_RESOLUTION, effects=effects)
        for offset in _OFFSETS
    ]


def _near(trained: Trained, one: Slice, own: Tensor, wanted: Tensor) -> list[tuple[float, float, float]]:
    """Return PSNR in the brain, the distance of the best gain from 1 and fluid's share, for each of :data:`GIVEN`."""
    inside, generator = one.brain > 0.5, trained.generator
    noisy, clean, departed, usual = one.noisy[0], one.clean[2], one.clean[1], one.clean[3]
    with torch.inference_mode():
        read, sharp = (generator.anatomy(x[None, None], own) for x in (noisy, clean))
        made, from_clean, from_tissue, from_truth = (
            generator.render(beta, wanted)[0, 0][inside]
            for beta in (read, sharp, even_tissue(one)[None], one.physical[None])
        )
    departed, usual, fluid = departed[inside], usual[inside], one.tissue[inside] == channel('CSF')
    best = _gain(from_truth, usual)
    answers = (
        (made, departed), (made, usual), (from_clean, usual), (from_tissue, usual), (from_truth, usual),
        (best * from_truth, usual),
    )
    return [
        (_psnr(made, truth), abs(_gain(made, truth) - 1), _share(made, truth, fluid)) for made, truth in answers
    ]


def even_tissue(one: Slice) -> Tensor:
    """Return the physical maps ``(3, H, W)`` of a slice whose tissues all have their median, as if all else were one
    more tissue."""
    even = torch.empty_like(one.physical)
    for number in one.tissue.unique():
        place = one.tissue == number
        even[:, place] = one.physical[:, place].median(1, keepdim=True).values
    return even


def _share(made: Tensor, truth: Tensor, where: Tensor) -> float:
    square = (made.clamp(0, 1) - truth.clamp(0, 1)) ** 2
    return float(square[where].sum() / square.sum().clamp(min=1e-9))


def _gain(made: Tensor, truth: Tensor) -> float:
    return float((made * truth).sum() / (made * made).sum().clamp(min=1e-9))


def _psnr(made: Tensor, truth: Tensor) -> float:
    error = float(((made.clamp(0, 1) - truth.clamp(0, 1)) ** 2).mean())
    return float(-10 * np.log10(error + 1e-9))
