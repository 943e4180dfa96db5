"""The group page and its tables."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from bids_distclip.quality.ratings import FORMAT, review_id
from bids_distclip.quality.record import ImageRecord, find_records, read_record, record_path, write_record
from bids_distclip.reports.group import build_group, read_review
from bids_distclip.reports.spread import conclude, spreads


def made(pairs: list[tuple[float, float]], *, status: str = 'harmonized') -> list[dict]:
    return [
        {
            'status': status, 'source': {'family': 'T1w'}, 'target': {'name': 'p'},
            'metrics': {c: {'before': b, 'value': a} for c in ('class_dark', 'class_middle', 'class_bright')},
        }
        for b, a in pairs
    ]


def test_without_records_there_is_no_group_page(tmp_path):
    assert build_group(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_the_tables_hold_every_image_and_its_numbers(derivative):
    assert build_group(derivative) == derivative / 'group.html'
    with (derivative / 'group_images.tsv').open(newline='') as stream:
        rows = list(csv.DictReader(stream, delimiter='\t'))
    assert [row['subject'] for row in rows] == ['sub-01', 'sub-01', 'sub-01', 'sub-02', 'sub-03']
    assert {row['status'] for row in rows} == {'harmonized', 'skipped', 'failed'}
    assert float(rows[-1]['brain_median']) == pytest.approx(500 * 0.8 / 600, rel=0.02)
    assert rows[0]['brain_median'] == 'n/a'


def test_the_spread_is_mean_and_standard_deviation_over_images():
    found = {s.tissue: s for s in spreads(made([(0.2, 0.5), (0.4, 0.5), (0.6, 0.5)]))}['class_dark']
    assert found.images == 3
    assert found.mean == pytest.approx((0.4, 0.5))
    assert found.sd == pytest.approx((0.2, 0.0))
    assert found.variation == pytest.approx((0.5, 0.0))


def test_synthetic_images_and_single_images_have_no_spread():
    assert spreads(made([(0.2, 0.5), (0.4, 0.5)], status='synthetic')) == []
    assert spreads(made([(0.2, 0.5)])) == []


def test_two_images_are_too_few_to_tell():
    assert conclude(made([(0.2, 0.5), (0.4, 0.5)])) == ['T1w to p: 2 images are too few to tell.']


def test_agreement_is_told_with_its_factor_and_its_fragility():
    sure = conclude(made([(0.2, 0.45), (0.4, 0.5), (0.6, 0.55), (0.5, 0.5)]))[0]
    assert 'vary less after' in sure
    assert 'One image decides' not in sure
    fragile = conclude(made([(0.2, 0.5), (0.5, 0.4), (0.5, 0.5), (0.5, 0.6)]))[0]
    assert 'One image decides' in fragile


def test_fluid_near_zero_does_not_decide_alone():
    records = made([(0.4, 0.5), (0.5, 0.5), (0.6, 0.5)])
    for record, value in zip(records, (0.001, 0.01, 0.02), strict=True):
        record['metrics']['class_dark'] = {'before': 0.1, 'value': value}
    assert 'vary less after' in conclude(records)[0]


def test_planted_scripts_stay_text_and_tables_stay_tables(tmp_path):
    evil = '<script>alert(1)</script>\tx\ny'
    record = ImageRecord(
        source={'path': evil, 'family': evil}, status='harmonized', target={'name': evil},
        metrics={evil: {'value': 1.0, 'label': evil}},
    )
    write_record(record, path=record_path(tmp_path, '01', 'x'))
    html = build_group(tmp_path).read_text()
    assert '<script>alert' not in html
    assert html.count('<script') == 1
    with (tmp_path / 'group_images.tsv').open(newline='') as stream:
        rows = list(csv.reader(stream, delimiter='\t', quoting=csv.QUOTE_NONE))
    assert len(rows) == 2
    assert len(rows[0]) == len(rows[1])


def rate(out, rater, values):
    folder = out / 'ratings'
    folder.mkdir(exist_ok=True)
    records = [read_record(path).to_dict() for path in find_records(out)]
    rows = [{'review': review_id(r), 'image': r['source']['path'], 'rating': v, 'comment': '<b>x'}
            for r, v in zip(records, values, strict=True)]
    (folder / f'{rater}.json').write_text(json.dumps({'format': FORMAT, 'rater': rater, 'ratings': rows}))


def test_ratings_are_read_back_with_agreement_queue_and_tables(derivative, tmp_path):
    out = shutil.copytree(derivative, tmp_path / 'out')
    rate(out, 'ann', [3, 4, 4, 1, 2])
    rate(out, 'bob', [3, 4, 4, 4, 2])
    (out / 'sub-02.html').write_text('')
    html = build_group(out).read_text()
    assert 'To look at together' in html
    assert 'href="sub-02.html#image-1"' in html
    assert 'too few images in common to tell' in html
    assert '&lt;b&gt;x' in html
    with (out / 'group_agreement.tsv').open(newline='') as stream:
        row = next(csv.DictReader(stream, delimiter='\t'))
    assert (row['raters'], row['images'], row['same']) == ('ann, bob', '5', '0.8')
    assert read_review(out).columns['sub-02/anat/sub-02_desc-harmonized_T1w.nii.gz'] == {
        'distclip_rating': 2.5, 'distclip_raters': 2}
    shutil.rmtree(out / 'ratings')
    build_group(out)
    assert not (out / 'group_agreement.tsv').exists()


def test_ratings_of_images_that_were_made_anew_do_not_count(derivative, tmp_path):
    out = shutil.copytree(derivative, tmp_path / 'out')
    rate(out, 'ann', [3, 4, 4, 1, 2])
    path = next(iter(find_records(out, subject='02')))
    path.write_text(path.read_text().replace('"status": "harmonized"', '"status": "synthetic"'))
    html = build_group(out).read_text()
    assert '1 rating of images that are not here, or were made anew since, did not count' in html


def test_a_record_that_cannot_be_read_is_told_and_left_out(derivative, tmp_path):
    out = shutil.copytree(derivative, tmp_path / 'out')
    next(iter(find_records(out, subject='02'))).write_text('{"half": ')
    html = build_group(out).read_text()
    assert 'sub-02/figures/sub-02_T1w_record.json cannot be read' in html
    assert 'sub-03' in html
