"""The metadata of one image: its sidecars from the dataset's root down, merged, with their origin."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bids_distclip.dataset.naming import parse_name


@dataclass(frozen=True)
class Metadata:
    """Merged sidecars: ``values`` and ``origin`` (``sidecar:<relative path>``) by BIDS key, and ``notes``."""

    values: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def by_folder(relatives: Iterable[str]) -> dict[str, list[str]]:
    """Return files grouped by the folder they lie in."""
    folders: dict[str, list[str]] = defaultdict(list)
    for relative in relatives:
        folders[str(PurePosixPath(relative).parent)].append(relative)
    return folders


def sidecars_of(relative: str, *, folders: Mapping[str, Sequence[str]]) -> list[str]:
    """Return which JSON files speak of an image, the most general first (BIDS inheritance principle).

    ``relative`` is the image's path in the dataset; ``folders`` the dataset's JSON files by folder. A file
    applies if it has the same suffix, lies in the image's folder or above, and has no entity the image lacks.
    """
    image = PurePosixPath(relative)
    pairs, suffix, _ = parse_name(image.name)
    found = []
    for depth, folder in enumerate(reversed(image.parents)):
        for candidate in folders.get(str(folder), ()):
            own, own_suffix, extension = parse_name(PurePosixPath(candidate).name)
            if extension == '.json' and own_suffix == suffix and own.items() <= pairs.items():
                found.append((depth, len(own), candidate))
    return [candidate for *_, candidate in sorted(found)]


def merge_sidecars(root: Path, relatives: Iterable[str]) -> Metadata:
    """Read sidecars and merge them, the later ones on top; those that cannot be read are noted and left out.

    Null values are dropped: they say nothing, and must not hide an inherited value.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    notes: list[str] = []
    for relative in relatives:
        try:
            raw = json.loads((root / relative).read_text(encoding='utf-8-sig'))
        except FileNotFoundError:
            notes.append(f'The content of {relative} is not here (datalad get {relative}); it was left out.')
            continue
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            # The text of an OSError holds the whole path, and notes are shown on pages.
            said = getattr(error, 'strerror', None) or error
            notes.append(f'{relative} cannot be read ({said}); it was left out.')
            continue
        if not isinstance(raw, dict):
            notes.append(f'{relative} is not a JSON object; it was left out.')
            continue
        known = {key: value for key, value in raw.items() if value is not None}
        values |= known
        origin |= dict.fromkeys(known, f'sidecar:{relative}')
    return Metadata(values, origin, tuple(notes))
