"""How well MR-CLIP understands acquisitions: who finds whom, what can be read off, what lies where, what is foreign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bids_distclip.acquisition.prompt import prompt, whole_prompt
from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.audit.gather import gather_items
from bids_distclip.benchmark.answers import Answer, draw_map
from bids_distclip.benchmark.embedding import Seen, embed_prompts, embed_protocols, see
from bids_distclip.benchmark.numbers import NUMBERS, foreign, number_order
from bids_distclip.harmonizers.styles import seen_style, sight
from bids_distclip.networks.bank import Bank
from bids_distclip.networks.eye import Eye
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.volume.image import read_volume
from bids_distclip.volume.prepared import prepare

#: Fields that a prompt tells.
TOLD = (
    'manufacturer',
    'model',
    'field_strength',
    'acquisition_type',
    'series_description',
    'scanning_sequence',
    'sequence_variant',
    *NUMBERS,
)
#: Cosines nearer than this are level.
LEVEL = 1e-6
#: Fewest vectors of a class that a probe is asked about.
FEWEST = 10
#: Weight of squares in the linear probes (ridge).
RIDGE = 1e-2


def question(
    clip: MRCLIP,
    bank: Bank | None,
    anatomies: Sequence[Anatomy],
    *,
    eye: Eye | None = None,
    count: int = 500,
    seed: int = 4_000,
    picture: Path | None = None,
) -> Iterator[Answer]:
    """Yield all answers on ``count`` protocols drawn anew, each seen on two of the given heads; draw the map.

    Pictures and prompts are compared as the ``eye`` sees them, without one as the towers do.
    """
    rng = np.random.default_rng([seed, 0])
    protocols = [draw_protocol(rng, family=FAMILIES[i % len(FAMILIES)]) for i in range(count)]
    seen = see(clip, anatomies, protocols, seed=seed, eye=eye, heads=2)
    first = _first_look(seen)
    told = embed_protocols(clip, protocols, eye=eye)
    if picture is not None:
        draw_map(first, told, protocols, picture)
    yield from retrieval(first, told, parts(protocols))
    yield from _with_less(clip, first, protocols, eye=eye)
    yield from probes(seen.theta, [protocols[i] for i in seen.protocol], groups=seen.protocol, of='pictures')
    yield from probes(told, protocols, groups=np.arange(count), of='words' if eye is None else 'prompts')
    yield from triples(seen, [p.family for p in protocols])
    for name, (value, number) in number_order(clip, protocols[:60]).items():
        yield Answer('order of a number in the embedding of prompts (rank correlation)', name, value, 0.0, number)
    if bank is not None:
        yield from foreign(clip, bank, protocols)


def _first_look(seen: Seen) -> Tensor:
    """Return the first picture of every protocol ``(P, D)``."""
    _, rows = np.unique(seen.protocol, return_index=True)
    return seen.theta[torch.as_tensor(rows)]


def parts(protocols: Sequence[Protocol]) -> dict[str, np.ndarray]:
    """Return which protocols ``(P,)`` belong to each part: all, a family, a vendor, a field, a third of a number."""
    known = [p.acquisition for p in protocols]
    found = {'all': np.ones(len(protocols), dtype=bool)}
    for name, values in (
        ('family', [p.family for p in protocols]),
        ('manufacturer', [a.manufacturer for a in known]),
        ('field_strength', [f'{p.field_strength:g}' for p in protocols]),
    ):
        found |= {f'{name} {v}': np.array([w == v for w in values]) for v in sorted({str(v) for v in values})}
    for name in NUMBERS[:3]:
        numbers = np.array([getattr(a, name) or np.nan for a in known], dtype=float)
        low, high = np.nanquantile(numbers, [1 / 3, 2 / 3])
        found[f'{name} up to {low:.3g} s'] = numbers <= low
        found[f'{name} {low:.3g} to {high:.3g} s'] = (numbers > low) & (numbers <= high)
        found[f'{name} above {high:.3g} s'] = numbers > high
    return found


def retrieval(seen: Tensor, told: Tensor, chosen: Mapping[str, np.ndarray]) -> Iterator[Answer]:
    """Yield how often a picture finds its own prompt among all P, and a prompt its picture, first or among five.

    ``seen`` and ``told`` are ``(P, D)``, row by row of one acquisition.
    """
    for name, cosine in (('picture finds its prompt', seen @ told.T), ('prompt finds its picture', told @ seen.T)):
        rank = ranks(cosine)
        for part, rows in chosen.items():
            for most in (1, 5):
                label = f'{name}, {"first" if most == 1 else "among five"}'
                if rows.any():
                    yield Answer(label, part, _hits(rank[rows], most), most / len(seen), int(rows.sum()))


def ranks(cosine: Tensor) -> np.ndarray:
    """Return the rank ``(N,)`` of each row's own column in ``(N, N)``, 0 is first; those level with it count half."""
    own = cosine.diagonal()[:, None]
    above, level = cosine > own + LEVEL, (cosine - own).abs() <= LEVEL
    return (above.sum(1) + 0.5 * (level.sum(1) - 1)).numpy()


def _hits(rank: np.ndarray, most: int) -> float:
    return float((rank < most).mean())


def _with_less(
    clip: MRCLIP, seen: Tensor, protocols: Sequence[Protocol], *, eye: Eye | None
) -> Iterator[Answer]:
    """Yield retrieval and the nearest prompt's family with each field a prompt tells removed from all prompts.

    The contrast family is inferred from what is left, and missing where that says nothing.
    """
    families = np.array([p.family for p in protocols])
    for name in ('', *TOLD):
        fields = (name,) if name else ()
        less = [prompt(p.acquisition.without(*fields), plane='NONE') for p in protocols]
        told = embed_prompts(clip, less, eye=eye)
        cosine, part = seen @ told.T, f'without {name}' if name else 'no hint of the family'
        yield Answer('picture finds its prompt, among five', part, _hits(ranks(cosine), 5), 5 / len(seen), len(seen))
        found = float((families[cosine.argmax(1).numpy()] == families).mean())
        yield Answer('nearest prompt has the contrast family of the picture', part, found, 1 / len(FAMILIES), len(seen))


def probes(theta: Tensor, protocols: Sequence[Protocol], *, groups: np.ndarray, of: str) -> Iterator[Answer]:
    """Yield the balanced accuracy of linear probes for family, vendor and field strength.

    Fitted on the even ``groups`` ``(N,)`` of the vectors ``(N, D)``, asked about the odd ones: protocols are new, the
    scanners' ranges they come from are the same. Classes with fewer than ten vectors on a side are left out.
    """
    wanted = {
        'family': [p.family for p in protocols],
        'manufacturer': [str(p.acquisition.manufacturer) for p in protocols],
        'field_strength': [f'{p.field_strength:g}' for p in protocols],
    }
    even = groups % 2 == 0
    x = np.c_[theta.numpy().astype(float), np.ones(len(theta))]
    for part, labels in wanted.items():
        label = np.array(labels)
        names = [n for n in np.unique(label) if min((label[even] == n).sum(), (label[~even] == n).sum()) >= FEWEST]
        if len(names) < 2:
            continue
        fitted = even & np.isin(label, names)
        a, hot = x[fitted], (label[fitted][:, None] == names).astype(float)
        solved = np.linalg.solve(a.T @ a + RIDGE * np.eye(a.shape[1]), a.T @ hot)
        guess = np.array(names)[(x @ solved).argmax(1)]
        hits = [float((guess[~even & (label == name)] == name).mean()) for name in names]
        asked = int((~even & np.isin(label, names)).sum())
        yield Answer(f'linear probe on {of} (balanced accuracy)', part, float(np.mean(hits)), 1 / len(names), asked)


def triples(seen: Seen, families: Sequence[str], *, most: int = 20_000) -> Iterator[Answer]:
    """Yield how often one protocol on two heads lies nearer together than two protocols on one head.

    Second: how often where both protocols are of one contrast family.
    """
    cosine = seen.theta @ seen.theta.T
    rng = np.random.default_rng(0)
    found: dict[str, list[bool]] = {'any two protocols': [], 'two protocols of one family': []}
    for row in rng.permutation(len(seen.theta)):
        same = np.flatnonzero((seen.protocol == seen.protocol[row]) & (seen.head != seen.head[row]))
        beside = np.flatnonzero((seen.head == seen.head[row]) & (seen.protocol != seen.protocol[row]))
        for i in same:
            for j in beside:
                nearer = bool(cosine[row, i] > cosine[row, j])
                found['any two protocols'].append(nearer)
                if families[seen.protocol[row]] == families[seen.protocol[j]]:
                    found['two protocols of one family'].append(nearer)
        if len(found['any two protocols']) > most:
            break
    for part, hits in found.items():
        if hits:
            yield Answer('one protocol on two heads is nearer than', part, float(np.mean(hits)), 0.5, len(hits))


def real_ranks(clip: MRCLIP, bids_dir: Path, sidecars: Path, *, eye: Eye | None = None) -> Iterator[Answer]:
    """Yield the rank of every real scan's own prompt, by the picture alone, among the prompts of real sidecars.

    ``bids_dir`` holds scans with sidecars, ``sidecars`` a dataset whose images need not be there. Prompts that are the
    same word for word count once.
    """
    own = [item for item in gather_items(bids_dir) if item.sidecars and item.family.family]
    others = [item for item in gather_items(sidecars) if item.family.family]
    rows: dict[str, int] = {}
    for item in (*own, *others):
        rows.setdefault(whole_prompt(item.acquisition, item.family.family), len(rows))
    told = embed_prompts(clip, list(rows), eye=eye)
    for item in own:
        path = next((p for p in bids_dir.glob(f'{item.name}.nii*')), None)
        if path is None:
            continue
        picture = prepare(read_volume(path), acquisition=item.acquisition, family=item.family.family)
        cosine = told @ (seen_style(clip, picture) if eye is None else sight(eye, picture)).float()[0]
        rank = int((cosine > cosine[rows[whole_prompt(item.acquisition, item.family.family)]]).sum()) + 1
        label = "rank of a real scan's own sidecar among all, by the picture"
        yield Answer(label, item.name, rank, (len(rows) + 1) / 2, len(rows))
