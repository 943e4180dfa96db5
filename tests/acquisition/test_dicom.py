"""DICOM headers, made here and real."""

from __future__ import annotations

import gzip
import shutil
import tarfile
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from bids_distclip.acquisition.dicom import from_dicom
from bids_distclip.acquisition.family import infer_family
from bids_distclip.errors import BadData

DATA = Path(__file__).parents[2] / '..' / 'shared' / 'data' / 'dicom'
CLASSIC, ENHANCED = '1.2.840.10008.5.1.4.1.1.4', '1.2.840.10008.5.1.4.1.1.4.1'


def header(kind: str = CLASSIC, **values) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = kind, generate_uid(), 'MR'
    made.SeriesInstanceUID = '1.2.3'
    made.PatientName, made.PatientID, made.StudyDate = 'Doe^Jane', '42', '20200101'
    made.InstitutionName = 'Some Hospital'
    for name, value in values.items():
        setattr(made, name, value)
    return made


def save(made: Dataset, path: Path) -> Path:
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.save_as(path, enforce_file_format=True)
    return path


def mprage(**values) -> Dataset:
    return header(**{
        'Manufacturer': 'SIEMENS', 'ManufacturerModelName': 'Prisma', 'MagneticFieldStrength': 3,
        'MRAcquisitionType': '3D', 'ScanningSequence': ['GR', 'IR'], 'SequenceVariant': ['SK', 'SP', 'MP'],
        'EchoTime': 1.97, 'RepetitionTime': 2300, 'InversionTime': 900, 'FlipAngle': 9, 'SliceThickness': 1, **values,
    })


def group(**values) -> Dataset:
    outer = Dataset()
    for name, inner in values.items():
        item = Dataset()
        for key, value in inner.items():
            setattr(item, key, value)
        setattr(outer, name, [item])
    return outer


def enhanced() -> Dataset:
    made = header(ENHANCED, Manufacturer='SIEMENS', MagneticFieldStrength=3, MRAcquisitionType='3D',
                  EchoPulseSequence='GRADIENT', SegmentedKSpaceTraversal='PARTIAL', NumberOfFrames=2)
    made.SharedFunctionalGroupsSequence = [group(
        MRTimingAndRelatedParametersSequence={'RepetitionTime': 1800.0, 'FlipAngle': 9.0, 'EchoTrainLength': 1},
        MRModifierSequence={'InversionRecovery': 'YES', 'InversionTimes': [900.0], 'Spoiling': 'RF'},
        PixelMeasuresSequence={'SliceThickness': 2.0},
    )]
    made.PerFrameFunctionalGroupsSequence = [group(MREchoSequence={'EffectiveEchoTime': 2.41}) for _ in range(2)]
    return made


def test_a_classic_header_becomes_seconds_and_keeps_nothing_of_the_patient(tmp_path):
    found = from_dicom(save(mprage(), tmp_path / 'a.dcm'))
    assert (found.echo_time, found.repetition_time, found.inversion_time) == (0.00197, 2.3, 0.9)
    assert (found.manufacturer, found.flip_angle, found.field_strength) == ('Siemens', 9.0, 3.0)
    assert set(found.provenance.values()) == {'dicom'}
    text = str(found.to_dict())
    assert not any(word in text for word in ('Doe', '42', '2020', 'Hospital'))


def test_an_enhanced_header_is_read_from_its_functional_groups(tmp_path):
    found = from_dicom(save(enhanced(), tmp_path / 'a.dcm'))
    assert (found.echo_time, found.repetition_time, found.inversion_time) == (0.00241, 1.8, 0.9)
    assert (found.flip_angle, found.slice_thickness) == (9.0, 2.0)
    assert found.scanning_sequence == ('GR', 'IR')
    assert found.sequence_variant == ('SK', 'SP', 'MP')
    assert infer_family(found).sequence == 'MPRAGE'


def test_a_folder_is_one_series_and_other_files_in_it_do_no_harm(tmp_path):
    for number in range(3):
        save(mprage(), tmp_path / f'{number}.dcm')
    (tmp_path / 'notes.txt').write_text('not DICOM')
    assert from_dicom(tmp_path).repetition_time == 2.3


def test_a_compressed_file_is_read(tmp_path):
    plain = save(mprage(), tmp_path / 'a.dcm')
    with plain.open('rb') as source, gzip.open(tmp_path / 'b.dcm.gz', 'wb') as out:
        shutil.copyfileobj(source, out)
    assert from_dicom(tmp_path / 'b.dcm.gz') == from_dicom(plain)


def test_several_echoes_are_noted_and_the_shortest_counts(tmp_path):
    for number, echo in enumerate((5.4, 1.8, 3.6)):
        save(mprage(EchoTime=echo), tmp_path / f'{number}.dcm')
    found = from_dicom(tmp_path)
    assert found.echo_time == 0.0018
    assert any('3 values' in note for note in found.notes)


def test_several_series_are_refused_by_name(tmp_path):
    for number in range(2):
        save(mprage(SeriesInstanceUID=f'1.2.{number}', SeriesDescription=f'scan {number}'), tmp_path / f'{number}.dcm')
    with pytest.raises(BadData, match='scan 0, scan 1'):
        from_dicom(tmp_path)


@pytest.mark.parametrize('content', [b'', b'hello' * 100, b'\0' * 128 + b'DICM' + b'\xff' * 9])
def test_what_is_no_dicom_is_bad_data(tmp_path, content):
    path = tmp_path / 'a.dcm'
    path.write_bytes(content)
    with pytest.raises(BadData):
        from_dicom(path)
    with pytest.raises(BadData):
        from_dicom(tmp_path)


def test_another_modality_is_refused(tmp_path):
    with pytest.raises(BadData, match='not an MR image'):
        from_dicom(save(header(Modality='CT'), tmp_path / 'a.dcm'))


def test_a_header_without_acquisition_is_refused(tmp_path):
    with pytest.raises(BadData, match='nothing about'):
        from_dicom(save(header(), tmp_path / 'a.dcm'))


VENDORS = 'multivendor_headers_dicom2nifti'
REAL = [
    (VENDORS, '*/tests/data/ge/anatomical/001', 'GE', 'T1w', 0.003164, 0.0089, 0.9),
    (VENDORS, '*/tests/data/siemens/anatomical/001', 'Siemens', 'FLAIR', 0.394, 6.0, 2.2),
    (VENDORS, '*/tests/data/philips/anatomical/001', 'Philips', 'FLAIR', 0.386754, 4.8, 1.65),
    (VENDORS, '*/tests/data/hitachi/anatomical/001', 'Hitachi', 'PDw', 0.012, 4.0, None),
    (VENDORS, '*/tests/data/hitachi/anatomical/001_implicit', 'Hitachi', 'PDw', 0.012, 4.0, None),
    ('ge_pioneer_mprage_digitalphantom_16slices', '*/In/*', 'GE', 'T1w', 0.003172, 2.21766, 1.0),
    ('siemens_xa30_series5_enhanced_classic_jpegfrag', '*_xa30/In/*', 'Siemens', 'T1w', 0.00241, 1.8, 0.9),
    ('siemens_xa30_series5_enhanced_classic_jpegfrag', '*_frag/In/*', 'Siemens', 'T1w', 0.00241, 1.8, 0.9),
]


@pytest.fixture(scope='module')
def unpacked(tmp_path_factory):
    done: dict[str, Path] = {}

    def unpack(name: str) -> Path:
        if name not in done:
            archive = DATA / f'{name}.tar.xz'
            if not archive.is_file():
                pytest.skip('the real DICOM files are not here')
            done[name] = tmp_path_factory.mktemp('dicom')
            with tarfile.open(archive) as packed:
                packed.extractall(done[name], filter='data')
        return done[name]

    return unpack


@pytest.mark.parametrize(('archive', 'folder', 'vendor', 'family', 'echo', 'repetition', 'inversion'), REAL)
def test_real_headers_are_read(unpacked, archive, folder, vendor, family, echo, repetition, inversion):
    found = from_dicom(next(unpacked(archive).glob(folder)))
    assert found.manufacturer == vendor
    assert (found.echo_time, found.repetition_time, found.inversion_time) == (echo, repetition, inversion)
    assert infer_family(found).family == family
