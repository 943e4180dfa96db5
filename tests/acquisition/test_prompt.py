"""Metadata as a sentence."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bids_distclip.acquisition.prompt import prompt, released_prompt, value_word
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
