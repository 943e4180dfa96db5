"""BIDS JSON sidecars to :class:`Acquisition` and back: units checked, spellings normalized, nothing filled in."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_distclip.acquisition.record import Acquisition

#: Field, BIDS keys it may come from (first wins), and the value above which a time must be in milliseconds.
NUMBERS = {
    'field_strength': (('MagneticFieldStrength',), None),
    'echo_time': (('EchoTime',), 1.0),
    'repetition_time': (('RepetitionTime', 'RepetitionTimePreparation', 'RepetitionTimeExcitation'), 100.0),
    'inversion_time': (('InversionTime',), 30.0),
    'flip_angle': (('FlipAngle',), None),
    'slice_thickness': (('SliceThickness',), None),
    'echo_train_length': (('EchoTrainLength',), None),
}
TEXTS = {
    'model': ('ManufacturersModelName',),
    'series_description': ('SeriesDescription', 'ProtocolName'),
    'contrast_agent': ('ContrastBolusIngredient',),
}
LISTS = {'scanning_sequence': 'ScanningSequence', 'sequence_variant': 'SequenceVariant'}


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

    Times above a plausible number of seconds are taken for milliseconds, with a note. Values of a wrong type are left
    out, with a note. ``origin`` says where the values came from: one text, or one per BIDS key.
    """
    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    notes: list[str] = []

    def keep(name: str, key: str, value: Any) -> None:
        values[name] = value
        provenance[name] = origin if isinstance(origin, str) else str(origin.get(key, 'sidecar'))

    for name, (keys, limit) in NUMBERS.items():
        for key in keys:
            number = _number(raw.get(key), key, notes)
            if number is not None:
                keep(name, key, _in_seconds(number, key, limit, notes))
                break
    for name, text_keys in TEXTS.items():
        for key in text_keys:
            if isinstance(raw.get(key), str) and raw[key].strip():
                keep(name, key, raw[key].strip())
                break
    for name, key in LISTS.items():
        parts = _codes(raw.get(key))
        if parts:
            keep(name, key, parts)
    if isinstance(raw.get('Manufacturer'), str) and raw['Manufacturer'].strip():
        keep('manufacturer', 'Manufacturer', normalize_vendor(raw['Manufacturer']))
    if raw.get('MRAcquisitionType') in ('1D', '2D', '3D'):
        keep('acquisition_type', 'MRAcquisitionType', raw['MRAcquisitionType'])
    _implausible(values, notes)
    if values.get('echo_train_length') is not None:
        values['echo_train_length'] = int(values['echo_train_length'])
    return replace(Acquisition(suffix=suffix, provenance=provenance, notes=tuple(notes)), **values)


def to_sidecar(acquisition: Acquisition) -> dict[str, Any]:
    """Return the known fields under their BIDS keys."""
    out: dict[str, Any] = {}
    for table in (NUMBERS, TEXTS, LISTS):
        for name, spec in table.items():
            value = getattr(acquisition, name)
            key = spec if isinstance(spec, str) else (spec[0][0] if isinstance(spec[0], tuple) else spec[0])
            if value not in (None, ()):
                out[key] = '\\'.join(value) if isinstance(value, tuple) else value
    for name, key in (('manufacturer', 'Manufacturer'), ('acquisition_type', 'MRAcquisitionType')):
        if getattr(acquisition, name) is not None:
            out[key] = getattr(acquisition, name)
    return out


def _number(value: Any, key: str, notes: list[str]) -> float | None:
    if isinstance(value, (list, tuple)):
        if not value:
            return None
        notes.append(f'{key} has {len(value)} values; the first is used.')
        value = value[0]
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        notes.append(f'{key} is not a number and was ignored.')
        return None
    if not math.isfinite(number) or number < 0:
        notes.append(f'{key} is not a positive number and was ignored.')
        return None
    return number


def _in_seconds(number: float, key: str, limit: float | None, notes: list[str]) -> float:
    if limit is not None and number > limit:
        notes.append(f'{key} is {number:g}, too long for seconds: read as milliseconds.')
        return number / 1000.0
    return number


def _codes(value: Any) -> tuple[str, ...]:
    parts = value.replace('\\', '/').split('/') if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        return ()
    return tuple(p.strip().upper() for p in parts if isinstance(p, str) and p.strip() and p.strip().upper() != 'NONE')


def _implausible(values: dict[str, Any], notes: list[str]) -> None:
    """Drop zeros that mean *unknown*, and note values no scanner has."""
    for name in ('echo_time', 'repetition_time', 'inversion_time', 'flip_angle', 'field_strength', 'slice_thickness'):
        if values.get(name) == 0:
            del values[name]
            notes.append(f'{name.replace("_", " ")} is 0 and was ignored.')
    field = values.get('field_strength')
    if field is not None and field > 100:
        values['field_strength'] = field / 10_000.0
        notes.append(f'MagneticFieldStrength is {field:g}, too high for tesla: read as gauss.')
    echo, repetition = values.get('echo_time'), values.get('repetition_time')
    if echo is not None and repetition is not None and echo > repetition:
        notes.append('EchoTime is longer than RepetitionTime.')
    if values.get('flip_angle') is not None and values['flip_angle'] > 360:
        notes.append('FlipAngle is above 360 degrees.')
