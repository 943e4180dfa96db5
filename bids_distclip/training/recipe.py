"""How a generator is trained: what the command line asks for, as one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bids_distclip.errors import UsageError
from bids_distclip.networks.generator import PRESETS, GeneratorOptions
from bids_distclip.simulation.stream import StreamOptions
from bids_distclip.training.loss_weights import Weights


@dataclass(frozen=True)
class Recipe:
    """How a generator is trained, and for how long.

    ``options`` change fields of the ``preset``. A step takes ``slices`` anatomies in each process, under two protocols.
    Simulated slices have ``size`` pixels a side, real ones ``real_size``: most of a head at the pixels that the app
    works on, because normalization over a slice depends on how much of it is seen. Pictures of heads that are not
    trained on, if there are any, are made every ``pictures`` steps; 0: none.
    """

    preset: str = 'tiny'
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 6000
    minutes: float = float('inf')
    device: str = 'cpu'
    workers: int = 1
    seed: int = 0
    slices: int = 4
    size: int = 128
    real_size: int = 192
    learning_rate: float = 1.5e-3
    guidance: str = 'both'
    weights: Weights = field(default_factory=Weights)
    lesions: bool = True
    texture: bool = True
    tune_clip: bool = True
    pictures: int = 0

    @property
    def generator(self) -> GeneratorOptions:
        """Return the sizes and ablations of the generator."""
        return replace(PRESETS[self.preset], **self.options)

    @property
    def warmup(self) -> int:
        """Return the steps in which the learning rate rises; a training of a few would end before the usual ones."""
        return min(200, max(1, self.steps // 10))

    def stream(self) -> StreamOptions:
        """Return how batches are made: two protocols per slice, every other slice within one contrast family.

        Raises
        ------
        UsageError
            If neighbouring slices are compared and their number is odd.
        """
        neighbours = self.weights.neighbours > 0
        if neighbours and self.slices % 2:
            cure = 'Give an even number of --slices, or leave the neighbours out of --losses.'
            raise UsageError(f'Neighbouring slices come in pairs, and a step has {self.slices}.', cure=cure)
        return StreamOptions(
            slices=self.slices,
            protocols=2,
            size=self.size,
            pixel=(0.95, 1.45),
            pool=self.slices + 1,
            same_family=0.5,
            lesions=self.lesions,
            texture=self.texture,
            seed=self.seed + 1,
            neighbours=neighbours,
        )
