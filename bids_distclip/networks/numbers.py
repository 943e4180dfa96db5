"""The numeric branch of MR-CLIP's text tower: what the numbers of a prompt add to the vector of its words.

A small text tower reads digits badly: it does not tell an inversion time at which grey matter is nulled from one at
which it is bright. The branch sees every number as a value on a logarithmic scale and as sines and cosines of it (after
Tancik et al. 2020, arXiv 2006.10739), together with the vector of the words, which says what sequence the numbers time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bids_distclip.acquisition.prompt import NUMBERS, read_numbers

#: Lowest and highest value that is told apart: tesla, seconds, seconds, seconds, degrees.
RANGES = ((0.2, 10.0), (0.0005, 1.0), (0.002, 30.0), (0.02, 8.0), (1.0, 200.0))


class NumericBranch(nn.Module):
    """What the numbers add to the words: both have ``size`` numbers; nothing before training.

    Parameters
    ----------
    size
        Length of an embedding.
    width
        Hidden units.
    frequencies
        Sines and cosines per number, of 1/2, 1, 2 ... turns over its range.
    """

    def __init__(self, size: int, *, width: int, frequencies: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.layers = nn.Sequential(
            nn.Linear(size + len(NUMBERS) * (2 + 2 * frequencies), width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, size),
        )
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, words: Tensor, numbers: Tensor) -> Tensor:
        """Return what to add to unit vectors ``(B, size)``, given the :func:`describe_numbers` of their prompts."""
        waves = [f(math.pi * 2**k * numbers[..., 1]) for k in range(self.frequencies) for f in (torch.sin, torch.cos)]
        known = numbers[..., :1]
        described = torch.cat([known, known * torch.stack([numbers[..., 1], *waves], -1)], -1)
        return self.layers(torch.cat([words * words.shape[-1] ** 0.5, described.flatten(1)], 1))


def describe_numbers(prompts: Sequence[str]) -> Tensor:
    """Return ``(B, N, 2)``: whether each number is told (0 or 1), and its place in its range (0 to 1, logarithmic)."""
    rows = []
    for prompt in prompts:
        for value, (low, high) in zip(read_numbers(prompt), RANGES, strict=True):
            place = 0.0 if value is None else math.log(value / low) / math.log(high / low)
            rows.append((float(value is not None), min(max(place, 0.0), 1.0)))
    return torch.tensor(rows).reshape(-1, len(NUMBERS), 2)
