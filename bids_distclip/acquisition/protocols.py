"""Named target protocols: what a user can ask for without owning an image or a header of that scanner."""

from __future__ import annotations

import csv
import difflib
import functools
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bids_distclip.acquisition.record import FAMILIES, VALUE_FIELDS, Acquisition
from bids_distclip.errors import UsageError

_LISTS = ('scanning_sequence', 'sequence_variant')
_NUMBERS = (
    'field_strength', 'echo_time', 'repetition_time', 'inversion_time', 'flip_angle', 'slice_thickness'
)


@dataclass(frozen=True)
class Protocol:
    """One row of ``protocols.tsv``.

    ``evidence`` is ``sidecar`` (read in a real header), ``published`` (in the paper or manual that ``source``
    names) or ``representative`` (typical of clinical practice); ``default`` marks the one that is meant where
    only a contrast family is asked for.
    """

    name: str
    family: str
    acquisition: Acquisition
    evidence: str
    source: str
    default: bool = False


@functools.cache
def load_protocols() -> MappingProxyType[str, Protocol]:
    """Return the shipped protocols by name, in the order of the table."""
    with (Path(__file__).parent / 'protocols.tsv').open(encoding='utf-8', newline='') as stream:
        rows = csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE)
        return MappingProxyType({row['name']: _protocol(row) for row in rows})


def default_protocol(family: str) -> Protocol:
    """Return the protocol that is meant where only a contrast family is known.

    Raises
    ------
    UsageError
        If there is no such family.
    """
    for row in load_protocols().values():
        if row.default and row.family == family:
            return row
    raise UsageError(f'There is no protocol for {family!r}.', cure=f'use one of {", ".join(FAMILIES)}.')


def protocol(name: str) -> Protocol:
    """Return a shipped protocol by its name, upper or lower case.

    Raises
    ------
    UsageError
        If there is none of that name; it names the closest ones.
    """
    found = load_protocols().get(name.strip().lower())
    if found is not None:
        return found
    close = difflib.get_close_matches(name.lower(), load_protocols(), n=3, cutoff=0.5)
    names = close or [row.name for row in load_protocols().values() if row.default]
    cure = f'use one of the shipped, such as {", ".join(names)}.'
    raise UsageError(f'There is no protocol {name!r}.', cure=cure)


def _protocol(row: dict[str, str]) -> Protocol:
    values: dict[str, Any] = {name: _value(name, row[name]) for name in VALUE_FIELDS if name in row}
    known = [name for name, value in values.items() if value not in (None, ())]
    acquisition = Acquisition(**values, provenance=dict.fromkeys(known, f'protocol:{row["name"]}'))
    default = row['default'] == 'yes'
    return Protocol(row['name'], row['family'], acquisition, row['evidence'], row['source'], default=default)


def _value(name: str, text: str) -> Any:
    if text == 'n/a':
        return () if name in _LISTS else None
    if name in _LISTS:
        return tuple(text.split('\\'))
    if name == 'echo_train_length':
        return int(text)
    return float(text) if name in _NUMBERS else text
