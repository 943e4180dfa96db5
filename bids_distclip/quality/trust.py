"""Whether a harmonized image can be trusted: measured numbers against limits that were derived where truth is known."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from bids_distclip.quality.metrics import metric_table

#: Engines whose results the limits were measured on; those of others are not held against them.
MEASURED = ('distclip',)


@dataclass(frozen=True)
class Limit:
    """What a number must keep to: at least ``least`` or at most ``most``, for ``modes`` (residual, synthesis).

    ``says`` is the sentence for people, ``from_`` how the limit was found.
    """

    number: str
    modes: tuple[str, ...]
    says: str
    from_: str
    least: float | None = None
    most: float | None = None

    def broken(self, value: float) -> bool:
        """Tell whether a value is past the limit."""
        return (self.least is not None and value < self.least) or (self.most is not None and value > self.most)

    def sentence(self, value: float) -> str:
        """Return what is wrong, with the number and its limit."""
        edge = f'at least {self.least:g}' if self.least is not None else f'at most {self.most:g}'
        name = str(metric_table().get(self.number, {}).get('label', self.number)).lower()
        return f'{self.says} ({name} {value:.3g}, {edge} expected).'


@functools.cache
def limits() -> tuple[Limit, ...]:
    """Return the shipped limits, ``limits.json``."""
    raw = json.loads((files('bids_distclip.quality') / 'limits.json').read_text(encoding='utf-8'))
    return tuple(
        Limit(row['number'], tuple(row['modes']), row['says'], row['from'], row.get('least'), row.get('most'))
        for row in raw['limits']
    )


def doubts(numbers: Mapping[str, Any], *, engine: str, synthesize: bool = False) -> tuple[str, ...]:
    """Return a sentence for every limit that a number of one harmonized image is past; none where all is well.

    ``numbers`` are metrics (:mod:`bids_distclip.quality.metrics`), name to value. One that is not known breaks no
    limit, and an engine that is not one of :data:`MEASURED` has none.
    """
    if engine not in MEASURED:
        return ()
    mode = 'synthesis' if synthesize else 'residual'
    known = [(limit, numbers.get(limit.number)) for limit in limits() if mode in limit.modes]
    return tuple(limit.sentence(value) for limit, value in known if value is not None and limit.broken(value))
