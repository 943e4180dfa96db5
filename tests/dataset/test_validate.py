"""Running the official validator, and what counts of what it says."""

from __future__ import annotations

import json

import pytest

from bids_distclip.dataset import validate as module
from bids_distclip.dataset.validate import check_dataset, concerns, find_validator, validate
from bids_distclip.errors import InvalidDataset

needs_validator = pytest.mark.skipif(find_validator() is None, reason='bids-validator-deno is not installed')


@needs_validator
def test_a_valid_dataset_passes(two):
    found = validate(two)
    assert found.ran
    assert found.errors == ()
    assert found.version


@needs_validator
def test_an_invalid_dataset_is_refused_with_the_file_that_is_wrong(two):
    (two / 'sub-01' / 'ses-a' / 'anat' / 'sub-02_ses-a_T1w.json').write_text('{}')
    with pytest.raises(InvalidDataset, match='sub-02_ses-a_T1w') as caught:
        validate(two)
    assert caught.value.code == 16
    assert '--skip-bids-validation' in caught.value.cure


@needs_validator
def test_errors_of_other_people_and_other_data_do_not_stop_a_run(two, build):
    build({'sub-01/ses-a/anat/sub-02_ses-a_T1w.json': {}, 'sub-02/func/sub-02_bold.nii.gz': None})
    found = validate(two, participants=['sub-02'])
    assert found.errors == ()
    assert any('func' in issue.location for issue in found.elsewhere)
    assert any('sub-01' in issue.location for issue in found.elsewhere)


@needs_validator
def test_one_image_that_is_not_here_does_not_stop_the_others(two):
    (two / 'sub-02' / 'anat' / 'sub-02_FLAIR.nii.gz').symlink_to('nowhere')
    found = validate(two)
    assert 'SYMLINK_BROKEN' in {issue.code for issue in found.elsewhere}


@needs_validator
def test_a_missing_description_is_an_error_of_the_whole_dataset(two):
    (two / 'dataset_description.json').unlink()
    with pytest.raises(InvalidDataset, match='MISSING_DATASET_DESCRIPTION'):
        validate(two, participants=['01'])


def test_without_the_validator_there_is_a_warning_and_no_crash(two, monkeypatch):
    monkeypatch.setattr(module, 'find_validator', lambda: None)
    found = validate(two)
    assert not found.ran
    assert 'not installed' in found.warning


@pytest.mark.parametrize('content', ['#!/bin/sh\necho nonsense\n', 'not a program'])
def test_a_validator_that_does_not_run_gives_a_warning(two, tmp_path, monkeypatch, content):
    program = tmp_path / 'bids-validator-deno'
    program.write_text(content)
    program.chmod(0o755)
    monkeypatch.setattr(module, 'find_validator', lambda: program)
    assert 'did not run' in check_dataset(two).warning


def test_a_validator_that_hangs_is_given_up(two, tmp_path, monkeypatch):
    program = tmp_path / 'bids-validator-deno'
    program.write_text('#!/bin/sh\nexec sleep 30\n')
    program.chmod(0o755)
    monkeypatch.setattr(module, 'find_validator', lambda: program)
    assert 'took more than' in check_dataset(two, timeout=0.2).warning


def test_everything_the_validator_says_is_kept(two, tmp_path, monkeypatch):
    report = {'issues': {'issues': [
        {'code': 'A', 'subCode': 'B', 'severity': 'warning', 'location': '/x', 'issueMessage': 'two\nlines'},
        {'code': 'C', 'severity': 'error', 'location': '/sub-01/anat/sub-01_T1w.nii.gz'},
    ]}, 'summary': {'schemaVersion': '1.2.7'}}
    program = tmp_path / 'bids-validator-deno'
    program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{json.dumps(report)}\nEOF\nexit 16\n")
    program.chmod(0o755)
    monkeypatch.setattr(module, 'find_validator', lambda: program)
    found = check_dataset(two)
    assert [issue.line() for issue in found.warnings] == ['A.B (/x): two lines']
    assert [issue.line() for issue in found.errors] == ['C (/sub-01/anat/sub-01_T1w.nii.gz)']
    assert found.version == '1.2.7'


@pytest.mark.parametrize(
    ('location', 'ours'),
    [
        ('', True), ('/dataset_description.json', True), ('/participants.tsv', True), ('/T1w.json', True),
        ('/task-rest_bold.json', False), ('/sub-01/anat/sub-01_T1w.nii.gz', True), ('/sub-01/ses-1', True),
        ('/sub-01/ses-1/anat/sub-01_ses-1_T1w.json', True), ('/sub-01/func/sub-01_bold.nii.gz', False),
        ('/sub-02/anat/sub-02_T1w.nii.gz', False), ('/derivatives/x/a', False), ('/sub-01/sub-01_sessions.tsv', True),
    ],
)
def test_only_anatomical_files_of_the_selected_people_concern_us(location, ours):
    assert concerns(location, participants=('01',)) is ours
