"""The record of a run survives its way to TOML and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bids_distclip.errors import UsageError
from bids_distclip.settings import Settings, make_settings, read_config


def full() -> Settings:
    return make_settings(
        {}, bids_dir='/data', output_dir='/out', levels=('participant', 'group'), participants=('01',),
        derivatives={'smriprep': '/deriv'}, mem_gb=8.0, target_image='/t_T1w.nii.gz', target_protocol=('a',), verbose=1,
    )


def test_settings_come_back_from_toml_as_they_went(tmp_path):
    path = tmp_path / 'config.toml'
    path.write_text(full().to_toml())
    assert make_settings(read_config(path)) == full()


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        full().nprocs = 4


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_settings({}, bids_dir='data', output_dir='out', derivatives={'x': 'deriv'})
    assert settings.bids_dir == tmp_path / 'data'
    assert settings.derivatives == {'x': Path(tmp_path / 'deriv')}


def test_a_setting_nobody_knows_is_refused_by_name():
    with pytest.raises(UsageError, match='colour'):
        make_settings({'colour': 'red'}, bids_dir='/data', output_dir='/out')
