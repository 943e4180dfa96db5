"""The way from page to page: who comes before and after a person, and the group page, kept right on every page."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_distclip.reports.page import environment, save

_NAME = re.compile('sub-[A-Za-z0-9+]+')
_OPEN, _CLOSE = '<nav class="people"', '</nav>'


@dataclass(frozen=True)
class Way:
    """Where a page leads: the people before and after (empty at both ends), its number of so many, a group page; and
    the name of the dataset."""

    before: str
    after: str
    number: int
    people: int
    group: bool
    dataset: str


def places(found: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield subject, place on the page of that subject, and record of each image, in the order of the pages."""
    numbers: Counter[str] = Counter()
    for subject, record in found:
        numbers[subject] += 1
        yield subject, f'image-{numbers[subject]}', record


def way(output_dir: Path, *, name: str) -> Way:
    """Return where the page of ``sub-XX`` leads, by the folders and pages of an output folder."""
    folders = {path.name for path in output_dir.glob('sub-*') if _NAME.fullmatch(path.name) and path.is_dir()}
    people = sorted(folders | {name})
    place = people.index(name)
    before, after = (people[i] if 0 <= i < len(people) else '' for i in (place - 1, place + 1))
    group = (output_dir / 'group.html').is_file()
    return Way(before, after, place + 1, len(people), group, dataset_name(output_dir))


def dataset_name(output_dir: Path) -> str:
    """Return the name of the dataset that an output folder was made from; empty where that is not told."""
    try:
        name = json.loads((output_dir / 'dataset_description.json').read_text(encoding='utf-8')).get('Name')
    except (OSError, ValueError, AttributeError):
        return ''
    # 'Harmonized anatomical images: ds000001'
    return name.rpartition(': ')[2] if isinstance(name, str) else ''


def connect(output_dir: Path, *, people: Collection[str] | None = None) -> list[Path]:
    """Set the links on the pages of some people (labels without ``sub-``), or all, right; return what was changed.

    Pages are made one by one, often before the next person's folder or the group page is there. What cannot be read
    or written is left as it is.
    """
    changed = []
    for path in sorted(output_dir.glob('sub-*.html')):
        if people is None or path.stem.removeprefix('sub-') in people:
            with contextlib.suppress(OSError, ValueError):
                changed += _connect(path)
    return changed


def _connect(path: Path) -> list[Path]:
    text = path.read_text(encoding='utf-8')
    start = text.find(_OPEN)
    end = text.find(_CLOSE, start) + len(_CLOSE)
    if start < 0 or end <= start or not _NAME.fullmatch(path.stem):
        return []
    links = environment().get_template('people.html').render(way=way(path.parent, name=path.stem)).strip()
    if text[start:end] == links:
        return []
    made = path.stat()
    save(text[:start] + links + text[end:], path=path)
    # As old as what it tells of: it holds no record that was written since.
    os.utime(path, ns=(made.st_atime_ns, made.st_mtime_ns))
    return [path]
