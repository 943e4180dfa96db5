"""The audit of metadata, on folders of sidecars whose faults are known."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from bids_distclip.audit.page import audit_dataset
from bids_distclip.cli.toolbox import main

EVIL = '"><script>alert(1)<img src=x onerror=alert(2)>'
MPRAGE = {'Manufacturer': 'Siemens', 'ManufacturersModelName': 'Prisma', 'MagneticFieldStrength': 3,
          'DeviceSerialNumber': 'secret77', 'EchoTime': 0.003, 'RepetitionTime': 2.3, 'InversionTime': 0.9,
          'FlipAngle': 9, 'ScanningSequence': 'GR\\IR', 'MRAcquisitionType': '3D', 'SoftwareVersions': 'VE11'}
FLAIR = {**MPRAGE, 'EchoTime': 0.39, 'RepetitionTime': 5, 'InversionTime': 1.8, 'FlipAngle': 120,
         'ScanningSequence': 'SE\\IR'}


def put(root: Path, subject: str, sidecar: dict | None, *, suffix: str = 'T1w', image: bool = False) -> None:
    folder = root / f'sub-{subject}' / 'anat'
    folder.mkdir(parents=True, exist_ok=True)
    if sidecar is not None:
        (folder / f'sub-{subject}_{suffix}.json').write_text(json.dumps(sidecar))
    if image:
        (folder / f'sub-{subject}_{suffix}.nii.gz').write_bytes(b'')


def table(out: Path, name: str) -> list[dict[str, str]]:
    with (out / f'audit_{name}.tsv').open(newline='') as stream:
        return list(csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE))


def findings(root: Path, out: Path) -> list[tuple[str, str]]:
    audit_dataset(root, out=out)
    return [(row['kind'], row['text']) for row in table(out, 'findings')]


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'data'


def test_a_clean_dataset_has_no_finding_and_one_protocol(root, tmp_path):
    for number in range(6):
        put(root, f'{number}', {**MPRAGE, 'RepetitionTime': 2.3 + 0.001 * number}, image=True)
    page, told = audit_dataset(root, out=tmp_path / 'out')
    assert told[0] == '6 images of 6 people on 1 scanner, with 1 protocol.'
    assert told[-1] == 'Nothing contradicts itself, and no unit has slipped.'
    assert table(tmp_path / 'out', 'findings') == []
    assert 'Nothing: no unit has slipped' in page.read_text()


def test_milliseconds_where_seconds_belong_are_found(root, tmp_path):
    put(root, '1', {**MPRAGE, 'EchoTime': 3.0, 'RepetitionTime': 2300})
    found = findings(root, tmp_path / 'out')
    assert [kind for kind, _ in found] == ['unit', 'unit']
    assert table(tmp_path / 'out', 'images')[0]['repetition_time'] == '2.3'


def test_a_file_name_that_physics_contradicts_is_found(root, tmp_path):
    put(root, '1', FLAIR, suffix='T2w')
    assert findings(root, tmp_path / 'out') == [('contradiction', 'The file name says T2w, the physics says FLAIR.')]


def test_an_image_without_any_metadata_is_found_and_inherited_metadata_count(root, tmp_path):
    put(root, '1', None, image=True)
    assert findings(root, tmp_path / 'out') == [('missing', 'There is no sidecar.')]
    (root / 'T1w.json').write_text(json.dumps(MPRAGE))
    assert findings(root, tmp_path / 'out') == []


def test_the_one_that_differs_from_its_scanner_is_found(root, tmp_path):
    for number in range(9):
        put(root, f'{number}', MPRAGE)
    put(root, '9', {**MPRAGE, 'FlipAngle': 12})
    assert findings(root, tmp_path / 'out') == [
        ('deviation', 'Flip angle 12 where others have 9 (P1 has 9 of 10).')]
    protocols = table(tmp_path / 'out', 'protocols')
    assert [(row['images'], row['flip_angle']) for row in protocols] == [('9', '9'), ('1', '12')]


def test_a_change_in_the_course_of_time_is_drift_and_going_back_and_forth_is_not(root, tmp_path):
    def scans(times):
        for number, time in enumerate(times):
            (root / f'sub-{number}' / f'sub-{number}_scans.tsv').write_text(
                f'filename\tacq_time\nanat/sub-{number}_T1w.nii.gz\t2020-01-0{time}T10:00:00\n')

    for number in range(6):
        put(root, f'{number}', {**MPRAGE, 'InversionTime': 0.9 if number < 3 else 1.1,
                                'SoftwareVersions': 'VE11' if number < 3 else 'XA30'})
    scans([1, 2, 3, 4, 5, 6])
    assert findings(root, tmp_path / 'out') == [
        ('drift', 'T1w: the protocol changed from P1 to P2 after 3 of 6 images.'),
        ('drift', 'T1w: the software changed from VE11 to XA30 after 3 of 6 images.')]
    scans([1, 3, 5, 2, 4, 6])
    assert findings(root, tmp_path / 'out') == []
    assert '2020-01' not in ''.join(path.read_text() for path in (tmp_path / 'out').iterdir())


def test_one_serial_number_of_two_models_is_told_and_never_printed(root, tmp_path):
    put(root, '1', MPRAGE)
    put(root, '2', {**MPRAGE, 'ManufacturersModelName': 'Skyra'})
    kind, text = findings(root, tmp_path / 'out')[0]
    assert kind == 'drift'
    assert 'Siemens Prisma 3 T and Siemens Skyra 3 T' in text
    assert 'secret77' not in ''.join(path.read_text() for path in (tmp_path / 'out').iterdir())


def test_completeness_is_counted_by_scanner(root, tmp_path):
    put(root, '1', MPRAGE)
    put(root, '2', {key: value for key, value in MPRAGE.items() if key != 'FlipAngle'})
    put(root, '3', None, image=True)
    _, told = audit_dataset(root, out=tmp_path / 'out')
    rows = {row['scanner']: row for row in table(tmp_path / 'out', 'completeness')}
    assert sorted((row['images'], row['flip_angle'], row['echo_time']) for row in rows.values()) == [
        ('1', '0', '0'), ('2', '0.5', '1')]
    assert told[0] == '3 images of 3 people on 1 scanner, with 2 protocols.'
    assert told[1].startswith('33% of the images tell')
    assert told[2] == 'Of 1 image the scanner is not known.'


def test_planted_scripts_stay_text_and_tables_stay_tables(root, tmp_path):
    put(root, '1', dict.fromkeys([*MPRAGE, EVIL], f'{EVIL}\t\n'))
    put(root, f'2_acq-{EVIL}', MPRAGE)
    page, _ = audit_dataset(root, out=tmp_path / 'out')
    html = page.read_text()
    assert html.count('<script') == 1
    assert not re.search('<img', html)
    for path in (tmp_path / 'out').glob('*.tsv'):
        widths = {line.count('\t') for line in path.read_text().splitlines()}
        assert len(widths) == 1, path.name


@pytest.mark.parametrize('content', ['{', '[]', '"x"'])
def test_a_sidecar_that_cannot_be_read_is_told(root, tmp_path, content):
    put(root, '1', {})
    (root / 'sub-1' / 'anat' / 'sub-1_T1w.json').write_text(content)
    assert [kind for kind, _ in findings(root, tmp_path / 'out')] == ['unreadable', 'missing']


def test_the_tool_says_what_it_found_and_a_folder_without_images_is_no_input(make_dataset, tmp_path, capsys):
    assert main(['audit', str(make_dataset(2)), str(tmp_path / 'out')]) == 0
    told = capsys.readouterr().out
    assert '4 images of 2 people on 2 scanners, with 2 protocols.' in told
    assert str(tmp_path / 'out' / 'audit.html') in told
    (tmp_path / 'empty').mkdir()
    assert main(['audit', str(tmp_path / 'empty'), str(tmp_path / 'out')]) == 66


def test_on_real_sidecars_of_travelers_the_misnamed_flairs_and_the_upgrade_are_found(shared_data, tmp_path):
    folder = shared_data / 'sidecars' / 'ds004712'
    if not folder.is_dir():
        pytest.skip('the real sidecars are not on this machine')
    found = findings(folder, tmp_path / 'out')
    assert sum(text == 'The file name says T2w, the physics says FLAIR.' for _, text in found) == 135
    assert any(kind == 'drift' and 'GE DISCOVERY MR750 3 T and GE SIGNA Premier 3 T' in text for kind, text in found)
    assert len(table(tmp_path / 'out', 'images')) == 269
