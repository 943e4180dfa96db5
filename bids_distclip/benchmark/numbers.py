"""What a number that moves does to the embedding of its prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from bids_distclip.acquisition.family import infer_family
from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.benchmark.answers import Answer
from bids_distclip.benchmark.embedding import embed_prompts
from bids_distclip.networks.bank import Bank
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.protocol import Protocol

#: Numbers whose order in the embedding is measured.
NUMBERS = ('echo_time', 'repetition_time', 'inversion_time', 'flip_angle')
#: How foreign acquisitions are made: one number multiplied by so much.
FOREIGN = {
    'echo_time': (6.0, 1 / 6),
    'repetition_time': (6.0, 1 / 6),
    'inversion_time': (4.0, 1 / 4),
    'flip_angle': (1 / 8,),
}


def number_order(clip: MRCLIP, protocols: Sequence[Protocol], *, steps: int = 9) -> dict[str, tuple[float, int]]:
    """Return per number the mean rank correlation between how far it was moved and how far the embedding moved.

    Each number of each protocol is moved alone, in equal steps of its logarithm up to a factor of two both ways; what
    would change the contrast family is left out. 1 means that embeddings lie in the order of the numbers, 0 that there
    is no order or that they do not move at all. Second comes from how many movements.
    """
    found: dict[str, list[float]] = {name: [] for name in NUMBERS}
    factors = np.exp2(np.linspace(-1, 1, 2 * steps + 1))
    for protocol in protocols:
        for name in NUMBERS:
            value = getattr(protocol.acquisition, name)
            if not value:
                continue
            moved = [replace(protocol.acquisition, suffix=protocol.family, **{name: value * f}) for f in factors]
            kept = [i for i, a in enumerate(moved) if infer_family(a).family == protocol.family]
            for side in ([i for i in kept if i >= steps], [i for i in kept if i <= steps]):
                if len(side) < 5 or steps not in side:
                    continue
                with torch.inference_mode():
                    told = clip.encode_text([whole_prompt(moved[i], protocol.family) for i in side])
                far = 1 - (told @ told[side.index(steps)]).numpy()
                moves = np.ptp(far) > 1e-6
                ranks = stats.spearmanr([abs(i - steps) for i in side], far).statistic if moves else 0.0
                found[name].append(float(ranks))
    return {name: (float(np.mean(v)) if v else float('nan'), len(v)) for name, v in found.items()}


def foreign(clip: MRCLIP, bank: Bank, protocols: Sequence[Protocol]) -> Iterator[Answer]:
    """Yield how well familiarity (nearness to known acquisitions) tells foreign protocols from the drawn ones.

    A foreign one has one number moved by :data:`FOREIGN` beyond what any drawn protocol of its family has, and is still
    taken for its family. It is compared with the protocol it was made of. The value is the area under the ROC curve.
    """
    for name, factors in FOREIGN.items():
        usual, moved = [], []
        for protocol in protocols:
            value = getattr(protocol.acquisition, name)
            kin = [getattr(p.acquisition, name) for p in protocols if p.family == protocol.family]
            known = [v for v in kin if v]
            for factor in factors if value else ():
                new = replace(protocol.acquisition, **{name: value * factor})
                outside = not min(known) <= value * factor <= max(known)
                if outside and infer_family(replace(new, suffix=protocol.family)).family == protocol.family:
                    usual.append(whole_prompt(protocol.acquisition, protocol.family))
                    moved.append(whole_prompt(new, protocol.family))
        if not moved:
            continue
        usually, far = ([bank.familiarity(t[None]) for t in embed_prompts(clip, texts)] for texts in (usual, moved))
        area = stats.mannwhitneyu(usually, far).statistic / len(far) ** 2
        yield Answer('foreign prompts are told by their distance (area under ROC)', name, float(area), 0.5, len(far))
