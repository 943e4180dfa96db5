"""The eye of MR-CLIP: pictures and prompts in one space, where those of one acquisition lie together.

The image tower tells contrast families apart and little more. The eye reads a picture by its histograms
(:mod:`bids_distclip.networks.look`) and a prompt by what the text tower and its numeric branch make of it; one small
network each brings both into a space of their own (``training/eye.py``). Only places in this space are compared with
each other: it is not that of the styles a generator renders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.errors import BadData
from bids_distclip.networks.bank import VOTERS
from bids_distclip.networks.look import LOOK
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.numbers import describe_numbers
from bids_distclip.networks.store import load_by_family, save_by_family

#: Names of the files beside the weights: the eye, and where the acquisitions it knows lie on its map.
EYE, PLACES = 'eye.safetensors', 'places.tsv'
#: Numbers that tell a prompt: the style of it, and its words alone.
TOLD = 2 * 512
#: Hidden units, length of a place, and share of units dropped in training.
WIDTH, SIZE, DROPPED = 384, 256, 0.1
#: Standard deviations from the mean beyond which a number tells no more.
_FARTHEST = 5.0
_BUFFERS = {'look_mean': (LOOK,), 'look_spread': (LOOK,), 'told_mean': (TOLD,), 'told_spread': (TOLD,)}


class Eye(nn.Module):
    """Where pictures and prompts lie: unit vectors of :data:`SIZE` numbers.

    ``known`` ``(N, SIZE)`` are the places of acquisitions like those of training, ``families`` theirs; ``axes``
    ``(2, SIZE)`` are the first principal components about ``centre``, the two sides of the map.
    """

    look_mean: Tensor
    look_spread: Tensor
    told_mean: Tensor
    told_spread: Tensor
    known: Tensor
    axes: Tensor
    centre: Tensor

    def __init__(self, *, width: int = WIDTH, size: int = SIZE) -> None:
        super().__init__()
        self.pictures = nn.Sequential(
            nn.Dropout(DROPPED), *_layer(LOOK, width), *_layer(width, width), nn.Linear(width, size)
        )
        self.prompts = nn.Sequential(*_layer(TOLD, width), nn.Linear(width, size))
        for name, shape in _BUFFERS.items():
            self.register_buffer(name, torch.zeros(shape) if name.endswith('mean') else torch.ones(shape))
        self.families: tuple[str, ...] = ()
        for name, rows in (('known', 0), ('axes', 2)):
            self.register_buffer(name, torch.zeros(rows, size))
        self.register_buffer('centre', torch.zeros(size))

    def see(self, looks: Tensor) -> Tensor:
        """Return the places ``(..., SIZE)`` of slices by their looks ``(..., LOOK)``."""
        return F.normalize(self.pictures(_within(looks, self.look_mean, self.look_spread)), dim=-1)

    def see_picture(self, looks: Tensor) -> Tensor:
        """Return the place ``(1, SIZE)`` of a picture by the looks ``(B, LOOK)`` of its slices, the mean of theirs."""
        return F.normalize(self.see(looks).mean(0, keepdim=True), dim=-1)

    def tell(self, told: Tensor) -> Tensor:
        """Return the places ``(..., SIZE)`` of prompts by what :func:`read_prompts` makes of them ``(..., TOLD)``."""
        return F.normalize(self.prompts(_within(told, self.told_mean, self.told_spread)), dim=-1)

    def know(self, places: Tensor, families: Sequence[str]) -> None:
        """Keep the places ``(N, SIZE)`` of known acquisitions and make the map of them."""
        self.known, self.families = places.detach().clone(), tuple(families)
        self.centre = self.known.mean(0)
        _, _, axes = torch.linalg.svd(self.known - self.centre, full_matrices=False)
        self.axes = axes[:2] * torch.sign(axes[:2].sum(1, keepdim=True))

    def votes(self, place: Tensor) -> dict[str, float]:
        """Return the share of each contrast family among the known acquisitions nearest to a place ``(1, SIZE)``."""
        nearest = (self.known @ place[0].to(self.known)).topk(min(VOTERS, len(self.known))).indices.tolist()
        return {name: n / len(nearest) for name, n in Counter(self.families[i] for i in nearest).items()}

    def on_map(self, places: Tensor) -> list[tuple[float, float]]:
        """Return where places ``(N, SIZE)`` lie on the map."""
        return [(round(x, 4), round(y, 4)) for x, y in ((places.to(self.axes) - self.centre) @ self.axes.T).tolist()]


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


def describe_places(
    eye: Eye, *, pictures: tuple[Tensor, Tensor], target: Tensor, families: tuple[str, str]
) -> dict[str, Any]:
    """Return where source and output (``pictures``) and ``target`` of one harmonization lie, JSON-ready.

    All are places ``(1, SIZE)``; ``families`` are the contrast families of source and target.
    """
    source, output = pictures
    found: dict[str, Any] = {
        name: round(eye.votes(place).get(family, 0.0), 4)
        for name, place, family in (('source_family', source, families[0]), ('output_family', output, families[1]))
    }
    spots = eye.on_map(torch.cat([source, output, target]))
    return found | {'map': dict(zip(('source', 'output', 'target'), map(list, spots), strict=True))}


def save_eye(path: Path, eye: Eye) -> None:
    """Write an eye as float16, and beside it the table :data:`PLACES` that pages draw its map from."""
    kept = {name: value.detach().cpu().half() for name, value in eye.state_dict().items()}
    save_by_family(path, kept, families=eye.families)
    spots = zip(eye.families, eye.on_map(eye.known), strict=True)
    lines = [f'{family}\t{x}\t{y}\n' for family, (x, y) in spots]
    path.with_name(PLACES).write_text(''.join(['family\tx\ty\n', *lines]), encoding='utf-8')


def load_eye(path: Path) -> Eye | None:
    """Read what :func:`save_eye` wrote; None where there is no such file.

    Raises
    ------
    BadData
        If the file is not one of this package.
    """
    if not path.exists():
        return None
    eye = Eye()
    shapes: dict[str, tuple[int | None, ...]] = {name: tuple(value.shape) for name, value in eye.state_dict().items()}
    families, tensors = load_by_family(path, shapes | {'known': (None, SIZE)}, what='an eye')
    if len(families) != len(tensors['known']):
        raise BadData('Not an eye (its acquisitions lack families)', file=path, cure='Fetch the weights again.')
    eye.known = torch.empty_like(tensors['known'])
    eye.load_state_dict(tensors)
    eye.families = families
    return eye.eval().requires_grad_(False)
