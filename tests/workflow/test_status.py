"""How the ends of images become an exit code."""

from __future__ import annotations

import json

import pytest

from bids_distclip.errors import BadData, ReadFailed
from bids_distclip.workflow.status import Status, exit_code, failed, merge, read_statuses, write_status


def ends(*codes: int) -> list[Status]:
    words = {True: 'failed', False: 'harmonized'}
    return [Status(f'sub-{n}_T1w.nii.gz', str(n), None, words[c > 0], code=c) for n, c in enumerate(codes)]


@pytest.mark.parametrize(
    ('codes', 'code'), [((), 0), ((0, 0), 0), ((0, 65), 1), ((65, 65), 65), ((65, 74), 1), ((65,), 65), ((1, 1), 1)]
)
def test_the_exit_code_says_whether_some_or_all_failed_and_why(codes, code):
    assert exit_code(ends(*codes)) == code


def test_a_skipped_image_does_not_turn_a_common_failure_into_a_partial_one():
    skipped = Status('x', '9', None, 'skipped')
    assert exit_code([*ends(65), skipped]) == 65


def test_a_failure_has_the_stable_line_that_log_readers_search_for():
    status = failed(BadData('It is 4-D.'), image='sub-01/ses-1/anat/a_T1w.nii.gz', subject='01', session='1')
    assert status.line() == 'distclip: FAILED sub-01 ses-1 (exit 65): a_T1w.nii.gz: It is 4-D.'


@pytest.mark.parametrize(
    ('error', 'code'), [(ReadFailed('x'), 74), (MemoryError(), 75), (OSError('x'), 74), (KeyError('x'), 1)]
)
def test_every_error_has_a_code(error, code):
    assert failed(error, image='x', subject='01', session=None).code == code


def test_a_status_is_read_back_as_written_and_leaves_no_draft(tmp_path):
    status = ends(65)[0]
    write_status(tmp_path, name='a', status=status)
    assert read_statuses(tmp_path) == {'a': status}
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']


def test_the_summary_counts_the_ends(tmp_path):
    merge(tmp_path / 'status.json', statuses=ends(0, 65, 0), exit_code=1)
    told = json.loads((tmp_path / 'status.json').read_text())
    assert told['counts'] == {'harmonized': 2, 'failed': 1}
    assert told['exit_code'] == 1
    assert len(told['images']) == 3
