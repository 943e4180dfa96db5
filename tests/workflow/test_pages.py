"""Pages made anew from the files on disk."""

from __future__ import annotations

import pytest

from bids_distclip.cli.app import main
from bids_distclip.quality.record import ImageRecord, record_path, write_record


@pytest.fixture
def out(tmp_path):
    for subject in ('01', '02', '03'):
        record = ImageRecord(source={'path': f'sub-{subject}/anat/x_T1w.nii.gz'}, status='skipped', reason='No target.')
        write_record(record, path=record_path(tmp_path, subject, f'sub-{subject}_T1w'))
    return tmp_path


def reports(out, *words: str) -> int:
    return main([str(out / 'nowhere'), str(out), 'participant', '--reports-only', '--nprocs', '2', *words])


def test_pages_are_made_from_records_alone_and_one_that_fails_does_not_stop_the_others(out, capsys):
    (out / 'sub-02.html' / 'in the way').mkdir(parents=True)
    record_path(out, '03', 'sub-03_T1w').write_text('{"half": ')
    assert reports(out) == 1
    assert 'the page of sub-02 could not be made' in capsys.readouterr().err
    assert 'No target.' in (out / 'sub-01.html').read_text()
    assert 'Its record cannot be read' in (out / 'sub-03.html').read_text()


def test_only_the_pages_of_the_people_asked_for_are_made(out):
    assert reports(out, '--participant-label', '03') == 0
    assert sorted(path.name for path in out.glob('*.html')) == ['sub-03.html']
