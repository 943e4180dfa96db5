"""BIDS JSON sidecars to :class:`Acquisition` and back: units checked, spellings normalized."""

from __future__ import annotations

import csv
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_distclip.acquisition.record import Acquisition

#: Field, BIDS keys it may come from (first wins), and the value above which a time must be in milliseconds.
NUMBERS: dict[str, tuple[tuple[str, ...], float | None]] = {
    'field_strength': (('MagneticFieldStrength',), None),
    'echo_time': (('EchoTime',), 1.0),
    'repetition_time': (('RepetitionTime', 'RepetitionTimePreparation', 'RepetitionTimeExcitation'), 100.0),
    'inversion_time': (('InversionTime',), 30.0),
    'flip_angle': (('FlipAngle',), None),
    'slice_thickness': (('SliceThickness',), None),
    'echo_train_length': (('EchoTrainLength',), None),
}
TEXTS: dict[str, tuple[str, ...]] = {
    'manufacturer': ('Manufacturer',),
    'model': ('ManufacturersModelName',),
    'acquisition_type': ('MRAcquisitionType',),
    'series_description': ('SeriesDescription', 'ProtocolName'),
    'contrast_agent': ('ContrastBolusIngredient',),
}
LISTS = {'scanning_sequence': 'ScanningSequence', 'sequence_variant': 'SequenceVariant'}
#: A number as spreadsheets of many countries write it.
_COMMA = re.compile(r'\d+,\d+')
#: Texts that say nothing; a contrast agent of NONE does.
_EMPTY = ('', 'n/a', 'unknown', 'anonymized', 'anonymous')


@functools.cache
def _vendors() -> tuple[tuple[str, str], ...]:
    with (Path(__file__).parent / 'vendors.tsv').open(encoding='utf-8', newline='') as stream:
        return tuple((row['pattern'], row['vendor']) for row in csv.DictReader(stream, delimiter='\t'))


def normalize_vendor(raw: str) -> str:
    """Return the vendor's short name, or the text as it is if the vendor is not in ``vendors.tsv``.

    >>> normalize_vendor('GE MEDICAL SYSTEMS'), normalize_vendor('UIH')
    ('GE', 'United Imaging')
    """
    plain = ' '.join(raw.lower().replace('_', ' ').split())
    for pattern, vendor in _vendors():
        if plain == pattern or plain.startswith(pattern + ' '):
            return vendor
    return raw.strip()


def from_sidecar(
    raw: Mapping[str, Any], *, suffix: str | None = None, origin: str | Mapping[str, str] = 'sidecar'
) -> Acquisition:
    """Read the metadata of a sidecar.

    Times above a plausible number of seconds are taken for milliseconds, with a note. Values of a wrong type
    are left out, with a note. ``origin`` says where the values came from: one text, or one per BIDS key.
    """
    reading = _Reading(raw, origin)
    for name, (keys, limit) in NUMBERS.items():
        reading.number(name, keys, limit=limit)
    for name, keys in TEXTS.items():
        reading.text(name, keys)
    for name, key in LISTS.items():
        reading.codes(name, key)
    _normalize(reading.values, reading.notes)
    _repair(reading.values, reading.notes)
    provenance = {name: reading.provenance[name] for name in reading.values}
    return Acquisition(
        suffix=suffix, provenance=provenance, notes=tuple(dict.fromkeys(reading.notes)), **reading.values
    )


def to_sidecar(acquisition: Acquisition) -> dict[str, Any]:
    """Return the known fields under their BIDS keys; lists in DICOM's form, joined by a backslash."""
    keys = {name: spec[0][0] for name, spec in NUMBERS.items()}
    keys |= {name: spec[0] for name, spec in TEXTS.items()} | LISTS
    values = {key: getattr(acquisition, name) for name, key in keys.items()}
    return {
        key: '\\'.join(value) if isinstance(value, tuple) else value
        for key, value in values.items() if value not in (None, ())
    }


@dataclass
class _Reading:
    """One sidecar on its way: values found so far, where each came from, and what was odd."""

    raw: Mapping[str, Any]
    origin: str | Mapping[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def keep(self, name: str, key: str, value: Any) -> None:
        self.values[name] = value
        origin = self.origin
        self.provenance[name] = origin if isinstance(origin, str) else origin.get(key, 'sidecar')

    def number(self, name: str, keys: tuple[str, ...], *, limit: float | None) -> None:
        for key in keys:
            number = _number(self.raw.get(key), key, self.notes)
            if number is None:
                continue
            if limit is not None and number > limit:
                self.notes.append(f'{key} is {number:g}, too long for seconds: read as milliseconds.')
                number /= 1000
            self.keep(name, key, number)
            return

    def text(self, name: str, keys: tuple[str, ...]) -> None:
        for key in keys:
            value = self.raw.get(key)
            if isinstance(value, str) and value.strip().lower() not in _EMPTY:
                self.keep(name, key, value.strip())
                return
            if value is not None and not isinstance(value, str):
                self.notes.append(f'{key} is not a text and was ignored.')

    def codes(self, name: str, key: str) -> None:
        value = self.raw.get(key)
        parts = value.replace('\\', '/').split('/') if isinstance(value, str) else value
        if isinstance(parts, (list, tuple)) and all(isinstance(part, str) for part in parts):
            found = (part.strip().upper() for part in parts)
            codes = tuple(part for part in found if part and part != 'NONE')
            if codes:
                self.keep(name, key, codes)
        elif value is not None:
            self.notes.append(f'{key} is neither a text nor a list of texts and was ignored.')


def _number(value: Any, key: str, notes: list[str]) -> float | None:
    if isinstance(value, (list, tuple)):
        if not value:
            return None
        if len(value) > 1:
            notes.append(f'{key} has {len(value)} values; the first is used.')
        value = value[0]
    if value is None:
        return None
    if isinstance(value, str) and _COMMA.fullmatch(value.strip()):
        notes.append(f'{key} is {value.strip()!r}: the comma is read as a decimal point.')
        value = value.replace(',', '.')
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        notes.append(f'{key} is not a positive number and was ignored.')
        return None
    return number


def _normalize(values: dict[str, Any], notes: list[str]) -> None:
    """Bring vendor, acquisition type and echo train length into the forms the record promises."""
    if 'manufacturer' in values:
        values['manufacturer'] = normalize_vendor(values['manufacturer'])
    if values.get('acquisition_type', '3D') not in ('1D', '2D', '3D'):
        notes.append(f'MRAcquisitionType is {values.pop("acquisition_type")!r} and was ignored.')
    if 'echo_train_length' in values:
        values['echo_train_length'] = int(values['echo_train_length'])


def _repair(values: dict[str, Any], notes: list[str]) -> None:
    """Drop zeros that mean *unknown*, repair other units, and note values no scanner has."""
    for name in [n for n in NUMBERS if values.get(n) == 0]:
        del values[name]
        notes.append(f'{name.replace("_", " ")} is 0 and was ignored.')
    strength = values.get('field_strength')
    if strength is not None and strength > 100:
        values['field_strength'] = strength / 10_000
        notes.append(f'MagneticFieldStrength is {strength:g}, too high for tesla: read as gauss.')
    echo, repetition = values.get('echo_time'), values.get('repetition_time')
    if echo is not None and repetition is not None:
        in_ms = any(note.startswith('EchoTime') and 'milliseconds' in note for note in notes)
        # 7 ms of readout is not too long for seconds; beside an echo time in ms it must be in ms as well.
        if in_ms and 1 < repetition <= 100 and repetition / 1000 > echo:
            values['repetition_time'] = repetition / 1000
            notes.append(f'RepetitionTime is {repetition:g} beside an EchoTime in ms: read as milliseconds.')
        elif echo > repetition:
            notes.append('EchoTime is longer than RepetitionTime.')
    if values.get('flip_angle', 0) > 360:
        del values['flip_angle']
        notes.append('FlipAngle is above 360 degrees and was ignored.')
