"""The acquisition a user points at."""

from __future__ import annotations

import json

import pytest

from bids_distclip.acquisition.target import read_target_metadata
from bids_distclip.errors import BadData, UsageError


def test_a_sidecar_gives_its_values_and_the_hint_of_its_name(tmp_path):
    path = tmp_path / 'sub-01_T1w.json'
    path.write_text(json.dumps({'EchoTime': 0.003, 'Manufacturer': 'UIH'}))
    found = read_target_metadata(path)
    assert (found.echo_time, found.manufacturer, found.suffix) == (0.003, 'United Imaging', 'T1w')
    assert found.provenance['echo_time'] == 'sidecar:sub-01_T1w.json'


@pytest.mark.parametrize('text', ['{', '[1, 2]', '{}', '{"TaskName": "rest"}'])
def test_a_sidecar_without_an_acquisition_is_bad_data(tmp_path, text):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(BadData):
        read_target_metadata(path)


@pytest.mark.parametrize('name', ['missing.json', 'missing', 'sub-01_T1w.nii.gz'])
def test_a_missing_file_or_an_image_is_a_usage_error(tmp_path, name):
    if name.endswith('.nii.gz'):
        (tmp_path / name).write_bytes(b'')
    with pytest.raises(UsageError) as caught:
        read_target_metadata(tmp_path / name)
    assert caught.value.cure


def test_a_folder_is_read_as_dicom(tmp_path):
    with pytest.raises(BadData, match='no DICOM'):
        read_target_metadata(tmp_path)
