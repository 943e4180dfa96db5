"""Metadata as a sentence for MR-CLIP: the released wording, and ours with a derived block before it."""

from __future__ import annotations

import math

from bids_distclip.acquisition.family import infer_family
from bids_distclip.acquisition.record import Acquisition

#: Where the bins of a value begin (seconds, degrees), and how many bins a doubling has.
_BINS = {'te': 0.001, 'tr': 0.002, 'ti': 0.05, 'fa': 1.0}
_PER_DOUBLING = 4


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


def released_prompt(acquisition: Acquisition, *, plane: str = 'axial') -> str:
    """Return the prompt of the released MR-CLIP, word for word; times in s, ``NONE`` for a missing value."""
    a = acquisition
    return (
        f'A brain MRI, plane {plane}, Scanner (Manufacturer, Model, Field Strength): '
        f'({_text(a.manufacturer)}, {_text(a.model)}, {_number(a.field_strength)}), '
        f'Acquisition (Description, Sequence, Variant): '
        f'({_text(a.series_description)}, {_list(a.scanning_sequence)}, {_list(a.sequence_variant)}), '
        f'Imaging Parameters (Echo Time, Repetition Time, Inversion Time, Flip Angle): '
        f'({_number(a.echo_time)}, {_number(a.repetition_time)}, '
        f'{_number(a.inversion_time)}, {_number(a.flip_angle)})'
    )


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


def _text(value: str | None) -> str:
    return value if value else 'NONE'


def _list(value: tuple[str, ...]) -> str:
    return '\\'.join(value) if value else 'NONE'


def _number(value: float | None) -> str:
    return 'NONE' if value is None else f'{value:.4g}'
