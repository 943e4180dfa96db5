"""What the group page and its tables say of people's ratings: per image, agreement, what to look at together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_distclip.quality.ratings import (
    FOLDER,
    SCALE,
    Agreement,
    Rating,
    agreements,
    by_review,
    disagreements,
    read_ratings,
    review_id,
)
from bids_distclip.reports.people import places

#: Columns of ``group_ratings.tsv`` and ``group_agreement.tsv``.
COLUMNS = ('subject', 'image', 'rater', 'rating', 'comment', 'rated')
AGREEMENT = ('raters', 'images', 'same', 'kappa', 'kappa_low', 'kappa_high', 'kappa_weighted')
#: With fewer images in common a kappa is printed, and said to be too uncertain to judge by.
ENOUGH = 10


@dataclass(frozen=True)
class Review:
    """The ratings of a derivative. ``links`` leads from what was seen to its place in a subject page.

    ``columns`` is what ``*_scans.tsv`` gets, by the path of the output: median rating and number of raters.
    """

    ratings: Sequence[Rating] = ()
    notes: Sequence[str] = ()
    links: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def agreement(self) -> list[Agreement]:
        """Return how well raters agree, all of them first."""
        return agreements(self.ratings)

    @property
    def queue(self) -> list[list[Rating]]:
        """Return the images raters disagree on, the widest disagreement first."""
        return disagreements(self.ratings)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per rating for a table."""
        return [
            {'subject': self.links[r.review][0], 'image': r.image, 'rater': r.rater, 'rating': r.rating,
             'comment': r.comment, 'rated': r.rated}
            for r in self.ratings
        ]

    def sentences(self) -> list[str]:
        """Say who rated what, and how far raters can be trusted to mean the same."""
        if not self.ratings:
            return []
        raters = {r.rater for r in self.ratings}
        images = by_review(r for r in self.ratings if r.rating is not None)
        low = [group for group in images.values() if _median(group) < 3]
        people = 'One person has' if len(raters) == 1 else f'{len(raters)} people have'
        told = [f'{people} rated {_count(len(images), "image")} of {len(self.links)}; '
                f'{len(low)} got a median below 3 ({SCALE[3]}).']
        return told + [_say(found) for found in self.agreement[:1]]


def gather(output_dir: Path, found: Sequence[tuple[str, Mapping[str, Any]]]) -> Review:
    """Read the rating files of a derivative and match them with its images.

    ``found`` is subject and record of each image, in the order of the subject pages. Ratings of images that
    are not there, or were made anew since, are told and do not count.
    """
    if not (output_dir / FOLDER).is_dir():
        return Review()
    ratings, notes = read_ratings(output_dir / FOLDER)
    links: dict[str, tuple[str, str]] = {}
    outputs: dict[str, str] = {}
    for subject, place, record in places(found):
        review = review_id(record)
        links[review] = subject, place
        if record.get('output'):
            outputs[review] = str(record['output'])
    known = [rating for rating in ratings if rating.review in links]
    if len(known) < len(ratings):
        notes = [*notes, f'{_count(len(ratings) - len(known), "rating")} of images that are not here, or were made '
                 'anew since, did not count.']
    rated = by_review(r for r in known if r.rating is not None)
    columns = {
        outputs[review]: {'distclip_rating': _median(group), 'distclip_raters': len(group)}
        for review, group in rated.items() if review in outputs
    }
    return Review(known, notes, links, columns)


def agreement_row(found: Agreement) -> dict[str, Any]:
    """Return an agreement as a row of a table."""
    return {
        'raters': ', '.join(found.raters), 'images': found.images, 'same': found.same, 'kappa': found.kappa,
        'kappa_low': found.low, 'kappa_high': found.high, 'kappa_weighted': found.weighted,
    }


def _say(found: Agreement) -> str:
    kind = "Cohen's" if len(found.raters) == 2 else "Fleiss'"
    start = f'{len(found.raters)} raters gave {_count(found.images, "image")} in common the same rating in ' \
            f'{found.same:.0%} of cases'
    if found.kappa != found.kappa:
        return f'{start}; there is no {kind} kappa, because all ratings are the same.'
    text = f'{start}; {kind} kappa is {found.kappa:.2f}'
    if found.low == found.low:
        text += f' (95 % of resamplings between {found.low:.2f} and {found.high:.2f})'
    return text + ('.' if found.images >= ENOUGH else ': too few images in common to tell.')


def _median(group: Sequence[Rating]) -> float:
    return statistics.median(r.rating for r in group if r.rating is not None)


def _count(number: int, word: str) -> str:
    return f'{number} {word}' + ('' if number == 1 else 's')
