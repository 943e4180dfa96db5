"""The eye of MR-CLIP: pictures and prompts in one space, where those of one acquisition lie together.

The image tower tells contrast families apart and little more. The eye reads a picture by its histograms
(:mod:`bids_distclip.networks.look`) and a prompt by what the text tower and its numeric branch make of it; one small
network each brings both into a space of their own (``training/eye.py``). Only places in this space are compared with
each other: it is not that of the styles a generator renders, and the app does not use it (docs/benchmark.md says why).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.networks.look import LOOK
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.numbers import describe_numbers
from bids_distclip.networks.store import load_if_there, save_by_family

#: Name of the file beside the weights.
EYE = 'eye.safetensors'
#: Numbers that tell a prompt: the style of it, and its words alone.
TOLD = 2 * 512
#: Hidden units, length of a place, and share of units dropped in training.
WIDTH, SIZE, DROPPED = 384, 256, 0.1
#: Standard deviations from the mean beyond which a number tells no more.
_FARTHEST = 5.0
_BUFFERS = {'look_mean': (LOOK,), 'look_spread': (LOOK,), 'told_mean': (TOLD,), 'told_spread': (TOLD,)}


class Eye(nn.Module):
    """Where pictures and prompts lie: unit vectors of :data:`SIZE` numbers."""

    look_mean: Tensor
    look_spread: Tensor
    told_mean: Tensor
    told_spread: Tensor

    def __init__(self, *, width: int = WIDTH, size: int = SIZE) -> None:
        super().__init__()
        self.pictures = nn.Sequential(
            nn.Dropout(DROPPED), *_layer(LOOK, width), *_layer(width, width), nn.Linear(width, size)
        )
        self.prompts = nn.Sequential(*_layer(TOLD, width), nn.Linear(width, size))
        for name, shape in _BUFFERS.items():
            self.register_buffer(name, torch.zeros(shape) if name.endswith('mean') else torch.ones(shape))

    def see(self, looks: Tensor) -> Tensor:
        """Return the places ``(..., SIZE)`` of slices by their looks ``(..., LOOK)``."""
        return F.normalize(self.pictures(_within(looks, self.look_mean, self.look_spread)), dim=-1)

    def see_picture(self, looks: Tensor) -> Tensor:
        """Return the place ``(1, SIZE)`` of a picture by the looks ``(B, LOOK)`` of its slices, the mean of theirs."""
        return F.normalize(self.see(looks).mean(0, keepdim=True), dim=-1)

    def tell(self, told: Tensor) -> Tensor:
        """Return the places ``(..., SIZE)`` of prompts by what :func:`read_prompts` makes of them ``(..., TOLD)``."""
        return F.normalize(self.prompts(_within(told, self.told_mean, self.told_spread)), dim=-1)


def _layer(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.SiLU(), nn.Dropout(DROPPED)


def _within(numbers: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    return ((numbers.to(mean) - mean) / spread).clamp(-_FARTHEST, _FARTHEST)


def read_prompts(clip: MRCLIP, prompts: Sequence[str]) -> Tensor:
    """Return what MR-CLIP makes of prompts, ``(B, TOLD)``: their words, and their styles with what numbers add."""
    with torch.inference_mode():
        words = clip.encode_words(prompts)
        styles = words if clip.numbers is None else clip.add_numbers(words, describe_numbers(prompts))
        return torch.cat([words, styles], 1).float()


def save_eye(path: Path, eye: Eye) -> None:
    """Write an eye as float16."""
    kept = {name: value.detach().cpu().half() for name, value in eye.state_dict().items()}
    save_by_family(path, kept, families=())


def load_eye(path: Path) -> Eye | None:
    """Read what :func:`save_eye` wrote; None where there is no such file.

    Raises
    ------
    BadData
        If the file is not one of this package.
    """
    with torch.device('meta'):
        eye = Eye().eval().requires_grad_(False)
    shapes = {name: tuple(value.shape) for name, value in eye.state_dict().items()}

    def filled(_: tuple[str, ...], tensors: dict[str, Tensor]) -> Eye:
        eye.load_state_dict(tensors, assign=True)
        return eye

    return load_if_there(path, shapes, filled, what='an eye')
