"""Which images are found, which are not, and what is said of both."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bids_distclip.dataset.inputs import find_scans, suffix_table
from bids_distclip.errors import NoInput, NothingSelected, UsageError


def names(selection) -> set[str]:
    return {scan.path.name.removesuffix('.nii.gz') for scan in selection.scans}


def test_all_supported_images_are_found_with_entities_metadata_and_family(two):
    found = find_scans(two)
    assert len(found.scans) == 6
    assert found.rejections == ()
    scan = next(scan for scan in found.scans if scan.relative.endswith('sub-01_ses-a_T1w.nii.gz'))
    assert (scan.subject, scan.session, scan.suffix) == ('01', 'a', 'T1w')
    assert (scan.family_call.family, scan.family_call.basis) == ('T1w', 'physics')
    run = next(scan for scan in found.scans if 'run-02' in scan.relative)
    assert run.entities['run'] == '02'
    assert run.entities['acquisition'] == 'hi'


def test_metadata_is_inherited_and_remembers_its_file(two):
    (two / 'sub-01' / 'sub-01_T1w.json').write_text(json.dumps({'FlipAngle': 12, 'EchoTime': None}))
    a, b = (s for s in find_scans(two, participants='01', modalities=['t1w']).scans)
    assert a.sidecar['FlipAngle'] == 9
    assert a.acquisition.echo_time == 0.003
    assert b.acquisition.flip_angle == 12
    assert b.acquisition.manufacturer == 'Siemens'
    assert b.acquisition.provenance['manufacturer'] == 'sidecar:T1w.json'
    assert b.acquisition.provenance['flip_angle'] == 'sidecar:sub-01/sub-01_T1w.json'


def test_a_sidecar_of_another_run_or_suffix_is_not_inherited(two):
    (two / 'sub-02' / 'anat' / 'sub-02_acq-hi_run-01_T1w.json').write_text(json.dumps({'EchoTime': 0.01}))
    (two / 'T2w.json').write_text(json.dumps({'EchoTime': 0.1}))
    found = {scan.path.name: scan.acquisition.echo_time for scan in find_scans(two, participants='02').scans}
    assert found == {
        'sub-02_acq-hi_run-01_T1w.nii.gz': 0.01, 'sub-02_acq-hi_run-02_T1w.nii.gz': None, 'sub-02_T2w.nii.gz': 0.1,
    }


@pytest.mark.parametrize('text', ['{', '[]', '\xff'])
def test_a_broken_sidecar_is_noted_and_stops_nothing(two, text):
    (two / 'sub-02' / 'anat' / 'sub-02_T2w.json').write_bytes(text.encode('latin-1'))
    scan = find_scans(two, participants='02', modalities=['T2w']).scans[0]
    assert any('left out' in note for note in scan.acquisition.notes)


@pytest.mark.parametrize('given', [['01'], ['sub-01'], '01', ['01', 'sub-01']])
def test_labels_come_with_and_without_prefix(two, given):
    assert {scan.subject for scan in find_scans(two, participants=given).scans} == {'01'}


def test_labels_come_from_a_text_file(two, tmp_path):
    (tmp_path / 'who.txt').write_text('sub-02\n\n')
    assert {scan.subject for scan in find_scans(two, participants=tmp_path / 'who.txt').scans} == {'02'}


def test_only_the_named_session_is_read_and_images_without_session_are_kept(two):
    found = find_scans(two, sessions=['ses-b'])
    assert {scan.session for scan in found.scans} == {'b', None}
    assert not any('ses-a' in item.relative for item in (*found.scans, *found.rejections))


@pytest.mark.parametrize(
    ('options', 'hint'),
    [({'participants': ['1']}, '01'), ({'participants': ['zz']}, '01, 02'), ({'sessions': ['aa']}, 'a')],
)
def test_a_missing_label_names_those_that_come_close(two, options, hint):
    with pytest.raises(NothingSelected) as caught:
        find_scans(two, **options)
    assert caught.value.code == 18
    assert hint in caught.value.cure


def test_modalities_choose_families_and_list_the_others(two):
    found = find_scans(two, modalities=['flair'])
    assert names(found) == {'sub-01_ses-b_FLAIR'}
    assert len(found.rejections) == 5
    assert all('not asked for' in item.reason for item in found.rejections)


RUNS = {'sub-02_acq-hi_run-01_T1w', 'sub-02_acq-hi_run-02_T1w'}


@pytest.mark.parametrize(
    ('filters', 'kept'),
    [
        ({'t1w': {'run': 1}}, {'sub-02_acq-hi_run-01_T1w', 'sub-02_T2w'}),
        ({'T1w': {'acq': ['hi'], 'run': ['2']}}, {'sub-02_acq-hi_run-02_T1w', 'sub-02_T2w'}),
        ({'t2w': {'acquisition': None}}, {'sub-02_T2w', *RUNS}),
        ({'t2w': {'acquisition': '*'}}, RUNS),
        ({'t2w': {'acquisition': 'Query.OPTIONAL'}}, {'sub-02_T2w', *RUNS}),
        ({'t1w': {'session': 'Query.ANY'}}, {'sub-02_T2w'}),
        ({'t1w': {'acq': '^h', 'regex_search': True, 'run': 2}}, {'sub-02_acq-hi_run-02_T1w', 'sub-02_T2w'}),
    ],
)
def test_filters_follow_pybids(two, tmp_path, filters, kept):
    path = tmp_path / 'filter.json'
    path.write_text(json.dumps(filters))
    found = find_scans(two, participants='02', filters=path)
    assert names(found) == kept
    assert names(find_scans(two, participants='02', filters=filters)) == kept
    assert len(found.rejections) == 3 - len(kept)


@pytest.mark.parametrize('filters', [{'bold': {}}, {'t1w': {'akquisition': 'x'}}, {'t1w': 3}])
def test_unknown_filter_keys_are_an_error(two, filters):
    with pytest.raises(UsageError) as caught:
        find_scans(two, filters=filters)
    assert caught.value.cure


def test_filters_that_leave_nothing_say_what_there_was(two):
    with pytest.raises(NothingSelected, match='sub-02_T2w') as caught:
        find_scans(two, participants='02', filters={'t1w': {'run': 7}, 't2w': {'run': 7}})
    assert caught.value.code == 18


REFUSED = [
    ('sub-01_UNIT1', 'MP2RAGE'), ('sub-01_echo-1_MEGRE', 'echo'), ('sub-01_T1map', 'map'),
    ('sub-01_angio', 'angiography'), ('sub-01_part-phase_T1w', 'phase'),
    ('sub-01_desc-preproc_T1w', 'derivative'), ('sub-01_space-MNI_T1w', 'derivative'),
    ('sub-01_PDT2', 'two contrasts'), ('sub-01_swi', 'Susceptibility'), ('sub-01_inv-1_MP2RAGE', 'inversion'),
    ('sub-01_mod-T1w_defacemask', 'mask'), ('sub-01_thing', 'not one this app'),
]


@pytest.mark.parametrize(('name', 'why'), REFUSED)
def test_every_other_anatomical_image_is_listed_with_its_reason(build, name, why):
    root = build({f'sub-01/anat/{name}.nii.gz': None, 'sub-01/anat/sub-01_T2w.nii.gz': None})
    found = find_scans(root)
    assert names(found) == {'sub-01_T2w'}
    assert [item.relative for item in found.rejections] == [f'sub-01/anat/{name}.nii.gz']
    assert why in found.rejections[0].reason


@pytest.mark.parametrize(
    ('suffix', 'family'), [('PD', 'PDw'), ('T2star', 'T2starw'), ('FLASH', 'T1w'), ('inplaneT2', 'T2w')]
)
def test_old_suffixes_are_read_with_a_note(build, suffix, family):
    scan = find_scans(build({f'sub-01/anat/sub-01_{suffix}.nii.gz': None})).scans[0]
    assert (scan.suffix, scan.family_call.family) == (suffix, family)
    assert bool(scan.acquisition.notes) == (suffix != 'inplaneT2')


def test_a_magnitude_part_is_an_image(build):
    assert len(find_scans(build({'sub-01/anat/sub-01_part-mag_T2starw.nii.gz': None})).scans) == 1


def test_an_annexed_image_that_is_not_here_is_rejected_with_the_command_to_type(two):
    link = two / 'sub-02' / 'anat' / 'sub-02_FLAIR.nii.gz'
    link.symlink_to('../../.git/annex/objects/a/b/key')
    pointer = two / 'sub-02' / 'anat' / 'sub-02_PDw.nii.gz'
    pointer.write_text('/annex/objects/MD5E-s123--abc.nii.gz\n')
    found = find_scans(two, participants='02')
    assert [item.relative.rpartition('_')[2] for item in found.rejections] == ['FLAIR.nii.gz', 'PDw.nii.gz']
    assert all(f'datalad get {item.relative}' in item.reason for item in found.rejections)


def test_a_dataset_of_absent_content_says_so(build):
    root = build({'sub-01/anat/sub-01_dir.json': {}})
    (root / 'sub-01' / 'anat' / 'sub-01_T1w.nii.gz').symlink_to('nowhere')
    with pytest.raises(NoInput, match='datalad get'):
        find_scans(root)


@pytest.mark.parametrize('name', ['', 'func/sub-01_task-rest_bold.nii.gz', 'anat/sub-01_T1map.nii.gz'])
def test_a_dataset_without_supported_images_is_no_input(build, name):
    with pytest.raises(NoInput) as caught:
        find_scans(build({f'sub-01/{name}': None} if name else {}))
    assert caught.value.code == 66


def test_derivatives_sourcedata_and_other_data_types_are_never_entered(two, build):
    build({'derivatives/x/sub-02/anat/sub-02_T1w.nii.gz': None, 'sourcedata/sub-02/anat/sub-02_T1w.nii.gz': None,
           'sub-02/func/sub-02_task-rest_bold.nii.gz': None})
    found = find_scans(two, participants='02')
    assert len(found.scans) == 3
    assert found.rejections == ()


def test_a_database_is_made_once_for_everyone_and_reused(two, tmp_path):
    database = tmp_path / 'db'
    first = find_scans(two, participants='01', database_dir=database)
    assert (database / 'layout_index.sqlite').is_file()
    assert find_scans(two, participants='01', database_dir=database) == first
    assert len(find_scans(two, participants='02', database_dir=database).scans) == 3


def test_a_stale_database_is_noticed(two, tmp_path):
    find_scans(two, database_dir=tmp_path / 'db')
    (two / 'sub-02' / 'anat' / 'sub-02_T2w.nii.gz').unlink()
    stale = find_scans(two, database_dir=tmp_path / 'db').rejections
    assert [item.relative for item in stale] == ['sub-02/anat/sub-02_T2w.nii.gz']
    assert find_scans(two, database_dir=tmp_path / 'db', reset_database=True).rejections == ()


def test_the_database_of_another_dataset_is_refused(two, build, tmp_path):
    find_scans(two, database_dir=tmp_path / 'db')
    other = build({'sub-01/anat/sub-01_T1w.nii.gz': None}, name='other')
    with pytest.raises(UsageError, match='another dataset'):
        find_scans(other, database_dir=tmp_path / 'db')


def test_the_table_of_suffixes_ends_with_a_rule_for_everything():
    assert suffix_table()[-1]['suffix'] == '*'
    assert {row['status'] for row in suffix_table()} == {'supported', 'deprecated', 'refused'}


def test_one_subject_of_many_is_found_without_crawling_the_others(build):
    root = build({f'sub-{n:03d}/anat/sub-{n:03d}_T1w.nii.gz': {} for n in range(300)})
    began = time.perf_counter()
    find_scans(root)
    everyone = time.perf_counter() - began
    began = time.perf_counter()
    found = find_scans(root, participants='007')
    assert [scan.subject for scan in found.scans] == ['007']
    assert time.perf_counter() - began < everyone


@pytest.mark.parametrize(
    'name', ['sub-01/anat/T1w.nii.gz', 'sub-01/anat/sub-02_T2w.nii.gz', 'sub-01/anat/sub-01_ses-a_T2w.nii.gz',
             'sub-01/ses-a/anat/sub-01_T2w.nii.gz', 'sub-01/ses-a/anat/sub-01_ses-b_T2w.nii.gz',
             'sub-01/anat/ses-a_T2w.nii.gz'])
def test_an_image_that_is_named_otherwise_than_its_folders_is_left_out(build, name):
    found = find_scans(build({'sub-01/anat/sub-01_T1w.nii.gz': None, 'sub-02/anat/sub-02_T1w.nii.gz': None,
                              name: None}))
    assert names(found) == {'sub-01_T1w', 'sub-02_T1w'}
    (rejection,) = found.rejections
    assert rejection.relative == name
    start = 'sub-01_ses-a_' if '/ses-a/' in name else 'sub-01_'
    assert rejection.reason == f'Its name should begin with {start}, as its folders do.'


def test_a_file_that_may_not_be_read_is_planned_and_stops_no_other(build, monkeypatch):
    root = build({'sub-01/anat/sub-01_T1w.nii.gz': None, 'sub-02/anat/sub-02_T1w.nii.gz': None})
    opened = Path.open

    def refuse(path, *how, **more):
        if path.name == 'sub-01_T1w.nii.gz':
            raise PermissionError(13, 'Permission denied')
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, 'open', refuse)
    assert names(find_scans(root)) == {'sub-01_T1w', 'sub-02_T1w'}
