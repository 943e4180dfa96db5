"""How much images of one contrast family disagree in their intensities, before and after harmonization."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bids_distclip.quality.metrics import CLASSES

#: Below this number of images a spread says nothing.
ENOUGH = 3


@dataclass(frozen=True)
class Spread:
    """The disagreement of the images of one family that were harmonized to one target.

    ``mean`` and ``sd`` (of the class medians over images, normalized intensities) are pairs before, after.
    """

    family: str
    target: str
    tissue: str
    images: int
    mean: tuple[float, float]
    sd: tuple[float, float]

    @property
    def variation(self) -> tuple[float, float]:
        """Return the coefficients of variation, sd / mean, before and after; nan where the mean is 0."""
        before, after = (s / m if m else float('nan') for s, m in zip(self.sd, self.mean, strict=True))
        return before, after


def spreads(records: Iterable[Mapping[str, Any]]) -> list[Spread]:
    """Return the spread of each intensity class for each family and target with two images or more.

    Only images harmonized within their family count. *Before* is the source divided by its own scale, so the
    comparison is with plain percentile normalization and not with raw scanner units.
    """
    found = []
    for (family, target), pairs in sorted(_groups(records).items()):
        for tissue, values in pairs.items():
            if len(values) >= 2:
                found.append(_spread(values, family=family, target=target, tissue=tissue))
    return found


def conclude(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in a sentence per family and target what became of the disagreement, and how sure that is.

    The number is the ratio of the root-mean-square standard deviations of the class medians, after over before, both on
    normalized scales (coefficients of variation would let fluid, whose median is near 0, decide alone); the range
    beside it is that of the same ratio when any one image is left out.
    """
    sentences = []
    for (family, target), pairs in sorted(_groups(records).items()):
        number = max((len(values) for values in pairs.values()), default=0)
        if number < ENOUGH:
            plural = 'image is' if number == 1 else 'images are'
            sentences.append(f'{family} to {target}: {number} {plural} too few to tell.')
            continue
        ratio = _ratio(pairs)
        others = [_ratio({t: v[:i] + v[i + 1 :] for t, v in pairs.items()}) for i in range(number)]
        word = 'less' if ratio < 1 else 'more'
        sure = '' if max(others) < 1 or min(others) > 1 else ' One image decides this, so it is not settled.'
        sentences.append(
            f'{family} to {target}: over {number} images the intensities of the brain vary {word} after '
            f'than before, by a factor of {ratio:.2f} ({min(others):.2f} to {max(others):.2f} when any one '
            f'image is left out).{sure} This does not say what was lost with the spread.'
        )
    return sentences


def _groups(records: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, list[tuple]]]:
    """Return family and target to intensity class to pairs (before, after)."""
    groups: dict[tuple[str, str], dict[str, list[tuple]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        metrics = record.get('metrics') or {}
        pairs = {t: (metrics[t].get('before'), metrics[t].get('value')) for t in CLASSES if t in metrics}
        complete = len(pairs) == len(CLASSES) and all(n is not None for pair in pairs.values() for n in pair)
        if record.get('status') != 'harmonized' or not complete:
            continue
        family = str((record.get('source') or {}).get('family') or 'unknown')
        target = str((record.get('target') or {}).get('name') or 'unknown')
        for tissue, pair in pairs.items():
            groups[family, target][tissue].append(pair)
    return groups


def _spread(values: Sequence[tuple], *, family: str, target: str, tissue: str) -> Spread:
    before, after = (list(column) for column in zip(*values, strict=True))
    mean = statistics.fmean(before), statistics.fmean(after)
    return Spread(family, target, tissue, len(values), mean, (statistics.stdev(before), statistics.stdev(after)))


def _ratio(pairs: Mapping[str, Sequence[tuple]]) -> float:
    parts = [_spread(v, family='', target='', tissue=t).sd for t, v in pairs.items()]
    before, after = (statistics.fmean(p[i] ** 2 for p in parts) ** 0.5 for i in (0, 1))
    return after / before if before else float('inf')
