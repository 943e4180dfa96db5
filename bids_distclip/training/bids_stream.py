"""Batches of slices of real images: pairs of one anatomy, pictures that stay as they are, and styles of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from bids_distclip.simulation.slices import PLANES
from bids_distclip.training.batch import Acquired, RealBatch
from bids_distclip.training.cohort import Cohort, RealImage, RealPair
from bids_distclip.volume.planes import axes_to_run, inplane_zoom


@dataclass(frozen=True)
class RealOptions:
    """How a batch is made: slices of ``size`` pixels a side, the share of ``pairs`` where a person has any, and that
    of pictures which stay as they are (``identity``) among the others. ``jitter`` in mm moves what is cut out.
    """

    slices: int = 4
    size: int = 128
    pairs: float = 0.6
    identity: float = 0.5
    jitter: float = 10.0
    seed: int = 0


@dataclass(frozen=True)
class _Cut:
    """Two pictures of a slice ``(2, H, W)``, head and brain ``(H, W)``, of which images, whether of one anatomy."""

    pictures: Tensor
    head: Tensor
    brain: Tensor
    images: tuple[RealImage, RealImage]
    axis: int
    pixel: float
    paired: bool


class RealStream(Dataset):
    """Batches by number. Each is computed from ``(seed, number)`` alone: a resumed training sees the same ones.

    People are equally likely, however many images they have. An image is cut along the axes the app would cut it
    along, its pixels brought to the size the app would bring them to.
    """

    def __init__(self, cohort: Cohort, options: RealOptions, *, length: int) -> None:
        self.cohort, self.options, self.length = cohort, options, length
        self._number = {image.key: number for number, image in enumerate(cohort.images)}
        self._own = [[i for i in cohort.images if i.subject == subject] for subject in cohort.subjects]
        self._pairs = [
            [p for p in cohort.pairs if cohort.images[p.first].subject == subject] for subject in cohort.subjects
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> RealBatch:
        rng = np.random.default_rng([self.options.seed, number, 5])
        cuts = [self._cut(rng) for _ in range(self.options.slices)]
        clean = torch.stack([cut.pictures for cut in cuts])
        size = clean.shape[-2:]
        styles = np.stack([[image.style for image in cut.images] for cut in cuts])
        return RealBatch(
            clean=clean,
            noisy=clean,
            physical=torch.zeros(len(cuts), 3, *size),
            brain=torch.stack([cut.brain for cut in cuts]),
            head=torch.stack([cut.head for cut in cuts]),
            lesion=torch.zeros(len(cuts), *size),
            tissue=torch.zeros(len(cuts), *size, dtype=torch.uint8),
            protocols=tuple(tuple(Acquired(i.acquisition, i.family) for i in cut.images) for cut in cuts),
            planes=tuple(PLANES[cut.axis] for cut in cuts),
            heads=tuple(self._number[cut.images[0].key] for cut in cuts),
            scales=torch.ones(len(cuts), 2),
            pixels=tuple(cut.pixel for cut in cuts),
            neighbours=False,
            paired=torch.tensor([cut.paired for cut in cuts]),
            told=torch.tensor([[image.told for image in cut.images] for cut in cuts]),
            pictured=torch.from_numpy(styles),
        )

    def _cut(self, rng: np.random.Generator) -> _Cut:
        person = int(rng.integers(len(self._own)))
        pairs, images, options = self._pairs[person], self._own[person], self.options
        if pairs and rng.random() < options.pairs:
            return self._paired(pairs[rng.integers(len(pairs))], rng)
        image = images[rng.integers(len(images))]
        others = [other for other in self.cohort.images if other.key != image.key and _axes(image, other)]
        if not others or rng.random() < options.identity:
            return self._identity(image, rng)
        return self._foreign(image, others[rng.integers(len(others))], rng)

    def _paired(self, pair: RealPair, rng: np.random.Generator) -> _Cut:
        first, second = self.cohort.images[pair.first], self.cohort.images[pair.second]
        axis = int(rng.choice(_axes(first, first)))
        one, other, head, brain = self._slices(first, axis, rng, files=(first.file, pair.file))
        pictures, images = (one, other), (first, second)
        if rng.random() < 0.5:
            pictures, images = (other, one), (second, first)
        return _Cut(torch.stack(pictures), head, brain, images, axis, _pixel(first, axis), paired=True)

    def _identity(self, image: RealImage, rng: np.random.Generator) -> _Cut:
        axis = int(rng.choice(_axes(image, image)))
        picture, head, brain = self._slices(image, axis, rng, files=(image.file,))
        return _Cut(torch.stack([picture] * 2), head, brain, (image, image), axis, _pixel(image, axis), paired=True)

    def _foreign(self, image: RealImage, other: RealImage, rng: np.random.Generator) -> _Cut:
        axis = int(rng.choice(_axes(image, other)))
        one, *inside = self._slices(image, axis, rng, files=(image.file,))
        two, *also = self._slices(other, axis, rng, files=(other.file,))
        # Masks say only how much a place counts: where either shows brain counts for both.
        head, brain = (torch.maximum(a, b) for a, b in zip(inside, also, strict=True))
        return _Cut(torch.stack([one, two]), head, brain, (image, other), axis, _pixel(image, axis), paired=False)

    def _slices(
        self, image: RealImage, axis: int, rng: np.random.Generator, *, files: Sequence[Path]
    ) -> list[Tensor]:
        """Return the same slice ``(size, size)`` of some files on an image's grid, and its head and brain."""
        low, high = image.reach[axis]
        index = int(rng.integers(low, high + 1))
        planes = [_plane(file, axis, index).astype(np.float32) for file in files]
        masks = _plane(image.masks, axis, index)
        planes += [((masks & bit) > 0).astype(np.float32) for bit in (1, 2)]
        stack = torch.from_numpy(np.stack(planes))
        zoom = inplane_zoom(image.spacing, axis)
        rows = [n for n in range(3) if n != axis]
        shape = [max(1, round(n * z)) for n, z in zip(stack.shape[-2:], zoom, strict=True)]
        if shape != list(stack.shape[-2:]):
            stack = F.interpolate(stack[None], size=shape, mode='bilinear', antialias=True, align_corners=False)[0]
        moved = rng.normal(0, self.options.jitter, 2) / _pixel(image, axis)
        middle = [image.middle[n] * z + m for n, z, m in zip(rows, zoom, moved, strict=True)]
        return list(_window(stack, middle, size=self.options.size))


class Mixed(Dataset):
    """Batches of a simulated and a real stream: of every so many a ``share`` is real; batch *i* is always the same."""

    def __init__(self, simulated: Any, real: Any, *, share: float, length: int) -> None:
        self.simulated, self.real, self.share, self.length = simulated, real, share, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Any:
        before, after = (int(count * self.share + 1e-9) for count in (number, number + 1))
        return self.real[before] if after > before else self.simulated[number - before]


def _axes(image: RealImage, other: RealImage) -> list[int]:
    return sorted(set(axes_to_run(image.spacing)) & set(axes_to_run(other.spacing)))


def _pixel(image: RealImage, axis: int) -> float:
    """Return the mean side in mm of the pixels that a network sees of slices along an axis."""
    zoom = inplane_zoom(image.spacing, axis)
    sides = [side for n, side in enumerate(image.spacing) if n != axis]
    return float(np.mean([side / z for side, z in zip(sides, zoom, strict=True)]))


def _plane(file: Path, axis: int, index: int) -> np.ndarray:
    return np.asarray(np.load(file, mmap_mode='r').take(index, axis))


def _window(stack: Tensor, middle: Sequence[float], *, size: int) -> Tensor:
    """Return ``size`` pixels a side of slices ``(N, H, W)`` around a place, zero beyond them."""
    padded = F.pad(stack, (size,) * 4)
    starts = [
        min(max(0, round(place) - size // 2 + size), side - size)
        for place, side in zip(middle, padded.shape[-2:], strict=True)
    ]
    return padded[:, starts[0] : starts[0] + size, starts[1] : starts[1] + size]
