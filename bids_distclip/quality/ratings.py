"""What people said of images: rating files, one per rater, and what raters agree and disagree on."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from bids_distclip.quality.agreement import bootstrap, cohen, fleiss

#: Where the group level looks for rating files, below the output folder, and what such a file says it is.
FOLDER = 'ratings'
FORMAT = 'distclip-ratings'
#: The scale, and the lowest rating with which an image may be used.
SCALE = {1: 'unusable', 2: 'doubtful', 3: 'acceptable', 4: 'good'}
USABLE = 3


@dataclass(frozen=True)
class Rating:
    """One person's word on one image. ``review`` names what was seen; ``rating`` is None for a mere comment."""

    rater: str
    review: str
    image: str
    rating: int | None
    comment: str = ''
    rated: str = ''


@dataclass(frozen=True)
class Agreement:
    """How two raters, or all of them (``raters`` of three and more), agree over the images all of them rated.

    ``kappa`` is Cohen's for two and Fleiss' for more; ``weighted`` Cohen's with quadratic weights, for two.
    ``low`` and ``high`` hold 95 % of bootstrap resamplings of the images. nan: cannot be computed.
    """

    raters: tuple[str, ...]
    images: int
    same: float
    kappa: float
    weighted: float
    low: float
    high: float


def review_id(record: Mapping[str, Any]) -> str:
    """Return the name of what a rater saw: it changes with source, target, engine, or any number of the output.

    A rating given to an older output so never counts for a newer one.
    """
    seen = {key: record.get(key) for key in ('source', 'status', 'target', 'engine', 'metrics', 'output')}
    text = json.dumps(seen, sort_keys=True, default=str)
    return hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]


def read_ratings(folder: Path) -> tuple[list[Rating], list[str]]:
    """Return the ratings of all files of a folder, and sentences about what could not be used.

    Of several words of one rater on one image the latest counts.
    """
    latest: dict[tuple[str, str], Rating] = {}
    notes: list[str] = []
    for path in sorted(folder.glob('*.json')):
        try:
            found = _file(json.loads(path.read_text(encoding='utf-8-sig')))
        except (OSError, ValueError, RecursionError) as error:
            notes.append(f'{path.name} was not used: {error}.')
            continue
        for rating in found:
            key = rating.rater, rating.review
            if key not in latest or latest[key].rated <= rating.rated:
                latest[key] = rating
    return sorted(latest.values(), key=lambda r: (r.image, r.rater)), notes


def _file(raw: Any) -> list[Rating]:
    if not isinstance(raw, dict) or raw.get('format') != FORMAT:
        raise ValueError('it is not a rating file of this app')
    rater, rows = raw.get('rater'), raw.get('ratings')
    if not isinstance(rater, str) or not rater.strip() or not isinstance(rows, list):
        raise ValueError('it names no rater or holds no list of ratings')
    return [_rating(row, rater=rater.strip()) for row in rows]


def _rating(raw: Any, *, rater: str) -> Rating:
    if not isinstance(raw, dict) or not isinstance(raw.get('review'), str):
        raise ValueError('one of its ratings does not say what was seen')
    value = raw.get('rating')
    if value is not None and (type(value) is not int or value not in SCALE):
        raise ValueError(f'it holds the rating {value!r}, which is not one of {", ".join(map(str, SCALE))}')
    texts = {key: str(raw.get(key) or '') for key in ('image', 'comment', 'rated')}
    return Rating(rater=rater, review=raw['review'], rating=value, **texts)


def by_review(ratings: Iterable[Rating]) -> dict[str, list[Rating]]:
    """Return ratings grouped by what was seen."""
    groups: dict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        groups[rating.review].append(rating)
    return dict(groups)


def agreements(ratings: Iterable[Rating]) -> list[Agreement]:
    """Return the agreement of all raters, if three or more, and of each pair with an image in common."""
    table: dict[str, dict[str, int]] = defaultdict(dict)
    for rating in ratings:
        if rating.rating is not None:
            table[rating.review][rating.rater] = rating.rating
    raters = sorted({rater for row in table.values() for rater in row})
    groups = [*([tuple(raters)] if len(raters) > 2 else []), *combinations(raters, 2)]
    found = []
    for group in groups:
        rows = [[row[rater] for rater in group] for row in table.values() if set(group) <= set(row)]
        if rows:
            found.append(_agreement(group, rows=rows))
    return found


def _agreement(raters: tuple[str, ...], *, rows: Sequence[Sequence[int]]) -> Agreement:
    pair = len(raters) == 2
    statistic = (lambda t: cohen(t[:, 0], t[:, 1])) if pair else fleiss
    columns = list(zip(*rows, strict=True))
    low, high = bootstrap(rows, statistic=statistic)
    return Agreement(
        raters=raters, images=len(rows), same=statistics.fmean(len(set(row)) == 1 for row in rows),
        kappa=cohen(*columns) if pair else fleiss(rows),
        weighted=cohen(*columns, weighted=True) if pair else float('nan'), low=low, high=high,
    )


def disagreements(ratings: Iterable[Rating]) -> list[list[Rating]]:
    """Return the images to look at together: raters differ on whether it may be used, or by two steps and more.

    The widest disagreements come first.
    """
    def spread(group: Sequence[Rating]) -> tuple[bool, int]:
        values = [r.rating for r in group if r.rating is not None]
        if len(values) < 2:
            return False, 0
        return min(values) < USABLE <= max(values), max(values) - min(values)

    groups = [(spread(group), group) for group in by_review(ratings).values()]
    queue = [(wide, group) for wide, group in groups if wide[0] or wide[1] >= 2]
    return [group for _, group in sorted(queue, key=lambda one: (-one[0][1], not one[0][0], one[1][0].image))]
