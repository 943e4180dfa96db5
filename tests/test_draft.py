"""Files that are put into their place whole."""

from __future__ import annotations

import os

import pytest

from bids_distclip.draft import draft


def break_off(path) -> None:
    with draft(path) as hidden:
        hidden.write_text('half')
        raise RuntimeError


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('old')
    with pytest.raises(RuntimeError):
        break_off(path)
    assert [p.name for p in tmp_path.iterdir()] == ['a.json']
    assert path.read_text() == 'old'
    with draft(path) as hidden:
        hidden.write_text('new')
        assert path.read_text() == 'old'
    assert [p.name for p in tmp_path.iterdir()] == ['a.json']
    assert path.read_text() == 'new'


def test_processes_of_one_number_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'getpid', lambda: 1)
    path = tmp_path / 'a.json'
    with draft(path) as first:
        first.write_text('first')
        with draft(path) as second:
            second.write_text('second')
        assert path.read_text() == 'second'
    assert path.read_text() == 'first'
