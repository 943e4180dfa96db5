"""Protocols as the metadata show them: groups of images with the same settings, and how they change in time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.audit.checks import Finding
from bids_distclip.audit.gather import Item

#: Settings of a protocol, and the relative difference up to which two are the same.
TIMING = ('echo_time', 'repetition_time', 'inversion_time', 'flip_angle', 'slice_thickness')
SAME = 0.02
#: From this share on, one protocol is what a scanner does, and the rest deviates; for so many images at least.
USUAL, ENOUGH = 0.8, 5


@dataclass(frozen=True)
class Protocol:
    """Images of one scanner and label with the same settings; ``settings`` are those of the first."""

    name: str
    scanner: str
    label: str
    family: str
    settings: Acquisition
    items: tuple[Item, ...]

    @property
    def people(self) -> int:
        """Return how many people were scanned with it."""
        return len({item.subject for item in self.items})


def find_protocols(items: Sequence[Item]) -> list[Protocol]:
    """Group images by scanner, label and settings; the largest groups come first within scanner and label.

    Two images are of one protocol if both know the same settings and these differ by :data:`SAME` at most.
    """
    places: dict[tuple[str, str], list[list[Item]]] = defaultdict(list)
    for item in items:
        groups = places[item.scanner, item.label]
        mine = next((group for group in groups if _same(group[0].acquisition, item.acquisition)), None)
        if mine is None:
            groups.append([item])
        else:
            mine.append(item)
    ordered = [
        (scanner, label, group)
        for (scanner, label), groups in sorted(places.items())
        for group in sorted(groups, key=len, reverse=True)
    ]
    return [
        Protocol(f'P{number}', scanner, label, group[0].family.family or 'unknown', group[0].acquisition, tuple(group))
        for number, (scanner, label, group) in enumerate(ordered, start=1)
    ]


def _same(a: Acquisition, b: Acquisition) -> bool:
    if a.acquisition_type != b.acquisition_type:
        return False
    for name in TIMING:
        x, y = getattr(a, name), getattr(b, name)
        if (x is None) != (y is None) or (x is not None and abs(x - y) > SAME * max(abs(x), abs(y))):
            return False
    return True


def check_protocols(protocols: Sequence[Protocol]) -> list[Finding]:
    """Return images that deviate from what their scanner does, and changes in the course of time."""
    places: dict[tuple[str, str], list[Protocol]] = defaultdict(list)
    for protocol in protocols:
        places[protocol.scanner, protocol.label].append(protocol)
    return [finding for group in places.values() for finding in (*_deviations(group), *_changes(group))]


def _deviations(group: Sequence[Protocol]) -> list[Finding]:
    total = sum(len(protocol.items) for protocol in group)
    usual = group[0]
    if total < ENOUGH or len(usual.items) < USUAL * total:
        return []
    return [
        Finding('deviation', usual.scanner, item.name,
                f'{_difference(usual.settings, protocol.settings)} ({usual.name} has {len(usual.items)} of {total}).')
        for protocol in group[1:] for item in protocol.items
    ]


def _difference(usual: Acquisition, other: Acquisition) -> str:
    parts = []
    for name in ('acquisition_type', *TIMING):
        x, y = getattr(usual, name), getattr(other, name)
        numbers = isinstance(x, float) and isinstance(y, float)
        if x != y and not (numbers and abs(x - y) <= SAME * max(abs(x), abs(y))):
            parts.append(f'{name.replace("_", " ")} {_text(y)} where others have {_text(x)}')
    return '; '.join(parts).capitalize()


def _text(value: object) -> str:
    return 'unknown' if value is None else f'{value:g}' if isinstance(value, float) else str(value)


def _changes(group: Sequence[Protocol]) -> list[Finding]:
    """Tell of one clean change in time; scans back and forth between protocols are no drift."""
    timed = sorted((item.when, protocol.name, item) for protocol in group for item in protocol.items if item.when)
    found = []
    for what, values in (
        ('the protocol', [name for _, name, _ in timed]), ('the software', [item.software for *_, item in timed]),
    ):
        steps = [number for number, (a, b) in enumerate(pairwise(values), start=1) if a != b and a and b]
        if len(steps) == 1 and len(Counter(values)) == 2:
            before, after = values[steps[0] - 1], values[steps[0]]
            found.append(Finding(
                'drift', group[0].scanner, timed[steps[0]][2].name,
                f'{group[0].label}: {what} changed from {before} to {after} after {steps[0]} of {len(values)} images.',
            ))
    return found
