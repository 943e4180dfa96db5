"""Metadata as a sentence for MR-CLIP: the released wording, and ours with a derived block before it."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from bids_distclip.acquisition.family import infer_family
from bids_distclip.acquisition.record import Acquisition

#: Where the bins of a value begin (seconds, degrees), and how many bins a doubling has.
_BINS = {'te': 0.001, 'tr': 0.002, 'ti': 0.05, 'fa': 1.0}
_PER_DOUBLING = 4

#: What :func:`read_numbers` finds in a prompt, in this order: tesla, seconds, degrees.
NUMBERS = ('field_strength', 'echo_time', 'repetition_time', 'inversion_time', 'flip_angle')
_BEGIN = 'A brain MRI'
_DESCRIPTION = re.compile(r'Sequence, Variant\): \(.*?, (?=[^ ]*, [^ ]*\), Imaging)')
_FIELD = re.compile(r'Field Strength\): \(.*, ([^,()]*)\), Acquisition \(')
_PARAMETERS = re.compile(r'Flip Angle\): \(([^,()]*), ([^,()]*), ([^,()]*), ([^,()]*)\)$')


def prompt(acquisition: Acquisition, *, plane: str = 'axial') -> str:
    """Return our prompt: contrast family, sequence, meaning of TR and coarse bins, then the released prompt.

    The BIDS suffix enters only through the family that is inferred from it.
    """
    call = infer_family(acquisition)
    parts = [
        f'Contrast {_text(call.family)}',
        f'sequence {_text(call.sequence)}',
        f'repetition is {_text(call.tr_meaning)}',
        f'echo is {_text(call.echo_meaning)}',
        f'type {_text(acquisition.acquisition_type)}',
        f'te {value_word(acquisition.echo_time, "te")}',
        f'tr {value_word(acquisition.repetition_time, "tr")}',
        f'ti {value_word(acquisition.inversion_time, "ti")}',
        f'fa {value_word(acquisition.flip_angle, "fa")}',
    ]
    return ' '.join(parts) + '. ' + released_prompt(acquisition, plane=plane)


def whole_prompt(acquisition: Acquisition, family: str | None) -> str:
    """Return our prompt with nothing left out, plane unknown, the contrast family known from elsewhere if need be."""
    return prompt(replace(acquisition, suffix=family or acquisition.suffix), plane='NONE')


def released_prompt(acquisition: Acquisition, *, plane: str = 'axial') -> str:
    """Return the prompt of the released MR-CLIP, word for word; times in s, ``NONE`` for a missing value.

    Texts of a sidecar keep their words, but cannot pass for the end of a bracket.
    """
    a = acquisition
    return (
        f'{_BEGIN}, plane {plane}, Scanner (Manufacturer, Model, Field Strength): '
        f'({_text(a.manufacturer)}, {_text(a.model)}, {_number(a.field_strength)}), '
        f'Acquisition (Description, Sequence, Variant): '
        f'({_text(a.series_description)}, {_list(a.scanning_sequence)}, {_list(a.sequence_variant)}), '
        f'Imaging Parameters (Echo Time, Repetition Time, Inversion Time, Flip Angle): '
        f'({_number(a.echo_time)}, {_number(a.repetition_time)}, '
        f'{_number(a.inversion_time)}, {_number(a.flip_angle)})'
    )


def released_part(text: str) -> str:
    """Return a prompt without our derived block: the released wording in it, or all of it where there is none."""
    start = text.find(_BEGIN)
    return text[start:] if start >= 0 else text


def without_description(text: str) -> str:
    """Return a prompt with ``NONE`` for the description, which may be long."""
    return _DESCRIPTION.sub('Sequence, Variant): (NONE, ', text, count=1)


def read_numbers(prompt: str) -> tuple[float | None, ...]:
    """Return the :data:`NUMBERS` a prompt of :func:`released_prompt`'s wording tells; None for what it does not tell.

    >>> read_numbers(released_prompt(Acquisition(echo_time=0.09, flip_angle=150.0)))
    (None, 0.09, None, None, 150.0)
    """
    field, rest = _FIELD.search(prompt), _PARAMETERS.search(prompt)
    told = (field.group(1) if field else '', *(rest.groups() if rest else ('',) * 4))
    return tuple(_positive(text) for text in told)


def value_word(value: float | None, kind: str) -> str:
    """Return a two-letter word for the logarithmic bin of a value; later words mean larger values.

    >>> value_word(0.003, 'te') < value_word(0.09, 'te'), value_word(None, 'te')
    (True, 'NONE')
    """
    if value is None or value <= 0:
        return 'NONE'
    number = round(_PER_DOUBLING * math.log2(value / _BINS[kind]))
    number = min(max(number, 0), 26 * 26 - 1)
    return chr(ord('a') + number // 26) + chr(ord('a') + number % 26)


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _text(value: str | None) -> str:
    return ' '.join(value.split()).replace('),', ') ,') if value and value.strip() else 'NONE'


def _list(value: tuple[str, ...]) -> str:
    return _text('\\'.join(value))


def _number(value: float | None) -> str:
    return 'NONE' if value is None else f'{value:.4g}'
