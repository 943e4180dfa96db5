"""Rating files: what counts, what is told and left out."""

from __future__ import annotations

import json

import pytest

from bids_distclip.quality.ratings import FORMAT, agreements, disagreements, read_ratings, review_id


def write(folder, rater, ratings, *, name=None, when='2026-01-01'):
    rows = [{'review': r, 'image': f'{r}.nii.gz', 'rating': v, 'rated': when} for r, v in ratings.items()]
    folder.mkdir(exist_ok=True)
    path = folder / f'{name or rater}.json'
    path.write_text(json.dumps({'format': FORMAT, 'version': 1, 'rater': rater, 'ratings': rows}))


def test_of_several_files_of_one_rater_the_latest_word_counts(tmp_path):
    write(tmp_path, 'ann', {'a': 1, 'b': 2}, name='x', when='2026-01-02')
    write(tmp_path, 'ann', {'a': 4}, name='y', when='2026-01-01')
    ratings, notes = read_ratings(tmp_path)
    assert {r.review: r.rating for r in ratings} == {'a': 1, 'b': 2}
    assert notes == []


@pytest.mark.parametrize('content', [
    '{', '[]', '{"format": "other"}', '{"format": "distclip-ratings", "ratings": []}',
    '{"format": "distclip-ratings", "rater": "x", "ratings": [1]}',
    '{"format": "distclip-ratings", "rater": "x", "ratings": [{"review": "a", "rating": 5}]}',
    '{"format": "distclip-ratings", "rater": "x", "ratings": [{"review": "a", "rating": true}]}',
    '[' * 100_000,
])
def test_a_file_that_is_no_rating_file_is_told_and_left_out(tmp_path, content):
    write(tmp_path, 'ann', {'a': 1})
    (tmp_path / 'bad.json').write_text(content)
    ratings, notes = read_ratings(tmp_path)
    assert len(ratings) == len(notes) == 1
    assert 'bad.json was not used' in notes[0]


def test_agreement_is_over_the_images_that_were_rated_by_all_of_a_group(tmp_path):
    write(tmp_path, 'ann', {'a': 1, 'b': 2, 'c': 3})
    write(tmp_path, 'bob', {'a': 1, 'b': 2, 'd': 4})
    write(tmp_path, 'cid', {'a': 2, 'b': 2})
    found = agreements(read_ratings(tmp_path)[0])
    assert [(f.raters, f.images) for f in found] == [
        (('ann', 'bob', 'cid'), 2), (('ann', 'bob'), 2), (('ann', 'cid'), 2), (('bob', 'cid'), 2)]
    assert found[1].kappa == 1
    assert found[0].same == 0.5


def test_the_queue_has_the_widest_disagreement_first_and_no_agreement(tmp_path):
    write(tmp_path, 'ann', {'a': 2, 'b': 1, 'c': 3, 'd': 1, 'e': None})
    write(tmp_path, 'bob', {'a': 3, 'b': 4, 'c': 4, 'd': 2, 'e': 1})
    assert [group[0].review for group in disagreements(read_ratings(tmp_path)[0])] == ['b', 'a']


def test_what_was_seen_has_another_name_when_a_number_of_the_output_changes():
    record = {'source': {'path': 'x'}, 'status': 'harmonized', 'metrics': {'change': {'value': 0.1}}}
    again = {**record, 'warnings': ['new']}
    other = {**record, 'metrics': {'change': {'value': 0.2}}}
    assert review_id(record) == review_id(again) != review_id(other)
