"""The loss on people that are not trained on, at every checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bids_distclip.simulation.stream import Batch
from bids_distclip.training.curve import Curve


class HeldOut:
    """Writes the mean losses of the same few batches into a table, by step."""

    def __init__(
        self, path: Path, batches: Sequence[Batch], losses: Callable[[Batch, int], Mapping[str, Tensor]]
    ) -> None:
        self.batches, self.losses = batches, losses
        self._curve = Curve(path, about='held out')

    def __call__(self, step: int) -> dict[str, float]:
        """Write the losses of a step; return them with their ``total``."""
        with torch.no_grad():
            for number, batch in enumerate(self.batches):
                parts = self.losses(batch, number)
                total = torch.stack([v for k, v in parts.items() if not k.startswith('_')]).sum()
                self._curve.add({**parts, 'total': total})
        return self._curve.write(step)
