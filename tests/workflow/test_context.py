"""The work folder of a run, beside those of other runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bids_distclip.settings import make_settings
from bids_distclip.workflow import context
from bids_distclip.workflow.context import open_work, probe_writable, work_root


@pytest.fixture
def settings_of(tmp_path):
    def make(clean: str):
        return make_settings({}, bids_dir=tmp_path, output_dir=tmp_path / 'out', work_dir=tmp_path / 'work',
                             clean_workdir=clean)

    return make


def left(settings) -> list[str]:
    return sorted(path.name for path in work_root(settings).iterdir())


def test_cleaning_at_the_start_leaves_what_another_run_works_with(settings_of):
    with open_work(settings_of('never'), run_id='dead') as work:
        (work / 'big.npz').write_bytes(b'x')
    with open_work(settings_of('success'), run_id='alive') as other:
        (other / 'needed.npz').write_bytes(b'x')
        with open_work(settings_of('start'), run_id='new') as work:
            assert work.is_dir()
            assert not (work.parent / 'dead').exists()
            assert (other / 'needed.npz').read_bytes() == b'x'
    assert left(settings_of('never')) == []


@pytest.mark.parametrize(('clean', 'stays'), [('never', True), ('start', False), ('success', False)])
def test_the_folder_of_a_run_goes_with_it_unless_it_is_to_stay(settings_of, clean, stays):
    with pytest.raises(RuntimeError), open_work(settings_of(clean), run_id='r') as work:
        raise RuntimeError
    assert work.exists() == stays


def test_where_files_cannot_be_locked_a_run_works_and_cleans_nothing_of_others(settings_of, monkeypatch):
    def refuse(path, **how):
        raise NotImplementedError

    with open_work(settings_of('never'), run_id='dead') as work:
        pass
    monkeypatch.setattr(context, 'FileLock', refuse)
    with open_work(settings_of('start'), run_id='new') as new:
        assert new.is_dir()
        assert work.is_dir()


def test_two_containers_may_look_at_one_folder_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'getpid', lambda: 1)
    unlink, others = Path.unlink, []

    def meanwhile(path, **how):
        if not others:
            others.append(path)
            probe_writable(tmp_path, option='OUT')
        unlink(path, **how)

    monkeypatch.setattr(Path, 'unlink', meanwhile)
    probe_writable(tmp_path, option='OUT')
    assert others
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_held_before_it_is_there_for_others_to_clean(settings_of, monkeypatch):
    held = context._held

    def look(work):
        assert not work.exists()
        return held(work)

    monkeypatch.setattr(context, '_held', look)
    with open_work(settings_of('start'), run_id='r') as work:
        assert work.is_dir()
