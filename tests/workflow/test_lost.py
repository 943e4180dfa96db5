"""What becomes of images whose steps ended without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_distclip.dataset.inputs import find_scans
from bids_distclip.quality.record import ImageRecord, read_record, record_path, write_record
from bids_distclip.settings import make_settings
from bids_distclip.workflow import run as module
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.plan import make_plan
from bids_distclip.workflow.run import process_images
from bids_distclip.workflow.status import Status, read_statuses, write_status
from bids_distclip.workflow.steps import attempt, lose
from bids_distclip.workflow.targets import resolve_targets


class Killed(BaseException):
    """Ends a process that no handler of errors can keep alive."""


@pytest.fixture
def graph(make_dataset, tmp_path, monkeypatch):
    """Return a function that processes three people where some kill their worker, as often as told; and the rounds."""
    data = make_dataset(3, suffixes=('T1w',))

    def process(*, deaths: dict[str, int], beside: tuple[str, ...] = (), **given):
        settings = make_settings({}, bids_dir=data, output_dir=tmp_path / 'out', engine='identity', **given)
        targets = resolve_targets(settings)
        jobs = make_plan(find_scans(data), settings=settings, targets=targets, weights_sha256=None).jobs
        run = Run('r', settings, tmp_path / 'work', targets, ())
        run.work.mkdir()
        rounds = []

        def stand_in(run, *, jobs, told, alone=False):
            rounds.append(([job.subject for job in jobs], alone))
            down = False
            for job in jobs:
                down = down and not alone
                fatal = deaths.get(job.subject, 0) > 0
                if fatal:
                    deaths[job.subject] -= 1
                if down and job.subject not in beside:
                    continue
                down = down or fatal
                try:
                    attempt(run, job=job, work=lambda job=job, down=down: work(run, job, down))
                except Killed:
                    # The process is gone, so nothing it would have cleaned up is.
                    (run.work / 'begun' / job.name).touch()
            return True

        monkeypatch.setattr(module, 'run_graph', stand_in)
        process_images(run, jobs=jobs, told=lambda node: None)
        return run, jobs, rounds

    def work(run, job, killed):
        if killed:
            raise Killed
        write_status(run.statuses, name=job.name,
                     status=Status(job.relative, job.subject, None, 'harmonized', output=job.output))
        return ''

    return process


def states(run) -> dict[str, str]:
    return {status.subject: status.state for status in read_statuses(run.statuses).values()}


def test_one_that_dies_again_when_it_is_alone_is_the_one_and_the_others_go_on(graph):
    run, jobs, rounds = graph(deaths={'01': 9}, beside=('02',))
    assert states(run) == {'01': 'failed', '02': 'harmonized', '03': 'harmonized'}
    assert rounds == [(['01', '02', '03'], False), (['01', '02', '03'], True)]
    record = read_record(record_path(run.output_dir, '01', jobs[0].result))
    assert (record.status, 'was killed' in record.reason) == ('failed', True)


def test_one_that_needs_the_whole_memory_gets_it(graph):
    run, _, rounds = graph(deaths={'02': 1})
    assert set(states(run).values()) == {'harmonized'}
    assert rounds[1] == (['02', '03'], True)


def test_every_image_that_dies_alone_is_told(graph):
    run, _, rounds = graph(deaths={'01': 9, '02': 9, '03': 9})
    assert set(states(run).values()) == {'failed'}
    assert len(rounds) == 2
    assert {status.code for status in read_statuses(run.statuses).values()} == {75}


def test_a_run_that_is_to_stop_at_the_first_failure_says_what_it_did_not_reach(graph):
    run, jobs, rounds = graph(deaths={'01': 9}, stop_on_first_crash=True)
    assert len(rounds) == 1
    assert set(states(run).values()) == {'failed'}
    reasons = {job.subject: read_record(record_path(run.output_dir, job.subject, job.result)).reason for job in jobs}
    assert 'was killed' in reasons['01']
    assert 'was not reached' in reasons['02']
    assert 'was not reached' in reasons['03']


def test_a_graph_that_does_nothing_is_not_tried_for_ever(graph, monkeypatch, tmp_path):
    run, _, rounds = graph(deaths={'01': 1, '02': 1, '03': 1})
    assert len(rounds) == 2
    for path in run.statuses.iterdir():
        path.unlink()
    calls = []
    monkeypatch.setattr(module, 'run_graph', lambda *a, **k: calls.append(k) or True)
    jobs = make_plan(find_scans(run.settings.bids_dir), settings=run.settings, targets=run.targets,
                     weights_sha256=None).jobs
    process_images(run, jobs=jobs, told=lambda node: None)
    assert len(calls) == 2
    assert {status.state for status in read_statuses(run.statuses).values()} == {'failed'}


def test_what_a_scheduler_may_still_work_on_is_neither_tried_again_nor_told_as_killed(graph, monkeypatch):
    run, jobs, _ = graph(deaths={})
    for path in run.statuses.iterdir():
        path.unlink()

    def broken_off(run, *, jobs, told, alone=False):
        calls.append(alone)
        (run.work / 'begun').mkdir(exist_ok=True)
        (run.work / 'begun' / jobs[0].name).touch()
        return False

    calls = []
    monkeypatch.setattr(module, 'run_graph', broken_off)
    process_images(run, jobs=jobs, told=lambda node: None)
    assert calls == [False]
    assert all('was not reached' in status.reason for status in read_statuses(run.statuses).values())


def test_an_image_that_is_not_reached_keeps_the_record_of_its_result(graph):
    run, jobs, _ = graph(deaths={'01': 9}, stop_on_first_crash=True)
    path = record_path(run.output_dir, '02', jobs[1].result)
    (run.output_dir / jobs[1].output).parent.mkdir(parents=True)
    (run.output_dir / jobs[1].output).write_bytes(b'image')
    write_record(ImageRecord({'path': jobs[1].relative}, 'harmonized', output=jobs[1].output), path=path)
    lose(run, job=jobs[1], killed=False)
    assert read_record(path).status == 'harmonized'
    lose(run, job=jobs[1], killed=True)
    assert read_record(path).status == 'failed'


def test_a_target_that_kills_its_process_is_named(graph, make_scan, tmp_path):
    target = make_scan(tmp_path / 't', subject='t', suffix='T1w')
    run, jobs, _ = graph(deaths={}, target_image=target)
    (run.work / 'begun').mkdir(exist_ok=True)
    (run.work / 'begun' / f'target-{run.targets[0].sha256}').touch()
    lose(run, job=jobs[0], killed=False)
    assert 'prepared its target was killed' in read_statuses(run.statuses)[jobs[0].name].reason


def test_a_work_folder_that_takes_no_marks_stops_nothing(graph, monkeypatch):
    def full(path, **how):
        raise OSError(122, 'Disk quota exceeded')

    monkeypatch.setattr(Path, 'touch', full)
    run, _, rounds = graph(deaths={})
    assert len(rounds) == 1
    assert set(states(run).values()) == {'harmonized'}
