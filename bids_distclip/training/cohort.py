"""Real images to train on, and which of them show the same anatomy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.errors import NothingSelected


@dataclass(frozen=True)
class RealImage:
    """One prepared image. ``file`` is a ``.npy`` of float16 ``(X, Y, Z)``, RAS, in units of its intensity scale, that
    of its ``masks`` uint8: 1 in the head, 2 in the brain, 3 in both.

    ``style`` ``(512,)`` is what the app finds in the picture; ``told`` whether metadata say enough instead.
    ``spacing`` is in mm; ``reach`` the first and last slice along each axis that show brain; ``middle`` the brain's.
    """

    relative: str
    subject: str
    key: str
    family: str
    acquisition: Acquisition
    told: bool
    spacing: tuple[float, ...]
    reach: tuple[tuple[int, int], ...]
    middle: tuple[float, ...]
    file: Path
    masks: Path
    style: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class RealPair:
    """Two images of one anatomy, by their numbers; ``file`` is the second one on the first one's grid, like its own."""

    first: int
    second: int
    file: Path


@dataclass(frozen=True)
class Cohort:
    """Images, pairs among them, and sentences about what was left out and why."""

    name: str
    images: tuple[RealImage, ...]
    pairs: tuple[RealPair, ...]
    notes: tuple[str, ...] = ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """Labels of the people, sorted."""
        return tuple(sorted({image.subject for image in self.images}))

    @property
    def digest(self) -> str:
        """Tell one set of images and pairs from another."""
        parts = [*(image.key for image in self.images), *(pair.file.name for pair in self.pairs)]
        return hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]

    def of(self, subjects: Iterable[str]) -> Cohort:
        """Return the images of some people."""
        wanted = set(subjects)
        kept = [number for number, image in enumerate(self.images) if image.subject in wanted]
        place = {number: index for index, number in enumerate(kept)}
        pairs = [
            replace(pair, first=place[pair.first], second=place[pair.second])
            for pair in self.pairs
            if pair.first in place
        ]
        return replace(self, images=tuple(self.images[number] for number in kept), pairs=tuple(pairs))

    def to_dict(self) -> dict[str, Any]:
        """Return what a model card may tell: counts, no names of people."""
        families = sorted({image.family for image in self.images})
        return {
            'dataset': self.name,
            'people': len(self.subjects),
            'images': len(self.images),
            'families': {name: sum(image.family == name for image in self.images) for name in families},
            'pairs': len(self.pairs),
            'digest': self.digest,
        }


def held_apart(cohort: Cohort, held_out: Sequence[str]) -> tuple[Cohort, Cohort | None]:
    """Return the images to train on, and those of the people that are held out, if any.

    Raises
    ------
    NothingSelected
        If a person is not there, or nobody is left to train on.
    """
    labels = [label.removeprefix('sub-') for label in held_out]
    unknown = [label for label in labels if label not in cohort.subjects]
    left = [label for label in cohort.subjects if label not in labels]
    if unknown or not left:
        what = f'There is no {", ".join(unknown)} to hold out.' if unknown else 'Nobody is left to train on.'
        raise NothingSelected(what, cure=f'Choose among {", ".join(cohort.subjects)}.')
    return cohort.of(left), cohort.of(labels) if labels else None
