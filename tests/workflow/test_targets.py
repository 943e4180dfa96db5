"""From options to targets."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.errors import DistclipError, UsageError
from bids_distclip.settings import make_settings
from bids_distclip.workflow.targets import (
    TargetSpec,
    choose_target,
    describe_protocols,
    read_acquisition,
    resolve_targets,
)

MPRAGE = {'EchoTime': 0.003, 'RepetitionTime': 2.3, 'InversionTime': 0.9, 'FlipAngle': 9, 'Manufacturer': 'Siemens'}
FLAIR = {'EchoTime': 0.09, 'RepetitionTime': 9.0, 'InversionTime': 2.5, 'Manufacturer': 'GE'}


def settings(**given):
    return make_settings({}, bids_dir='/data', output_dir='/out', **given)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'sub-x_T1w.nii.gz'
    data = np.random.default_rng(0).integers(1, 900, (12, 12, 12)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


def sidecar(path, values):
    path.write_text(json.dumps(values))
    return path


def test_without_any_wish_every_family_has_a_protocol():
    targets = resolve_targets(settings())
    assert {target.family for target in targets} == set(FAMILIES)
    assert {target.kind for target in targets} == {'protocol'}


def test_an_image_wins_over_a_protocol_and_is_known_by_its_content(image):
    (target,) = resolve_targets(settings(target_image=image, target_protocol=('siemens-trio-mprage',)))
    assert (target.kind, target.family, target.name) == ('image', 'T1w', image.name)
    assert len(target.sha256) == 64


def test_metadata_given_with_an_image_describes_it(image, tmp_path):
    (target,) = resolve_targets(settings(target_image=image, target_metadata=sidecar(tmp_path / 'how.json', MPRAGE)))
    assert target.kind == 'image'
    assert target.acquisition.inversion_time == 0.9


def test_metadata_win_over_a_protocol_and_their_physics_give_the_family(tmp_path):
    path = sidecar(tmp_path / 'sub-x_T2w.json', FLAIR)
    (target,) = resolve_targets(settings(target_metadata=path, target_protocol=('siemens-trio-mprage',)))
    assert (target.kind, target.family) == ('metadata', 'FLAIR')


def test_protocols_are_found_by_name_and_may_be_several():
    names = ('siemens-trio-mprage', 'siemens-prisma-mprage')
    assert tuple(target.name for target in resolve_targets(settings(target_protocol=names))) == names


def test_a_protocol_nobody_ships_is_refused_with_close_names():
    with pytest.raises(UsageError, match='siemens-prisma-mprage'):
        resolve_targets(settings(target_protocol=('siemens-prisma-mprag',)))


def test_synthesis_without_a_target_is_refused():
    with pytest.raises(UsageError):
        resolve_targets(settings(synthesize=True))


def test_a_target_that_cannot_be_read_stops_the_run_before_it_starts(tmp_path):
    broken = tmp_path / 'x_T1w.nii.gz'
    broken.write_bytes(b'\x1f\x8b nothing')
    with pytest.raises(DistclipError):
        resolve_targets(settings(target_image=broken))


def test_a_target_that_datalad_has_not_fetched_is_refused_with_the_command_to_type(tmp_path):
    link = tmp_path / 'sub-x_T1w.nii.gz'
    link.symlink_to('.git/annex/objects/k')
    with pytest.raises(UsageError) as caught:
        resolve_targets(settings(target_image=link))
    assert f'datalad get {link}' in str(caught.value)
    link.unlink()
    link.write_text('/annex/objects/MD5E-s1--0.nii.gz\n')
    with pytest.raises(UsageError, match='datalad get'):
        resolve_targets(settings(target_image=link))
    link.unlink()
    with pytest.raises(UsageError, match='is not there') as caught:
        resolve_targets(settings(target_image=link))
    assert 'datalad get' not in str(caught.value)


def test_a_target_of_no_known_family_is_refused(image):
    nameless = image.rename(image.with_name('scan.nii.gz'))
    with pytest.raises(UsageError, match='family'):
        resolve_targets(settings(target_image=nameless))


def test_a_sidecar_beside_an_image_is_read(image):
    sidecar(image.with_name('sub-x_T1w.json'), MPRAGE)
    assert read_acquisition(image).repetition_time == 2.3


def test_another_family_is_a_target_only_to_synthesize():
    targets = resolve_targets(settings(target_protocol=('siemens-trio-mprage',)))
    assert choose_target(targets, family='T1w', synthesize=False) == targets[0]
    assert choose_target(targets, family='T2w', synthesize=False) is None
    assert choose_target(targets, family='T2w', synthesize=True) == targets[0]


def test_a_target_comes_back_from_json(image):
    (target,) = resolve_targets(settings(target_image=image))
    assert TargetSpec.from_dict(json.loads(json.dumps(target.to_dict()))) == target


def test_the_list_of_protocols_shows_each_by_name():
    assert 'siemens-prisma-mprage' in describe_protocols()


@pytest.mark.parametrize('place', ['DOE_JANE/0001', 'DOE_JANE', 'DOE_JANE.dcm'])
def test_a_target_of_dicom_is_not_named_after_its_file_or_folder(tmp_path, place):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = '1.2.840.10008.5.1.4.1.1.4', generate_uid(), 'MR'
    made.PatientName, made.SeriesInstanceUID = 'Doe^Jane', '1.2.3'
    made.Manufacturer, made.ManufacturerModelName, made.MagneticFieldStrength = 'SIEMENS', 'Prisma fit', 3
    made.ScanningSequence, made.MRAcquisitionType = ['GR', 'IR'], '3D'
    made.EchoTime, made.RepetitionTime, made.InversionTime, made.FlipAngle = 1.97, 2300, 900, 9
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / (place if '.' in place else 'DOE_JANE/0001')
    path.parent.mkdir(exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    (spec,) = resolve_targets(settings(target_metadata=tmp_path / place))
    assert spec.name.startswith('dicom-siemens-prisma-fit-')
    told = json.dumps(spec.to_dict())
    assert 'DOE' not in told.upper()
    made.EchoTime = 2.5
    made.save_as(path, enforce_file_format=True)
    assert resolve_targets(settings(target_metadata=tmp_path / place))[0].name != spec.name
