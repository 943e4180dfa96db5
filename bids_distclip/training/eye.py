"""Train the eye of MR-CLIP: simulated slices find the prompts of their acquisitions, and each other across heads.

Both sides are contrastive: pictures against prompts and prompts against pictures (Radford et al. 2021), and pictures
against pictures with those of one acquisition on other heads as positives (Khosla et al. 2020). There every other
acquisition on the *same* slice is a rival that shows the same anatomy, so that anatomy does not help.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.errors import BadData
from bids_distclip.networks.eye import Eye, read_prompts
from bids_distclip.networks.look import LOOK, describe_look
from bids_distclip.networks.memory import keep_freed_memory
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.photometer import SIDE
from bids_distclip.simulation.protocol import Protocol
from bids_distclip.simulation.stream import Batch, SliceStream, StreamOptions
from bids_distclip.training.loop import schedule
from bids_distclip.training.prompts import training_prompt
from bids_distclip.training.split import training_heads

#: Slices with less brain than this share of the picture are left out.
LEAST_BRAIN = 0.06
#: Pixels that a mask may reach beyond the brain, at most: one draws them as another program would strip the head.
WIDEST = 3
#: Batches with fewer pictures than this are not learnt from.
FEWEST = 10
#: Steps of the training, some minutes of a processor.
STEPS = 2000
#: Stands for minus infinity among logits.
_NEVER = -1e4


@dataclass(frozen=True)
class EyeOptions:
    """How the eye learns: ``batches`` of slices a step and ``strangers`` among the prompts; how much it counts that
    prompts find pictures, and that pictures find those of their acquisition; how often a prompt has lost fields."""

    batches: int = 6
    strangers: int = 1500
    prompts: float = 0.5
    heads: float = 1.0
    partial: float = 0.2
    learning_rate: float = 2e-3
    weight_decay: float = 0.05


@dataclass(frozen=True)
class Looks:
    """N pictures: ``looks`` ``(N, LOOK)``, the number of the acquisition ``protocol`` ``(N,)`` among ``protocols``,
    of the slice ``(N,)`` and of the ``batch`` ``(N,)`` whose slices share acquisitions."""

    looks: Tensor
    protocol: Tensor
    slice: Tensor
    batch: Tensor
    protocols: tuple[Protocol, ...]


def train_eye(
    labels: Path, *, clip: MRCLIP, batches: int = 320, steps: int = STEPS, workers: int = 1, seed: int = 0
) -> Eye:
    """Return an eye for prompts of ``clip``, learnt on ``batches`` of 8 simulated slices under 12 protocols each."""
    keep_freed_memory()
    options = StreamOptions(
        slices=8, protocols=12, size=SIDE, pixel=(1.35, 1.65), pool=24, same_family=0.4, seed=seed + 31
    )
    loader = DataLoader(
        SliceStream(training_heads(labels), options, length=batches),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context='forkserver' if workers else None,
    )
    return learn(look_at(loader, seed=seed), clip=clip.eval(), steps=steps, seed=seed)


def look_at(batches: Iterable[Batch], *, seed: int = 0) -> Looks:
    """Describe every picture of batches with enough brain, stripped as a program would that draws a wider mask."""
    rng = np.random.default_rng(seed + 1)
    looks: list[Tensor] = []
    rows: list[tuple[int, int, int]] = []
    protocols: list[Protocol] = []
    for number, batch in enumerate(batches):
        numbers: dict[int, int] = {}
        for s, shown in enumerate(batch.protocols):
            brain = batch.brain[s].float()
            if (brain > 0.5).float().mean() < LEAST_BRAIN:
                continue
            reach = int(rng.integers(0, WIDEST + 1))
            inside = F.max_pool2d(brain[None, None], 2 * reach + 1, 1, reach)[0, 0] > 0.5
            pictures = batch.noisy[s].float() * inside
            looks.append(describe_look(pictures, pictures > 0))
            for protocol in shown:
                if id(protocol) not in numbers:
                    numbers[id(protocol)] = len(protocols)
                    protocols.append(protocol)
                rows.append((numbers[id(protocol)], len(looks), number))
    table = torch.tensor(rows).reshape(-1, 3)
    return Looks(torch.cat(looks or [torch.zeros(0, LOOK)]), table[:, 0], table[:, 1], table[:, 2], tuple(protocols))


def learn(
    seen: Looks, *, clip: MRCLIP, steps: int, seed: int = 0, options: EyeOptions | None = None
) -> Eye:
    """Return an eye that has learnt from pictures and the prompts of their acquisitions.

    Raises
    ------
    BadData
        If there are too few pictures.
    """
    options = options or EyeOptions()
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 2])
    groups = [rows for n in seen.batch.unique() if len(rows := (seen.batch == n).nonzero().flatten()) >= FEWEST]
    if not groups:
        raise BadData('Too few slices show a brain', cure='Give more --steps.')
    whole, part = (read_prompts(clip, prompts) for prompts in _prompts(seen.protocols, rng))
    eye = Eye()
    for name, rows in (('look', seen.looks), ('told', whole)):
        getattr(eye, f'{name}_mean').copy_(rows.mean(0))
        getattr(eye, f'{name}_spread').copy_(rows.std(0) + (1e-2 if name == 'look' else 1e-3))
    scales = nn.Parameter(torch.tensor([14.0, 10.0]).log())
    trained = [{'params': list(eye.train().parameters()), 'weight_decay': options.weight_decay},
               {'params': [scales], 'weight_decay': 0.0}]
    optimizer = torch.optim.AdamW(trained, lr=options.learning_rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group['lr'] = options.learning_rate * schedule(step, steps=steps, warmup=min(50, steps // 5))
        chosen = rng.choice(len(groups), min(options.batches, len(groups)), replace=False)
        rows = torch.cat([groups[i] for i in chosen])
        strangers = torch.as_tensor(rng.integers(0, len(whole), options.strangers))
        lost = torch.as_tensor(rng.random(len(whole)) < options.partial)
        parts = losses(
            eye, _some(seen, rows), torch.where(lost[:, None], part, whole), scales, strangers=strangers,
            options=options,
        )
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        optimizer.step()
        if (step + 1) % max(1, steps // 20) == 0:
            shown = (f'{name} {float(value.detach()):.3f}' for name, value in parts.items())
            print(f'step {step + 1}  ' + '  '.join(shown), flush=True)
    return eye.eval().requires_grad_(False)


def losses(
    eye: Eye, seen: Looks, told: Tensor, scales: Tensor, *, strangers: Tensor, options: EyeOptions
) -> dict[str, Tensor]:
    """Return the loss terms of some pictures among the prompts ``told`` ``(P, TOLD)`` of all acquisitions.

    ``scales`` ``(2,)`` are logarithms of the inverse temperatures, to prompts and to pictures; ``strangers`` numbers of
    prompts that are offered beside those of the pictures.
    """
    to_prompts, to_pictures = scales.exp().clamp(max=80)
    places = eye.see(seen.looks)
    offered = torch.cat([seen.protocol, strangers]).unique()
    own = torch.searchsorted(offered, seen.protocol)
    logits = to_prompts * places @ eye.tell(told[offered]).T
    same = seen.protocol[:, None] == seen.protocol[None]
    among = F.log_softmax(logits[:, own].T, 1)
    return {
        'prompt': F.cross_entropy(logits, own),
        'picture': -options.prompts * (same.float() / same.sum(1, keepdim=True) * among).sum(1).mean(),
        'heads': options.heads * across_heads(to_pictures.clamp(max=20) * places @ places.T, same, seen.slice),
    }


def across_heads(logits: Tensor, same: Tensor, slices: Tensor) -> Tensor:
    """Return how badly pictures ``(N, N)`` find those of their acquisition (``same``) on other slices.

    Half of it is among all pictures, half against all others of the own slice ``(N,)``, which show the same anatomy.
    """
    itself = torch.eye(len(logits), dtype=torch.bool)
    beside = slices[:, None] == slices[None]
    partner = (same & ~beside).float()
    some = partner.sum(1) > 0
    if not some.any():
        return logits.sum() * 0
    share = (partner / partner.sum(1, keepdim=True).clamp(min=1))[some]
    wanted = logits - torch.logsumexp(logits.masked_fill(itself, _NEVER), 1, keepdim=True)
    rivals = torch.logsumexp(logits.masked_fill(~beside | itself, _NEVER), 1, keepdim=True)
    nearer = F.softplus(rivals - logits)
    return 0.5 * ((share * nearer[some]).sum(1).mean() - (share * wanted[some]).sum(1).mean())


def _prompts(protocols: Sequence[Protocol], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Return the whole prompts of protocols, and those with fields dropped."""
    whole = [whole_prompt(p.acquisition, p.family) for p in protocols]
    return whole, [training_prompt(p.acquisition, rng, family=p.family, plane='NONE') for p in protocols]


def _some(seen: Looks, rows: Tensor) -> Looks:
    return Looks(seen.looks[rows], seen.protocol[rows], seen.slice[rows], seen.batch[rows], seen.protocols)
