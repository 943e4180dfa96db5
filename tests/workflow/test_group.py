"""The group level over what lies in an output folder."""

from __future__ import annotations

import csv
import json

import pytest

from bids_distclip.cli.app import main
from bids_distclip.quality.ratings import FORMAT, review_id
from bids_distclip.quality.record import ImageRecord, record_path, write_record


@pytest.fixture
def out(tmp_path):
    """Two harmonized images with their records and tables, one of them rated."""
    out = tmp_path / 'out'
    for subject in ('01', '02'):
        name = f'anat/sub-{subject}_desc-harmonized_T1w.nii.gz'
        record = ImageRecord(source={'path': f'sub-{subject}/anat/sub-{subject}_T1w.nii.gz'}, status='harmonized',
                             output=f'sub-{subject}/{name}')
        write_record(record, path=record_path(out, subject, f'sub-{subject}_T1w'))
        (out / f'sub-{subject}' / f'sub-{subject}_scans.tsv').write_text(f'filename\tchange\n{name}\t0.1\n')
    ratings = [{'review': review_id(record.to_dict()), 'image': 'x', 'rating': 3}]
    (out / 'ratings').mkdir()
    content = {'format': FORMAT, 'rater': 'ann', 'ratings': ratings}
    (out / 'ratings' / 'ratings_ann.json').write_text(json.dumps(content))
    return out


def rows(out, subject: str) -> list[dict[str, str]]:
    with (out / f'sub-{subject}' / f'sub-{subject}_scans.tsv').open(newline='') as stream:
        return list(csv.DictReader(stream, delimiter='\t'))


def test_ratings_become_columns_of_the_scans_tables_and_go_when_their_file_goes(out, capsys):
    assert main([str(out / 'nowhere'), str(out), 'group']) == 0
    assert 'and the ratings of 1 *_scans.tsv' in capsys.readouterr().out
    (rated,), (other,) = rows(out, '02'), rows(out, '01')
    assert (rated['distclip_rating'], rated['distclip_raters'], rated['change']) == ('3', '1', '0.1')
    assert 'distclip_rating' not in other
    (out / 'ratings' / 'ratings_ann.json').unlink()
    assert main([str(out / 'nowhere'), str(out), 'group']) == 0
    assert rows(out, '02') == [{'filename': 'anat/sub-02_desc-harmonized_T1w.nii.gz', 'change': '0.1'}]


def test_a_group_page_that_cannot_be_made_is_told_fails_nothing_and_takes_no_table_with_it(out, capsys):
    (out / 'group.html' / 'in the way').mkdir(parents=True)
    assert main([str(out / 'nowhere'), str(out), 'group']) == 0
    assert 'group: the page could not be made' in capsys.readouterr().err
    assert (out / 'group_images.tsv').read_text().count('harmonized') == 2
    assert rows(out, '02')[0]['distclip_rating'] == '3'
