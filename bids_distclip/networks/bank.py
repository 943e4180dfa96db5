"""Known acquisitions in the space of MR-CLIP: how far a picture or a prompt lies from them, and where on a map.

Pictures were taught to lie where the *words* of their prompts lie. So the words are compared here, without what the
numeric branch adds for the renderer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bids_distclip.networks.store import load_if_there, save_by_family

#: Names of the files beside the weights: the bank, and where its acquisitions lie on the map.
BANK, MAP = 'bank.safetensors', 'acquisitions.tsv'
#: So many nearest acquisitions tell how familiar a style is, and so many vote on its contrast family.
NEAREST, VOTERS = 3, 15


@dataclass(frozen=True)
class Bank:
    """Words of acquisitions like those of training: ``theta`` ``(N, 512)``, unit vectors, and their ``families``.

    ``axes`` ``(2, 512)`` are the first principal components about ``centre`` ``(512,)``: the two sides of the map.
    """

    theta: Tensor
    families: tuple[str, ...]
    axes: Tensor
    centre: Tensor

    def familiarity(self, theta: Tensor) -> float:
        """Return the mean cosine of a style ``(1, 512)`` to the nearest known ones; 1 is a known acquisition."""
        return float((self.theta @ theta.float().cpu()[0]).topk(NEAREST).values.mean())

    def votes(self, theta: Tensor) -> dict[str, float]:
        """Return the share of each contrast family among the acquisitions nearest to a style ``(1, 512)``."""
        nearest = (self.theta @ theta.float().cpu()[0]).topk(VOTERS).indices.tolist()
        return {name: count / VOTERS for name, count in Counter(self.families[i] for i in nearest).items()}

    def place(self, theta: Tensor) -> tuple[float, float]:
        """Return where a style ``(1, 512)`` lies on the map."""
        x, y = (self.axes @ (theta.float().cpu()[0] - self.centre)).tolist()
        return round(x, 4), round(y, 4)

    def points(self) -> list[tuple[float, float]]:
        """Return where the known acquisitions lie on the map."""
        return [(round(x, 4), round(y, 4)) for x, y in ((self.theta - self.centre) @ self.axes.T).tolist()]


def make_bank(theta: Tensor, families: Sequence[str]) -> Bank:
    """Return the bank of styles ``(N, 512)`` with their contrast families."""
    theta = F.normalize(theta.float().cpu(), dim=1)
    centre = theta.mean(0)
    _, _, axes = torch.linalg.svd(theta - centre, full_matrices=False)
    axes = axes[:2] * torch.sign(axes[:2].sum(1, keepdim=True))
    return Bank(theta, tuple(families), axes, centre)


def save_bank(path: Path, bank: Bank) -> None:
    """Write a bank, its styles as float16, and beside it the table :data:`MAP` that pages draw from."""
    kept = {'theta': bank.theta.half(), 'axes': bank.axes, 'centre': bank.centre}
    save_by_family(path, kept, families=bank.families)
    lines = [f'{family}\t{x}\t{y}\n' for family, (x, y) in zip(bank.families, bank.points(), strict=True)]
    path.with_name(MAP).write_text(''.join(['family\tx\ty\n', *lines]), encoding='utf-8')


def load_bank(path: Path) -> Bank | None:
    """Read what :func:`save_bank` wrote; None where there is no such file.

    Raises
    ------
    BadData
        If the file is not one of this package.
    """
    shapes = {'theta': (None, 512), 'axes': (2, 512), 'centre': (512,)}
    return load_if_there(path, shapes, _bank_of, what='a bank of acquisitions')


def _bank_of(families: tuple[str, ...], tensors: dict[str, Tensor]) -> Bank:
    return Bank(F.normalize(tensors['theta'], dim=1), families, tensors['axes'], tensors['centre'])


def describe_styles(
    bank: Bank | None,
    *,
    pictures: tuple[Tensor, Tensor],
    told: tuple[Tensor | None, Tensor],
    families: tuple[str, str],
    pictured: bool = False,
) -> dict[str, Any]:
    """Return what the styles of one harmonization say of its trustworthiness, JSON-ready.

    ``pictures`` are what is seen in source and output, ``told`` the words of the source's metadata (if any) and of the
    target that guided (or what is seen of it, if it is ``pictured``); all ``(1, 512)``. ``families`` are the contrast
    families of source and target.
    """
    source, output = pictures
    own, target = told
    found: dict[str, Any] = {'target_before': _cosine(source, target), 'target_after': _cosine(output, target)}
    if own is not None:
        found['source_told'] = _cosine(source, own)
    if bank is None:
        return found
    guides = {'source_known': source, 'target_known' if pictured else 'target_told_known': target}
    guides |= {} if own is None else {'source_told_known': own}
    found |= {name: round(bank.familiarity(theta), 4) for name, theta in guides.items()}
    for name, theta, family in (('source_family', source, families[0]), ('output_family', output, families[1])):
        found[name] = round(bank.votes(theta).get(family, 0.0), 4)
    places = {'source': bank.place(source), 'output': bank.place(output), 'target': bank.place(target)}
    return found | {'map': {name: list(place) for name, place in places.items()}}


def _cosine(a: Tensor, b: Tensor) -> float:
    return round(float((a.float().cpu() * b.float().cpu()).sum()), 4)
