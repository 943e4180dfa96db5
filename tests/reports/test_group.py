"""The group page and its tables."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from bids_distclip.quality.parts import TISSUE_PARTS
from bids_distclip.quality.ratings import FORMAT, review_id
from bids_distclip.quality.record import ImageRecord, find_records, read_record, record_path, write_record
from bids_distclip.reports.group import build_group, read_review
from bids_distclip.reports.spread import conclude, members, spreads


def made(pairs: list[tuple[float, float]], *, status: str = 'harmonized') -> list[dict]:
    return [
        {
            'status': status, 'source': {'family': 'T1w'}, 'target': {'name': 'p'},
            'metrics': {c: {'before': b, 'value': a} for c in ('class_dark', 'class_middle', 'class_bright')},
        }
        for b, a in pairs
    ]


def grouped(records: list[dict], *, sites: str = ''):
    """Return records as the group sees them; ``sites`` is a letter for each, and every person was at every site."""
    kinds = max(1, len(set(sites)))
    return members((f'sub-{number // kinds}', site, record)
                   for number, (record, site) in enumerate(zip(records, sites or [''] * len(records), strict=True)))


def said(records: list[dict], **options) -> list[str]:
    return [one.whole for one in conclude(grouped(records, **options))]


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


def test_images_compared_by_brightness_are_left_out_where_more_are_compared_by_tissue():
    records = made([(0.2, 0.5), (0.4, 0.5), (0.6, 0.5)])
    for record in records[1:]:
        record['metrics'] = {name: {'before': 0.3, 'value': 0.4} for name in TISSUE_PARTS}
    found = spreads(grouped(records))
    assert [spread.tissue for spread in found] == list(TISSUE_PARTS)
    assert {spread.images for spread in found} == {2}


def test_the_spread_is_mean_and_standard_deviation_over_images():
    found = {s.tissue: s for s in spreads(grouped(made([(0.2, 0.5), (0.4, 0.5), (0.6, 0.5)])))}['class_dark']
    assert found.images == 3
    assert found.mean == pytest.approx((0.4, 0.5))
    assert found.sd == pytest.approx((0.2, 0.0))
    assert found.variation == pytest.approx((0.5, 0.0))


def test_synthetic_images_and_single_images_have_no_spread():
    assert spreads(grouped(made([(0.2, 0.5), (0.4, 0.5)], status='synthetic'))) == []
    assert spreads(grouped(made([(0.2, 0.5)]))) == []


def test_two_images_are_too_few_to_tell():
    assert said(made([(0.2, 0.5), (0.4, 0.5)])) == [
        'T1w to p, intensities over all images: 2 images are too few to tell.']


def test_agreement_is_told_with_its_factor_and_its_fragility():
    sure = said(made([(0.2, 0.45), (0.4, 0.5), (0.6, 0.55), (0.5, 0.5)]))[0]
    assert 'vary less after' in sure
    assert 'One image decides' not in sure
    fragile = said(made([(0.2, 0.5), (0.5, 0.4), (0.5, 0.5), (0.5, 0.6)]))[0]
    assert 'One image decides' in fragile


def test_what_sites_differ_by_is_told_apart_from_what_people_differ_by():
    # Three people of different brightness; site B adds 0.2 before and 0.02 after.
    pairs = [(own + 0.2 * b, own + 0.02 * b) for own in (0.3, 0.5, 0.6) for b in (0, 1)]
    found = {s.tissue: s for s in spreads(grouped(made(pairs), sites='ABABAB'))}['class_dark']
    assert found.sites == 2
    assert found.between == pytest.approx((0.2 / 2**0.5, 0.02 / 2**0.5))
    assert said(made(pairs), sites='ABABAB')[0] == (
        'T1w to p, intensities between sites: the means of 2 sites differ less after than before, by a factor of 0.10 '
        '(0.10 to 0.10 when any one person is left out). By part: darkest intensity class 0.10, middle intensity class '
        '0.10, brightest intensity class 0.10.')


def test_parts_of_the_brain_that_get_worse_are_not_hidden_in_one_factor():
    # Dark gets alike, bright apart.
    records = [{'status': 'harmonized', 'source': {'family': 'T1w'}, 'target': {'name': 'p'}, 'metrics': {
        'class_dark': {'value': 0.2, 'before': 0.2 + 0.1 * n}, 'class_middle': {'value': 0.5, 'before': 0.5},
        'class_bright': {'value': 0.8 + 0.02 * n, 'before': 0.8 + 0.01 * n}}} for n in range(3)]
    text = said(records)[0]
    assert 'vary less after' in text
    assert text.endswith(' By part: darkest intensity class 0.00, middle intensity class from none, '
                         'brightest intensity class 2.00.')


def test_images_known_by_brightness_alone_are_counted_where_tissues_are_compared():
    tissue = [{'status': 'harmonized', 'source': {'family': 'T1w'}, 'target': {'name': 'p'}, 'metrics': {
        name: {'value': 0.5 + 0.01 * n, 'before': 0.5 + 0.02 * n}
        for name in ('white_matter', 'cortical_gray', 'cerebrospinal_fluid')}} for n in range(3)]
    text = said([*tissue, *made([(0.2, 0.5)])])[0]
    assert '3 images vary less' in text
    assert text.endswith(' 1 more is known by classes of brightness alone and left out.')


def test_two_people_at_two_sites_are_too_few_to_tell():
    told = said(made([(0.2, 0.5), (0.4, 0.5)] * 2), sites='ABAB')
    assert told[0].endswith('4 images of 2 people at 2 sites are too few to tell.')


def test_an_image_of_unknown_site_counts_for_the_images_and_for_no_site():
    pairs = [(0.3, 0.3), (0.5, 0.5), (0.4, 0.4)]
    groups = members((f'sub-{n}', site, record) for n, (record, site) in enumerate(zip(made(pairs), 'AB_', strict=True))
                     for site in [site.strip('_')])
    assert {(s.images, s.sites) for s in spreads(groups)} == {(3, 2)}


def test_fluid_near_zero_does_not_decide_alone():
    records = made([(0.4, 0.5), (0.5, 0.5), (0.6, 0.5)])
    for record, value in zip(records, (0.001, 0.01, 0.02), strict=True):
        record['metrics']['class_dark'] = {'before': 0.1, 'value': value}
    assert 'vary less after' in said(records)[0]


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


def test_the_group_says_which_images_to_look_at_again_and_which_were_left_each_reason_once(derivative, tmp_path):
    out = shutil.copytree(derivative, tmp_path / 'out')
    for subject in ('01', '02', '03'):
        (out / f'sub-{subject}.html').write_text('')
    html = build_group(out).read_text()
    assert '5 images of 3 people: 3 harmonized and to be looked at again, 1 not processed, 1 failed.' in html
    part = html[html.index('What to look at'):html.index('id="images"')]
    assert part.count('The slices are 4 mm thick.') == 1
    for address in ('sub-01.html#image-3', 'sub-02.html#image-1', 'sub-03.html#image-1'):
        assert f'<a href="{address}">' in part
    assert 'The FLAIR image is no good.' in part
    assert html.count('<span class="badge warned">look again</span>') == 3
    with (out / 'group_images.tsv').open(newline='') as stream:
        rows = list(csv.DictReader(stream, delimiter='\t'))
    assert ['The slices are 4 mm thick.' in row['look_again'] for row in rows] == [False, True, False, True, True]
    assert rows[0]['look_again'] == 'n/a'
