"""Metadata as a sentence."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bids_distclip.acquisition.prompt import (
    prompt,
    read_numbers,
    released_part,
    released_prompt,
    value_word,
    without_description,
)
from bids_distclip.acquisition.protocols import default_protocol
from bids_distclip.acquisition.record import Acquisition


def test_the_released_prompt_is_kept_word_for_word():
    acquisition = Acquisition(
        manufacturer='Siemens', model='Prisma', field_strength=3.0, series_description='MPRAGE',
        scanning_sequence=('GR', 'IR'), sequence_variant=('SK', 'SP'), echo_time=0.00298, repetition_time=2.3,
        inversion_time=0.9, flip_angle=9.0,
    )
    assert released_prompt(acquisition, plane='sagittal') == (
        'A brain MRI, plane sagittal, Scanner (Manufacturer, Model, Field Strength): (Siemens, Prisma, 3), '
        'Acquisition (Description, Sequence, Variant): (MPRAGE, GR\\IR, SK\\SP), '
        'Imaging Parameters (Echo Time, Repetition Time, Inversion Time, Flip Angle): (0.00298, 2.3, 0.9, 9)'
    )


def test_what_is_not_known_is_none():
    text = prompt(Acquisition())
    assert '(NONE, NONE, NONE)' in text
    assert '(NONE, NONE, NONE, NONE)' in text
    assert text.startswith('Contrast NONE sequence NONE')


def test_our_prompt_is_a_derived_block_before_the_released_one():
    acquisition = default_protocol('FLAIR').acquisition
    text = prompt(acquisition)
    assert text.startswith('Contrast FLAIR sequence IR-TSE repetition is repetition echo is nominal type 3D ')
    assert text.endswith(released_prompt(acquisition))


def test_the_suffix_enters_only_through_the_family():
    known = default_protocol('T1w').acquisition
    assert prompt(replace(known, suffix='T2w')) == prompt(known)
    assert 'Contrast T2w' in prompt(Acquisition(suffix='T2w'))


@pytest.mark.parametrize(
    ('kind', 'low', 'high'), [('te', 0.002, 0.6), ('tr', 0.005, 12.0), ('ti', 0.4, 3.0), ('fa', 3, 180)]
)
def test_bins_rise_with_the_value_and_are_coarse(kind, low, high):
    values = [low * (high / low) ** (i / 400) for i in range(401)]
    words = [value_word(value, kind) for value in values]
    assert words == sorted(words)
    assert len(set(words)) <= 6 * math.log2(high / low) + 2
    assert len(set(words)) > math.log2(high / low)
    assert all(word.isalpha() and word.islower() for word in words)


def test_the_numbers_of_a_prompt_are_read_back():
    known = default_protocol('T1w').acquisition
    assert read_numbers(prompt(known)) == read_numbers(released_prompt(known))
    assert read_numbers(prompt(known)) == pytest.approx(
        (known.field_strength, known.echo_time, known.repetition_time, known.inversion_time, known.flip_angle)
    )


@pytest.mark.parametrize('text', ['', 'Kopf nativ', 'Flip Angle): (1, 2)', 'Flip Angle): (nan, inf, -1, 1e999)'])
def test_what_is_no_number_is_missing(text):
    assert read_numbers(text) == (None,) * 5


@pytest.mark.parametrize(
    'text',
    [
        'Flip Angle): (1, 2, 3, 4)',
        'x, 7), Acquisition (',
        'a, Field Strength): (b, c, 7), Acq',
        'two\nlines), Acquisition (Description',
        'x), Imaging Parameters (',
    ],
)
@pytest.mark.parametrize('field', ['series_description', 'model', 'manufacturer'])
def test_texts_of_a_sidecar_neither_forge_nor_hide_numbers(field, text):
    known = Acquisition(field_strength=3.0, echo_time=0.09, **{field: text})
    assert read_numbers(prompt(known)) == (3.0, 0.09, None, None, None)


def test_a_long_description_can_be_left_out():
    known = Acquisition(series_description='t2 space, sag, 0.9 mm iso', scanning_sequence=('SE',), echo_time=0.4)
    short = without_description(released_prompt(known))
    assert short == released_prompt(replace(known, series_description=None))


def test_the_released_part_is_what_was_released():
    known = default_protocol('T1w').acquisition
    assert released_part(prompt(known, plane='axial')) == released_prompt(known, plane='axial')
    assert released_part('Kopf nativ') == 'Kopf nativ'
