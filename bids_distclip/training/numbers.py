"""Train MR-CLIP's numeric branch: acquisitions of a family lie at least as far apart as their pictures look different.

Neither picture nor head is needed, only drawn protocols and the signal equations. Both towers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.errors import NoInput, UsageError
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.numbers import describe_numbers
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.simulation.signature import TISSUES, signature
from bids_distclip.simulation.slices import usual_scales
from bids_distclip.training.loop import schedule
from bids_distclip.training.prompts import training_prompt

#: Every so manieth protocol is kept from training, to see how wrong it is.
KEPT_OUT = 10


@dataclass(frozen=True)
class NumberOptions:
    """How the branch learns: a difference in brightness (root of the tissues' summed squares, in units of the
    intensity scale) is to become a distance at least ``apart_by`` times as long, up to ``furthest``. The rest are how
    much each loss counts: to say the brightness, to say timing and family, to lie apart, to stay near the words."""

    apart_by: float = 2.0
    furthest: float = 1.2
    bright: float = 1.0
    timing: float = 0.2
    apart: float = 2.0
    near: float = 0.05
    batch: int = 512
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class Told:
    """N prompts embedded once: ``words`` ``(N, 512)``, ``numbers`` ``(N, 5, 2)``, ``truth`` ``(N, L)``, the number of
    their ``family`` ``(N,)``, and which are ``whole`` ``(N,)``, no field dropped."""

    words: Tensor
    numbers: Tensor
    truth: Tensor
    family: Tensor
    whole: Tensor

    def __getitem__(self, chosen: Tensor) -> Told:
        return Told(*(t[chosen] for t in (self.words, self.numbers, self.truth, self.family, self.whole)))


def train_numbers(
    anatomies: Sequence[Anatomy],
    *,
    clip: MRCLIP,
    protocols: int = 20_000,
    steps: int = 6000,
    seed: int = 0,
    options: NumberOptions | None = None,
) -> dict[str, np.ndarray]:
    """Train the numeric branch of ``clip`` in place; the heads only give intensity scales.

    Every drawn protocol is told twice, whole and with fields dropped. Returned is, per family, the share of the
    variance of each tissue's brightness ``(T,)`` that is read off the whole prompts of protocols kept from training.

    Raises
    ------
    bids_distclip.errors.UsageError
        If the model has no numeric branch.
    bids_distclip.errors.NoInput
        If there is no head.
    """
    branch = clip.numbers
    if not anatomies:
        raise NoInput('There is no head to take intensity scales from', cure='Give --labels with other label maps.')
    if branch is None:
        raise UsageError(
            f'{clip.config_name} has no numeric branch', cure='Give numbers_cfg in its file of networks/configs.'
        )
    options = options or NumberOptions()
    torch.manual_seed(seed)
    told = tell_protocols(clip.eval(), anatomies, count=protocols, seed=seed)
    kept = torch.arange(len(told.whole)) // 2 % KEPT_OUT == 0
    seen, unseen = told[~kept], told[kept & told.whole]
    clip.requires_grad_(False)
    read_out = nn.Linear(seen.words.shape[1], seen.truth.shape[1])
    trained = [*branch.requires_grad_(True).parameters(), *read_out.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=1e-3)
    spread = seen.truth.std(0).clamp(min=0.05)
    for step, chosen in enumerate(_batches(len(seen.whole), options.batch, steps, seed)):
        for group in optimizer.param_groups:
            group['lr'] = options.learning_rate * schedule(step, steps=steps, warmup=min(100, steps // 5))
        parts = losses(clip, read_out, seen[chosen], options, spread=spread)
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        optimizer.step()
        if (step + 1) % max(1, steps // 20) == 0:
            shown = (f'{name} {float(value.detach()):.4f}' for name, value in parts.items())
            print(f'step {step + 1}  ' + '  '.join(shown), flush=True)
    clip.requires_grad_(False)
    return {name: _explained(clip, read_out, unseen[unseen.family == i]) for i, name in enumerate(FAMILIES)}


def losses(
    clip: MRCLIP, read_out: nn.Module, told: Told, options: NumberOptions, *, spread: Tensor
) -> dict[str, Tensor]:
    """Return the loss terms of some prompts.

    ``read_out`` turns an embedding into a signature; ``spread`` ``(L,)`` are the signatures' standard deviations.
    """
    theta = clip.add_numbers(told.words, told.numbers)
    read = read_out(theta)
    tissues = len(TISSUES)
    wrong = F.smooth_l1_loss(read / spread, told.truth / spread, beta=1.0, reduction='none').mean(0)
    # As different as the prompts allow to say, not as they are: what prompts do not tell cannot pull them apart.
    bright = read[:, :tissues].detach()
    wanted = (options.apart_by * torch.cdist(bright, bright)).clamp(max=options.furthest)
    found = (2 - 2 * theta @ theta.T).clamp(min=1e-6).sqrt()
    kin = told.family[:, None] == told.family[None, :]
    return {
        'bright': options.bright * wrong[:tissues].mean(),
        'timing': options.timing * wrong[tissues:].mean(),
        'apart': options.apart * F.relu(wanted - found)[kin].square().mean(),
        'near': options.near * (theta - told.words).square().sum(1).mean(),
    }


def tell_protocols(clip: MRCLIP, anatomies: Sequence[Anatomy], *, count: int, seed: int) -> Told:
    """Draw protocols, tell each in two prompts, and embed their words."""
    rng = np.random.default_rng([seed, 11])
    drawn = [draw_protocol(rng).usual() for _ in range(count)]
    truth = [signature(p, scale=s) for p, s in zip(drawn, usual_scales(anatomies, drawn), strict=True)]
    prompts = [text for p in drawn for text in _prompts(p, rng)]
    with torch.inference_mode():
        words = clip.encode_words(prompts)
    return Told(
        words.clone(),
        describe_numbers(prompts),
        torch.stack(truth).repeat_interleave(2, 0),
        torch.tensor([FAMILIES.index(p.family) for p in drawn]).repeat_interleave(2),
        torch.tensor([True, False]).repeat(count),
    )


def _prompts(protocol: Protocol, rng: np.random.Generator) -> tuple[str, str]:
    known = replace(protocol.acquisition, suffix=protocol.family)
    return whole_prompt(known, protocol.family), training_prompt(known, rng, family=protocol.family, plane='NONE')


def _batches(count: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        yield torch.randint(count, (min(size, count),), generator=generator)


def _explained(clip: MRCLIP, read_out: nn.Module, told: Told) -> np.ndarray:
    tissues = len(TISSUES)
    with torch.inference_mode():
        read = read_out(clip.add_numbers(told.words, told.numbers))[:, :tissues]
    truth = told.truth[:, :tissues]
    return (1 - (read - truth).square().mean(0) / truth.var(0).clamp(min=1e-9)).numpy()
