"""Sidecars, rows of numbers, and knowing what is done."""

from __future__ import annotations

import json

import pytest

from bids_distclip.acquisition.sidecar import LISTS, NUMBERS, TEXTS
from bids_distclip.dataset.atomic import sha256
from bids_distclip.dataset.inputs import find_scans
from bids_distclip.dataset.outputs import is_complete, public, sidecar, update_scans_tsv

PRIVATE = {
    'DeviceSerialNumber': '67093', 'StationName': 'MRC1', 'InstitutionName': 'X', 'InstitutionAddress': 'Y',
    'PatientName': 'Doe', 'PatientBirthDate': '1970', 'AcquisitionDateTime': '2020-01-01', 'AcquisitionTime': '12:05',
    'StudyInstanceUID': '1.2', 'SeriesInstanceUID': '1.3', 'ReferringPhysicianName': 'Z', 'StudyDescription': 'W',
    'AccessionNumber': '5', 'StudyDate': '20200101', 'OperatorsName': 'V',
}


@pytest.mark.parametrize('key', [
    'IssuerOfPatientID', 'RequestedProcedureDescription', 'PerformedStationName', 'IrradiationEventUID', 'AdmissionID',
    'VisitComments', 'CurrentPatientLocation', 'UsedPatientWeight', 'tPatientID', 'patient_name', 'ResponsiblePerson',
    'acq_time', 'echotime',
])
def test_what_names_a_person_machine_place_or_day_is_left_out_however_it_is_called(key):
    assert public({'EchoTime': 0.003, key: 'Doe'}) == {'EchoTime': 0.003}


def test_what_is_known_to_be_of_the_scanner_is_kept_and_nothing_beside_or_within_it():
    kept = {'EchoTime': 0.003, 'Manufacturer': 'Siemens', 'ImageType': ['M', 'NORM']}
    hidden = {'global': {'const': PRIVATE}, 'list': [PRIVATE], 'SequenceName': PRIVATE, 'ScanOptions': [[PRIVATE]]}
    assert public({**kept, **PRIVATE, **hidden}) == kept


def test_what_the_app_reads_of_a_sidecar_is_kept():
    keys = {key for options, _ in NUMBERS.values() for key in options}
    keys |= {key for options in TEXTS.values() for key in options} | set(LISTS.values())
    assert set(public(dict.fromkeys(keys, 1))) == keys


def test_a_sidecar_keeps_at_the_top_only_what_is_true_of_the_output(build):
    root = build({
        'sub-01/anat/sub-01_echo-2_T2starw.nii.gz': None,
        'sub-01/anat/sub-01_echo-2_T2starw.json': {'EchoTime': 0.02, 'FlipAngle': 20, 'SliceThickness': 3, **PRIVATE},
    })
    scan = find_scans(root).scans[0]
    made = sidecar(scan, description='As if.', skull_stripped=False, sources=[scan.relative],
                   harmonization={'Seed': 7, 'Loss': float('nan')})
    assert made == {
        'Description': 'As if.', 'SkullStripped': False, 'SpatialReference': 'orig',
        'Sources': ['bids:raw:sub-01/anat/sub-01_echo-2_T2starw.nii.gz'], 'SliceThickness': 3, 'EchoTime': 0.02,
        'Harmonization': {
            'Seed': 7, 'Loss': None, 'SourceMetadata': {'EchoTime': 0.02, 'FlipAngle': 20, 'SliceThickness': 3},
        },
    }
    json.dumps(made, allow_nan=False)


def test_an_output_is_complete_only_with_the_same_fingerprint_and_the_same_bytes(tmp_path):
    image = tmp_path / 'sub-01_desc-harmonized_T1w.nii.gz'
    beside = tmp_path / 'sub-01_desc-harmonized_T1w.json'
    assert not is_complete(image, fingerprint='f')
    image.write_bytes(b'voxels')
    assert not is_complete(image, fingerprint='f')
    beside.write_text(json.dumps({'Harmonization': {'Fingerprint': 'f', 'OutputSHA256': sha256(image)}}))
    assert is_complete(image, fingerprint='f')
    assert not is_complete(image, fingerprint='g')
    image.write_bytes(b'voxel')
    assert not is_complete(image, fingerprint='f')
    image.unlink()
    assert not is_complete(image, fingerprint='f')


@pytest.mark.parametrize('text', ['{', '{}', '[]', '{"Harmonization": {"Fingerprint": "f"}}'])
def test_a_sidecar_without_receipt_is_not_complete(tmp_path, text):
    (tmp_path / 'a.nii').write_bytes(b'')
    (tmp_path / 'a.json').write_text(text)
    assert not is_complete(tmp_path / 'a.nii', fingerprint='f')


def test_rows_are_sorted_replaced_and_the_same_whatever_the_order(tmp_path):
    first = {'filename': 'sub-01/ses-1/anat/b.nii.gz', 'change': 0.123456789, 'trust': True}
    second = {'filename': 'anat/a.nii.gz', 'change': None, 'note': 'two\twords'}
    update_scans_tsv(tmp_path / 'x', '01', '1', first)
    path = update_scans_tsv(tmp_path / 'x', 'sub-01', 'ses-1', second)
    assert path == tmp_path / 'x' / 'sub-01' / 'ses-1' / 'sub-01_ses-1_scans.tsv'
    assert path.read_text() == (
        'filename\tchange\tnote\ttrust\nanat/a.nii.gz\tn/a\ttwo words\tn/a\nanat/b.nii.gz\t0.123457\tn/a\ttrue\n'
    )
    for row in (second, first, second):
        other = update_scans_tsv(tmp_path / 'y', '01', '1', row)
    assert other.read_bytes() == path.read_bytes()
    before = path.stat().st_mtime_ns
    update_scans_tsv(tmp_path / 'x', '01', '1', first)
    assert path.stat().st_mtime_ns == before
