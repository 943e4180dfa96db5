"""How much images of one contrast family disagree in their intensities, before and after harmonization."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bids_distclip.quality.metrics import metric_table
from bids_distclip.quality.parts import SETS

#: Below this number of images a spread says nothing.
ENOUGH = 3


class Told(NamedTuple):
    """A sentence about the images of one family that were harmonized to one target, and what it is about.

    ``kept``: it is about what harmonization must not remove.
    """

    family: str
    target: str
    what: str
    text: str
    kept: bool = False

    @property
    def whole(self) -> str:
        """Return the sentence with what it is about, to stand alone."""
        return f'{self.family} to {self.target}, {self.what}: {self.text}'


class Member(NamedTuple):
    """One harmonized image: whose, from which site (empty where it is not known), medians of the parts of its brain
    before and after.
    """

    person: str
    site: str
    parts: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Spread:
    """The disagreement of the images of one family that were harmonized to one target.

    ``mean`` and ``sd`` (of the medians of one part of the brain over images, normalized) are pairs before, after;
    ``between`` is the standard deviation over ``sites`` sites of their means, nan with fewer than two sites.
    """

    family: str
    target: str
    tissue: str
    images: int
    mean: tuple[float, float]
    sd: tuple[float, float]
    sites: int
    between: tuple[float, float]

    @property
    def variation(self) -> tuple[float, float]:
        """Return the coefficients of variation, sd / mean, before and after; nan where the mean is 0."""
        before, after = (s / m if m else float('nan') for s, m in zip(self.sd, self.mean, strict=True))
        return before, after


def members(
    found: Iterable[tuple[str, str, Mapping[str, Any]]]
) -> dict[tuple[str, str], list[Member]]:
    """Return the images that can be compared, by family and target; ``found`` is person, site and record of each.

    Only images harmonized within their family count. *Before* is the source divided by its own scale, so the
    comparison is with plain percentile normalization and not with raw scanner units.
    """
    groups: dict[tuple[str, str], list[Member]] = defaultdict(list)
    for person, site, record in found:
        pairs = _medians(record.get('metrics') or {})
        if record.get('status') != 'harmonized' or not pairs:
            continue
        family = str((record.get('source') or {}).get('family') or 'unknown')
        target = str((record.get('target') or {}).get('name') or 'unknown')
        groups[family, target].append(Member(person, site, pairs))
    return dict(sorted(groups.items()))


def _medians(metrics: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the medians before and after of the first set of parts that is complete; nothing where none is."""
    for names in SETS:
        pairs = {name: (entry.get('before'), entry.get('value')) for name in names if (entry := metrics.get(name))}
        if len(pairs) == len(names) and all(number is not None for pair in pairs.values() for number in pair):
            return pairs
    return {}


def _alike(group: Sequence[Member]) -> list[Member]:
    """Return the members that are told of by the same parts of the brain, tissues or classes of brightness: of which
    there are more.
    """
    sets = [[member for member in group if tuple(member.parts) == names] for names in SETS]
    return max(sets, key=len)


def spreads(groups: Mapping[tuple[str, str], Sequence[Member]]) -> list[Spread]:
    """Return the spread of each part of the brain for each family and target with two images or more."""
    return [
        _spread(group, family=family, target=target, tissue=tissue)
        for (family, target), whole in groups.items() if len(group := _alike(whole)) >= 2 for tissue in group[0].parts
    ]


def conclude(groups: Mapping[tuple[str, str], Sequence[Member]]) -> list[Told]:
    """Say for each family and target what became of the disagreement of sites and of images, and how sure that is.

    The number is the ratio of the root-mean-square standard deviations of the medians, after over before, both on
    normalized scales (coefficients of variation would let fluid, whose median is near 0, decide alone). For sites it is
    that of their means, and the range beside it is that when any one person is left out; for images, any one image.
    """
    told = []
    for (family, target), whole in groups.items():
        group = _alike(whole)
        if len({member.site for member in group if member.site}) > 1:
            told.append(Told(family, target, 'intensities between sites', _sites(group) + _left_out(whole, group)))
        told.append(Told(family, target, 'intensities over all images', _images(group) + _left_out(whole, group)))
    return told


def _left_out(whole: Sequence[Member], group: Sequence[Member]) -> str:
    """Say how many images are not compared, because they are told of by other parts of the brain."""
    number = len(whole) - len(group)
    if not number:
        return ''
    other = 'classes of brightness' if tuple(group[0].parts) == SETS[0] else 'tissue'
    return f' {number} more {"is" if number == 1 else "are"} known by {other} alone and left out.'


def _images(group: Sequence[Member]) -> str:
    number = len(group)
    if number < ENOUGH:
        return f'{number} image{" is" if number == 1 else "s are"} too few to tell.'
    ratio = _ratio(group, _sd)
    others = [_ratio([*group[:i], *group[i + 1:]], _sd) for i in range(number)]
    return (f'{number} images vary {_word(ratio)} after than before, by a factor of {ratio:.2f} '
            f'({min(others):.2f} to {max(others):.2f} when any one image is left out).{_sure(others, what="image")}'
            f'{_parts(group, _sd)}')


def _sites(group: Sequence[Member]) -> str:
    known = [member for member in group if member.site]
    sites = sorted({member.site for member in known})
    people = sorted({member.person for member in known})
    rest = [[member for member in known if member.person != person] for person in people]
    if len(people) < ENOUGH or any(len({member.site for member in part}) < len(sites) for part in rest):
        return f'{len(known)} images of {len(people)} people at {len(sites)} sites are too few to tell.'
    ratio = _ratio(known, _between)
    others = [_ratio(part, _between) for part in rest]
    return (f'the means of {len(sites)} sites differ {_word(ratio)} after than before, by a factor of {ratio:.2f} '
            f'({min(others):.2f} to {max(others):.2f} when any one person is left out).{_sure(others, what="person")}'
            f'{_parts(known, _between)}')


def _parts(group: Sequence[Member], spread: Callable[[Sequence[Member], str, int], float]) -> str:
    """Say the factor of each part of the brain, since one may get better at another's cost."""
    told = []
    for part in group[0].parts:
        before, after = (spread(group, part, when) for when in (0, 1))
        label = str(metric_table()[part]['label'])
        told.append(f'{label[:1].lower()}{label[1:]} {after / before:.2f}' if before else f'{label.lower()} from none')
    return f' By part: {", ".join(told)}.'


def _word(ratio: float) -> str:
    return 'less' if ratio < 1 else 'more'


def _sure(others: Sequence[float], *, what: str) -> str:
    return '' if max(others) < 1 or min(others) > 1 else f' One {what} decides this, so it is not settled.'


def _spread(group: Sequence[Member], *, family: str, target: str, tissue: str) -> Spread:
    before, after = (list(column) for column in zip(*(member.parts[tissue] for member in group), strict=True))
    sites = len({member.site for member in group if member.site})
    return Spread(
        family, target, tissue, len(group), (statistics.fmean(before), statistics.fmean(after)),
        (_sd(group, tissue, 0), _sd(group, tissue, 1)), sites,
        (_between(group, tissue, 0), _between(group, tissue, 1)),
    )


def _sd(group: Sequence[Member], tissue: str, when: int) -> float:
    return statistics.stdev(member.parts[tissue][when] for member in group)


def _between(group: Sequence[Member], tissue: str, when: int) -> float:
    values = defaultdict(list)
    for member in group:
        if member.site:
            values[member.site].append(member.parts[tissue][when])
    means = [statistics.fmean(own) for own in values.values()]
    return statistics.stdev(means) if len(means) > 1 else float('nan')


def _ratio(group: Sequence[Member], spread: Callable[[Sequence[Member], str, int], float]) -> float:
    parts = group[0].parts
    before, after = (statistics.fmean(spread(group, tissue, when) ** 2 for tissue in parts) ** 0.5 for when in (0, 1))
    return after / before if before else float('inf')
