"""Records of images on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.quality.record import ImageRecord, find_records, read_record, record_path, write_record


def make(path: str = 'sub-01/anat/sub-01_T1w.nii.gz', **more) -> ImageRecord:
    return ImageRecord(source={'path': path}, status=more.pop('status', 'harmonized'), **more)


def test_a_record_comes_back_from_disk_as_it_went(tmp_path):
    record = make(
        acquisition=Acquisition(echo_time=0.003, notes=('odd',)).to_dict(),
        metrics={'change': {'value': 0.25, 'unit': 'normalized', 'meaning': 'm'}},
        warnings=('look here',),
        figures={'source': 'a.webp'},
    )
    path = write_record(record, path=record_path(tmp_path, 'sub-01', 'sub-01_T1w'))
    assert path == tmp_path / 'sub-01' / 'figures' / 'sub-01_T1w_record.json'
    back = read_record(path)
    assert back.to_dict() == record.to_dict()
    assert back.warnings == ('look here',)


def test_numpy_numbers_paths_and_infinities_become_plain_json(tmp_path):
    engine = {'seconds': np.float32(1.5), 'planes': np.array([0, 2]), 'weights': Path('a/b'), 'x': np.inf}
    record = make(engine=engine)
    path = write_record(record, path=tmp_path / 'r_record.json')
    raw = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert raw['engine'] == {'seconds': 1.5, 'planes': [0, 2], 'weights': 'a/b', 'x': None}


def test_an_unknown_status_is_refused():
    with pytest.raises(ValueError, match='status'):
        make(status='perhaps')


def test_records_are_found_by_subject_and_no_half_written_file_remains(tmp_path):
    for subject in ('01', '02'):
        write_record(make(), path=record_path(tmp_path, subject, f'sub-{subject}_T1w'))
    assert [p.parts[-3] for p in find_records(tmp_path)] == ['sub-01', 'sub-02']
    assert [p.parts[-3] for p in find_records(tmp_path, subject='sub-02')] == ['sub-02']
    assert not list(tmp_path.glob('**/.*'))


def test_keys_of_a_later_version_are_ignored_and_other_json_is_refused(tmp_path):
    assert ImageRecord.from_dict({**make().to_dict(), 'later': 1}).status == 'harmonized'
    other = tmp_path / 'other.json'
    other.write_text('{"a": 1}')
    with pytest.raises(ValueError, match='not the record'):
        read_record(other)
