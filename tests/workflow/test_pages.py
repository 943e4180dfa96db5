"""Pages made anew from the files on disk."""

from __future__ import annotations

import threading

import pytest

from bids_distclip.cli.app import main
from bids_distclip.dataset.atomic import locked
from bids_distclip.quality.record import ImageRecord, record_path, write_record
from bids_distclip.reports import participant, people
from bids_distclip.workflow import pages
from bids_distclip.workflow.pages import connect_pages, make_page


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


def held_open(monkeypatch, module, name: str) -> tuple[threading.Event, threading.Event]:
    """Let the first call of a function wait for an event, a second at most; return that it came, and that event."""
    came, go, real = threading.Event(), threading.Event(), getattr(module, name)

    def slow(*args, **kwargs):
        if not came.is_set():
            came.set()
            go.wait(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, slow)
    return came, go


def add_session(out, session: str) -> None:
    record = ImageRecord(source={'path': f'sub-01/ses-{session}/anat/x_T1w.nii.gz'}, status='skipped',
                         reason=f'No target for {session}.')
    write_record(record, path=record_path(out, '01', f'sub-01_ses-{session}_T1w'))


@pytest.mark.parametrize(('module', 'name', 'first'), [
    (participant, 'build_page', lambda out: make_page(out, subject='01')),
    (people, 'way', lambda out: connect_pages(out, people=['01'])),
], ids=['making', 'connecting'])
def test_of_two_jobs_with_sessions_of_one_person_neither_loses_the_other_s_on_the_page(
    out, monkeypatch, module, name, first
):
    add_session(out, 'one')
    make_page(out, subject='01')
    # Another person comes, so that connecting has something to write.
    (out / 'sub-04').mkdir()
    came, go = held_open(monkeypatch, module, name)
    slow = threading.Thread(target=first, args=(out,))
    slow.start()
    assert came.wait(10)
    # The first has read; now a job with another session writes its record and the page, as fast as it is let.
    add_session(out, 'two')
    make_page(out, subject='01')
    go.set()
    slow.join()
    page = (out / 'sub-01.html').read_text()
    assert 'No target for one.' in page
    assert 'No target for two.' in page


def test_the_pages_of_two_people_do_not_wait_for_each_other(out, monkeypatch):
    monkeypatch.setattr(pages, '_PATIENCE', 0.1)
    with locked(out, name='page_sub-02'):
        assert make_page(out, subject='01').is_file()
        with pytest.raises(Exception, match='holds the lock'):
            make_page(out, subject='02')


def test_links_that_cannot_be_set_because_a_page_is_held_are_told_and_fail_nothing(out, monkeypatch, caplog):
    for subject in ('01', '02', '03'):
        make_page(out, subject=subject)
    (out / 'sub-04').mkdir()
    before = {subject: (out / f'sub-{subject}.html').read_text() for subject in ('02', '03')}
    monkeypatch.setattr(pages, '_PATIENCE', 0.1)
    with locked(out, name='page_sub-02'):
        connect_pages(out)
    assert 'sub-02 were left as they are' in caplog.text
    assert (out / 'sub-02.html').read_text() == before['02']
    assert (out / 'sub-03.html').read_text() != before['03']
