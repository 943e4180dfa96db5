"""What is odd about single images: units that slipped, values that contradict each other, nothing known at all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bids_distclip.acquisition.record import VALUE_FIELDS
from bids_distclip.audit.gather import Item

#: Kinds of findings in the order of their weight, with what they mean.
KINDS = {
    'unit': 'A value is in another unit than BIDS wants (times in seconds, field strength in tesla).',
    'contradiction': 'Two statements about one image cannot both be true.',
    'deviation': 'An image differs from nearly all others of its scanner and contrast.',
    'drift': 'The protocol or the software of a scanner changed in the course of the study.',
    'unreadable': 'A value or a file could not be read and was left out.',
    'missing': 'Nothing is known of how the image was acquired.',
}
#: What a harmonizer, or any method that knows physics, asks for first.
ESSENTIAL = ('manufacturer', 'field_strength', 'echo_time', 'repetition_time', 'flip_angle')
_UNITS = ('milliseconds', 'gauss')
_CONTRADICTIONS = ('longer than RepetitionTime', 'above 360')


@dataclass(frozen=True)
class Finding:
    """One thing to look at: of which kind, about which image (or all of a scanner), in a sentence."""

    kind: str
    scanner: str
    image: str
    text: str


def check_items(items: Sequence[Item]) -> list[Finding]:
    """Return what is odd about each image alone, in the order of images."""
    return [finding for item in items for finding in _check(item)]


def _check(item: Item) -> list[Finding]:
    def made(kind: str, text: str) -> Finding:
        return Finding(kind, item.scanner, item.name, text)

    if not item.acquisition.known():
        said = 'There is no sidecar.' if not item.sidecars else 'Its sidecars hold no acquisition metadata.'
        return [made('missing', said), *(made('unreadable', note) for note in (*item.notes, *item.acquisition.notes))]
    found = [made('contradiction', item.family.conflict)] if item.family.conflict else []
    for note in (*item.notes, *item.acquisition.notes):
        kind = 'unit' if any(word in note for word in _UNITS) else 'unreadable'
        kind = 'contradiction' if any(word in note for word in _CONTRADICTIONS) else kind
        if 'the first is used' not in note:
            found.append(made(kind, note))
    return found


def check_scanners(items: Sequence[Item]) -> list[Finding]:
    """Return serial numbers that stand for several models or field strengths."""
    kinds: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        kind, _, serial = item.scanner.rpartition(' #')
        if kind:
            kinds[serial].setdefault(kind, item)
    found = []
    for serial, group in sorted(kinds.items()):
        if len(group) > 1:
            last, names = list(group.values())[-1], ' and '.join(sorted(group))
            text = f'One serial number (#{serial}) stands for {names}: an upgrade, or a wrong header.'
            found.append(Finding('drift', last.scanner, last.name, text))
    return found


def gathered(findings: Sequence[Finding]) -> list[tuple[str, int, list[tuple[str, list[str]]]]]:
    """Return sentence, number of images, and images by scanner of findings that say the same; the most come first."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for finding in findings:
        groups[finding.text][finding.scanner].append(finding.image)
    rows = [(text, sum(map(len, places.values())), list(places.items())) for text, places in groups.items()]
    return sorted(rows, key=lambda row: -row[1])


def completeness(items: Sequence[Item]) -> list[dict[str, object]]:
    """Return one row per scanner: images, people, and the share of images that know each field."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.scanner].append(item)
    rows = []
    for scanner in sorted(groups):
        known = Counter(name for item in groups[scanner] for name in item.acquisition.known())
        shares = {name: known[name] / len(groups[scanner]) for name in VALUE_FIELDS}
        people = len({item.subject for item in groups[scanner]})
        rows.append({'scanner': scanner, 'images': len(groups[scanner]), 'people': people, **shares})
    return rows


def essential_share(items: Sequence[Item]) -> float:
    """Return the share of images that know all of :data:`ESSENTIAL`."""
    return sum(set(ESSENTIAL) <= set(item.acquisition.known()) for item in items) / max(1, len(items))
