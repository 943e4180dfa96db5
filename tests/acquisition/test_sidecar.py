"""What sidecars in the wild become: units, spellings, wrong types."""

from __future__ import annotations

import pytest

from bids_distclip.acquisition.protocols import load_protocols
from bids_distclip.acquisition.sidecar import from_sidecar, normalize_vendor, to_sidecar


@pytest.mark.parametrize(
    ('raw', 'field', 'value'),
    [
        ({'EchoTime': 90}, 'echo_time', 0.09),
        ({'InversionTime': 2500}, 'inversion_time', 2.5),
        ({'RepetitionTime': 2300}, 'repetition_time', 2.3),
        ({'EchoTime': 3.2, 'RepetitionTime': 7.1}, 'repetition_time', 0.0071),
        ({'MagneticFieldStrength': 15000}, 'field_strength', 1.5),
        ({'EchoTime': '0,0035'}, 'echo_time', 0.0035),
        ({'RepetitionTime': ' 2300,5 '}, 'repetition_time', 2.3005),
    ],
)
def test_values_in_other_units_are_repaired_and_noted(raw, field, value):
    acquisition = from_sidecar(raw)
    assert getattr(acquisition, field) == pytest.approx(value)
    assert any('read as' in note for note in acquisition.notes)


@pytest.mark.parametrize(
    'raw', [{'EchoTime': 0.56}, {'RepetitionTime': 12.0}, {'EchoTime': 0.003, 'RepetitionTime': 2.3}]
)
def test_plausible_seconds_are_left_alone(raw):
    acquisition = from_sidecar(raw)
    assert to_sidecar(acquisition) == raw
    assert acquisition.notes == ()


def test_seconds_beside_a_long_echo_in_milliseconds_stay_seconds():
    assert from_sidecar({'EchoTime': 90, 'RepetitionTime': 5}).repetition_time == 5


@pytest.mark.parametrize('written', ['SE\\IR', 'SE/IR', ['SE', 'IR'], ['se ', 'IR', 'NONE', '']])
def test_codes_are_split_whatever_their_form(written):
    assert from_sidecar({'ScanningSequence': written}).scanning_sequence == ('SE', 'IR')


def test_a_variant_of_none_is_no_variant():
    acquisition = from_sidecar({'SequenceVariant': 'NONE'})
    assert acquisition.sequence_variant == ()
    assert 'sequence_variant' not in acquisition.provenance


@pytest.mark.parametrize(
    ('spelling', 'vendor'),
    [
        ('SIEMENS', 'Siemens'), ('Siemens Healthineers', 'Siemens'), ('Siemens HealthCare GmbH', 'Siemens'),
        ('GE MEDICAL SYSTEMS', 'GE'), ('GE', 'GE'), ('Philips Medical Systems', 'Philips'), ('UIH', 'United Imaging'),
        ('TOSHIBA_MEC', 'Canon'), ('Hitachi Medical Corporation', 'Hitachi'), ('Gemini Works', 'Gemini Works'),
    ],
)
def test_vendors_have_one_spelling_and_strangers_keep_theirs(spelling, vendor):
    assert normalize_vendor(spelling) == vendor


@pytest.mark.parametrize(
    ('key', 'value'),
    [('EchoTime', 'short'), ('EchoTime', -1), ('EchoTime', True), ('EchoTime', float('nan')), ('EchoTime', {}),
     ('Manufacturer', 7), ('ScanningSequence', [1]), ('ScanningSequence', 5), ('MRAcquisitionType', '4D'),
     ('FlipAngle', 0), ('FlipAngle', 720), ('EchoTime', '1,2,3')],
)
def test_values_that_cannot_be_right_are_left_out_with_a_note(key, value):
    acquisition = from_sidecar({key: value})
    assert acquisition.known() == ()
    assert len(acquisition.notes) == 1
    assert acquisition.provenance == {}


@pytest.mark.parametrize(
    'raw',
    [{'EchoTime': None}, {'EchoTime': []}, {'SequenceVariant': ''}, {'Manufacturer': 'UNKNOWN'}, {'Manufacturer': ' '}],
)
def test_empty_values_say_nothing(raw):
    acquisition = from_sidecar(raw)
    assert (acquisition.known(), acquisition.notes) == ((), ())


def test_of_several_echoes_the_first_counts_and_the_others_are_told():
    acquisition = from_sidecar({'EchoTime': [0.0017, 0.0036]})
    assert acquisition.echo_time == 0.0017
    assert '2 values' in acquisition.notes[0]


@pytest.mark.parametrize('key', ['RepetitionTime', 'RepetitionTimePreparation', 'RepetitionTimeExcitation'])
def test_every_name_of_the_repetition_time_is_understood(key):
    assert from_sidecar({key: 2.3}).repetition_time == 2.3


def test_each_value_remembers_the_file_it_came_from():
    origin = {'EchoTime': 'sidecar:T1w.json', 'FlipAngle': 'sidecar:sub-01/anat/sub-01_T1w.json'}
    acquisition = from_sidecar({'EchoTime': 0.003, 'FlipAngle': 9}, origin=origin)
    assert acquisition.provenance == {'echo_time': 'sidecar:T1w.json', 'flip_angle': origin['FlipAngle']}


@pytest.mark.parametrize('name', list(load_protocols()))
def test_a_sidecar_survives_writing_and_reading(name):
    acquisition = load_protocols()[name].acquisition
    assert from_sidecar(to_sidecar(acquisition)).values() == acquisition.values()
