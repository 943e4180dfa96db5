"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from multiprocessing import get_context

import pytest

from bids_distclip.dataset import atomic
from bids_distclip.dataset.outputs import update_scans_tsv
from bids_distclip.errors import CannotWrite, TryAgain


def test_a_file_is_written_once_and_left_alone_while_it_is_the_same(tmp_path):
    path = tmp_path / 'deep' / 'a.json'
    assert atomic.write_json(path, {'a': 1})
    before = path.stat().st_mtime_ns
    assert not atomic.write_json(path, {'a': 1})
    assert path.stat().st_mtime_ns == before
    assert atomic.write_json(path, {'a': 2})
    assert os.listdir(path.parent) == ['a.json']


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / 'a.txt'
    atomic.write_text(path, 'old')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(Exception, match='No space left') as caught:
        atomic.write_text(path, 'new')
    assert caught.value.code == 74
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.txt']


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(CannotWrite) as caught:
        atomic.write_text(tmp_path / 'file' / 'a.txt', 'x')
    assert caught.value.code == 73


def test_json_holds_no_infinities(tmp_path):
    with pytest.raises(ValueError, match='JSON'):
        atomic.write_json(tmp_path / 'a.json', {'a': float('inf')})


def _hold(root, ready, release):
    with atomic.locked(root, name='x'):
        ready.set()
        release.wait(20)


def test_a_lock_that_another_process_holds_is_worth_another_try(tmp_path):
    context = get_context('spawn')
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, release))
    other.start()
    try:
        assert ready.wait(20)
        with pytest.raises(TryAgain) as caught, atomic.locked(tmp_path, name='x', timeout=0.1):
            pass
        assert caught.value.code == 75
    finally:
        release.set()
        other.join()
    with atomic.locked(tmp_path, name='x', timeout=1):
        pass


def _write_rows(root, start):
    for number in range(start, start + 8):
        update_scans_tsv(root, '01', None, {'filename': f'anat/{number:02d}.nii.gz', 'change': number / 7})


def test_rows_written_by_several_processes_at_once_are_all_there(tmp_path):
    context = get_context('spawn')
    workers = [context.Process(target=_write_rows, args=(tmp_path, start)) for start in (0, 8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = (tmp_path / 'sub-01' / 'sub-01_scans.tsv').read_text().splitlines()
    assert lines[0] == 'filename\tchange'
    assert [line.split('\t')[0] for line in lines[1:]] == [f'anat/{n:02d}.nii.gz' for n in range(16)]
