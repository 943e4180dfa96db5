"""The files at the root of the derivative dataset, and the whole tree before the official validator."""

from __future__ import annotations

import json
import shutil

import pytest

from bids_distclip import __version__
from bids_distclip.dataset.atomic import write_json
from bids_distclip.dataset.inputs import find_scans
from bids_distclip.dataset.outputs import output_name, sidecar, update_scans_tsv, write_dataset_files
from bids_distclip.dataset.validate import check_dataset, find_validator
from bids_distclip.errors import CannotWrite


def read(path) -> dict:
    return json.loads(path.read_text())


def test_a_nested_dataset_links_to_its_source_by_a_relative_path(two):
    out = two / 'derivatives' / 'distclip'
    assert write_dataset_files(out, bids_dir=two) == []
    about = read(out / 'dataset_description.json')
    assert about['DatasetLinks'] == {'raw': '../..'}
    assert about['DatasetType'] == 'derivative'
    assert about['GeneratedBy'][0]['Name'] == 'distclip'
    assert about['GeneratedBy'][0]['Version'] == __version__
    assert (about['License'], about['Authors']) == ('CC0', ['A. One', 'B. Two'])


@pytest.mark.parametrize('doi', [None, 'doi:10.18112/openneuro.ds1.v1', '10.18112/openneuro.ds1.v1'])
def test_no_path_of_this_machine_gets_into_a_dataset_that_lies_elsewhere(two, tmp_path, doi):
    raw = read(two / 'dataset_description.json')
    if doi:
        raw['DatasetDOI'] = doi
        (two / 'dataset_description.json').write_text(json.dumps(raw))
    out = tmp_path / 'elsewhere'
    write_dataset_files(out, bids_dir=two)
    link = read(out / 'dataset_description.json')['DatasetLinks']['raw']
    assert link.startswith('https://doi.org/10.18112/openneuro' if doi else 'urn:uuid:')
    for path in out.rglob('*'):
        assert path.is_dir() or str(tmp_path) not in path.read_text()


def test_writing_again_changes_nothing_and_keeps_what_the_user_wrote(two, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'README').write_text('mine')
    write_dataset_files(out, bids_dir=two, descriptions={'mine': 'my own label'})
    assert not (out / 'README.md').exists()
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    write_dataset_files(out, bids_dir=two)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert 'desc-mine\tmy own label\n' in (out / 'descriptions.tsv').read_text()


def test_beside_a_citation_file_authors_and_license_are_left_to_it(two, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'CITATION.cff').write_text('cff-version: 1.2.0\n')
    write_dataset_files(out, bids_dir=two)
    assert not {'Authors', 'License'} & set(read(out / 'dataset_description.json'))


@pytest.mark.parametrize('name', ['dataset_description.json'])
def test_the_dataset_of_others_is_never_overwritten(two, tmp_path, name):
    before = (two / name).read_bytes()
    with pytest.raises(CannotWrite, match='another dataset'):
        write_dataset_files(two, bids_dir=two)
    assert (two / name).read_bytes() == before


@pytest.mark.parametrize(
    ('place', 'warned'), [('derivatives/out1', True), ('derivatives/distclip-prisma', False), ('anywhere', False)]
)
def test_a_folder_name_against_the_rule_gives_a_warning(two, place, warned):
    assert bool(write_dataset_files(two / place, bids_dir=two)) is warned


def golden(root, out) -> None:
    """Write what a run writes, for every scan of a dataset."""
    write_dataset_files(out, bids_dir=root, container={'Type': 'docker', 'Tag': 'bids_distclip:1'})
    for scan in find_scans(root).scans:
        path = out / output_name(scan, desc='harmonized')
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scan.path, path)
        made = sidecar(scan, description='As if.', skull_stripped=False, harmonization={'Seed': 1},
                       sources=[scan.relative])
        write_json(out / output_name(scan, desc='harmonized', extension='.json'), made)
        mask = out / output_name(scan, desc='brain', suffix='mask')
        shutil.copy(scan.path, mask)
        write_json(out / output_name(scan, desc='brain', suffix='mask', extension='.json'),
                   {'Type': 'Brain', 'SpatialReference': 'orig', 'Sources': made['Sources']})
        row = {'filename': path.relative_to(out).as_posix(), 'distclip_status': 'harmonized', 'change': 0.02}
        update_scans_tsv(out, scan.subject, scan.session, row)
        (out / f'sub-{scan.subject}' / 'figures').mkdir(exist_ok=True)
        (out / f'sub-{scan.subject}' / 'figures' / 'picture.svg').write_text('<svg/>')
        (out / f'sub-{scan.subject}.html').write_text('<html></html>')
    (out / 'logs' / 'run').mkdir(parents=True)
    (out / 'logs' / 'run' / 'status.json').write_text('{}')


@pytest.mark.skipif(find_validator() is None, reason='bids-validator-deno is not installed')
@pytest.mark.parametrize('place', ['ds/derivatives/distclip', 'elsewhere'])
def test_the_whole_tree_passes_the_official_validator(two, tmp_path, place):
    out = tmp_path / place
    golden(two, out)
    found = check_dataset(out)
    assert found.ran, found.warning
    assert found.errors == ()
    assert found.elsewhere == ()


@pytest.mark.skipif(find_validator() is None, reason='bids-validator-deno is not installed')
@pytest.mark.parametrize('suffix', ['PD', 'FLASH', 'T2star', 'inplaneT1', 'PDw', 'T2starw'])
def test_outputs_of_every_suffix_we_read_pass_the_official_validator(build, tmp_path, suffix):
    root = build({f'sub-01/anat/sub-01_{suffix}.nii.gz': None})
    golden(root, tmp_path / 'out')
    assert check_dataset(tmp_path / 'out').errors == ()
