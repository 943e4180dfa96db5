"""The loss terms of one batch, from what the generator made of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bids_distclip.simulation.stream import Batch
from bids_distclip.training.batch import is_alike, is_known, is_paired
from bids_distclip.training.loss_weights import Weights
from bids_distclip.training.losses import gradient_l1, structure_loss, weighted_l1


@dataclass(frozen=True)
class Made:
    """What the generator made of S slices × 2 pictures: β ``(S, 2, C, H, W)``; the first pictures, then the second,
    in their ``own`` contrast and in that of the other (``cross``), ``(2S, 1, H, W)``.

    ``returned`` ``(2S, C, H, W)`` is β of the renderings ``cross``, ``back`` ``(2S, 1, H, W)`` that rendered in the
    first contrast again; both None where nobody asked.
    """

    beta: Tensor
    own: Tensor
    cross: Tensor
    returned: Tensor | None = None
    back: Tensor | None = None

    @property
    def first_and_second(self) -> Tensor:
        """β in the order of the pictures, ``(2S, C, H, W)``."""
        return torch.cat([self.beta[:, 0], self.beta[:, 1]])


@dataclass(frozen=True)
class Truth:
    """The same pictures as they are: ``same`` and ``other`` contrast ``(2S, 1, H, W)``, how much each ``place`` counts,
    which pictures ``(2S, 1, 1, 1)`` are ``paired`` and of one family (``alike``), and whether every other slice lies
    beside the one before (``neighbours``)."""

    same: Tensor
    other: Tensor
    place: Tensor
    paired: Tensor
    alike: Tensor
    neighbours: bool = False


def truth_of(batch: Batch, device: torch.device) -> Truth:
    """Return what the renderings of a batch are compared with."""
    clean = batch.clean.to(device)
    head, brain, lesion = (getattr(batch, n).to(device)[:, None] for n in ('head', 'brain', 'lesion'))
    return Truth(
        same=torch.cat([clean[:, 0], clean[:, 1]])[:, None],
        other=torch.cat([clean[:, 1], clean[:, 0]])[:, None],
        place=(0.05 + 0.25 * head + 0.7 * brain + 2.0 * lesion).repeat(2, 1, 1, 1),
        paired=_each(is_paired(batch), device),
        alike=_each(is_alike(batch), device),
        neighbours=batch.neighbours,
    )


def picture_terms(w: Weights, truth: Truth, made: Made) -> dict[str, Tensor]:
    """Return the terms that compare pictures; where there is no true picture of the other contrast, there and back."""
    own, cross, same, other = made.own, made.cross, truth.same, truth.other
    place = truth.place * truth.paired
    change = weighted_l1(cross - own, other - same, place * truth.alike)
    edges = gradient_l1(torch.cat([cross, own]), torch.cat([other, same]), torch.cat([place, truth.place]))
    every = bool(truth.paired.all())
    terms = {
        'cross': w.cross * weighted_l1(cross, other, place),
        'identity': w.identity * weighted_l1(own, same, truth.place),
        'gradient': w.gradient * edges,
        'structure': w.structure * structure_loss(cross, other, counted=None if every else truth.paired.flatten()),
        'residual': w.residual * change,
    }
    if w.neighbours > 0 and truth.neighbours:
        # Pictures 2i and 2i + 1 lie side by side, whichever their contrast: the number of slices is even.
        step, wanted = (t[1::2] - t[::2] for t in (cross, other))
        terms['neighbours'] = w.neighbours * weighted_l1(step, wanted, torch.maximum(place[1::2], place[::2]))
    if made.back is not None:
        terms['back'] = w.back * weighted_l1(made.back, same, truth.place * (1 - truth.paired))
    return terms


def anatomy_terms(w: Weights, batch: Batch, truth: Truth, made: Made) -> dict[str, Tensor]:
    """Return the terms on β; a slice without a second picture is compared with what was rendered from it."""
    beta, place, slices = made.beta, truth.place * truth.paired, len(made.beta)
    same = weighted_l1(beta[:, 0], beta[:, 1], place[:slices])
    if made.back is not None and made.returned is not None:
        same = same + weighted_l1(made.returned, made.first_and_second, truth.place * (1 - truth.paired))
    terms = {'consistency': w.consistency * same}
    if w.cycle > 0 and made.returned is not None:
        # The maps are held: they learn from the truth, and what was rendered has to be read the same.
        terms['cycle'] = w.cycle * weighted_l1(made.returned, made.first_and_second.detach(), truth.place)
    return terms


def physical_loss(batch: Batch, beta: Tensor) -> Tensor:
    """Return how far β ``(S, 2, C, H, W)`` is from the true maps, where these are known; lesions count most."""
    device = beta.device
    truth, known = batch.physical.to(device), is_known(batch).to(device, torch.float32)[:, None, None, None]
    head, brain, lesion = (getattr(batch, n).to(device)[:, None] for n in ('head', 'brain', 'lesion'))
    inside = (0.05 + 0.2 * head + 0.75 * brain + 2.0 * lesion) * known
    errors = [weighted_l1(beta[:, p, :3], truth, inside) for p in range(2)]
    return 0.5 * (errors[0] + errors[1])


def peak_signal_to_noise(truth: Truth, made: Made) -> dict[str, Tensor]:
    """Return the mean PSNR in dB of the renderings whose truth is known, by the name it is logged under."""
    with torch.no_grad():
        mse = ((made.cross - truth.other).clamp(-1, 1) ** 2).mean((1, 2, 3))[truth.paired.flatten() > 0]
        return {'_psnr': (-10 * torch.log10(mse + 1e-8)).mean()} if len(mse) else {}


def _each(flags: Tensor, device: torch.device) -> Tensor:
    return flags.to(device, torch.float32).repeat(2)[:, None, None, None]
