"""What the group says of sites and of what must stay."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from bids_distclip.quality.record import ImageRecord, record_path, write_record
from bids_distclip.reports.effect import effects, gather_looks, outliers
from bids_distclip.reports.group import build_group
from bids_distclip.reports.map import draw_style, map_points

EVIL = '"><script>alert(1)<img src=x onerror=alert(2)>'


def dataset(people: int, *, sites: str = 'AB', shift: float = 0.5, left: float = 0.0) -> list[tuple[str, dict]]:
    """Return subject and record of travelers whose sites shift intensities, and by how much they still do after."""
    draw = np.random.default_rng(0)
    found = []
    for person in range(people):
        own = np.sort(draw.uniform(0, 1, 20))
        for number, site in enumerate(sites):
            def look(gap, *, own=own, number=number):
                noise = draw.normal(0, 0.02, 20)
                return {'quantiles': (own + gap * number + noise).tolist(), 'sharpness': 1.0}

            record = {
                'status': 'harmonized', 'source': {'path': f'sub-{person:02d}/ses-{site}/x.nii.gz', 'family': 'T1w'},
                'target': {'name': 'p'}, 'look': {'before': look(shift), 'after': look(left)},
            }
            found.append((f'sub-{person:02d}', record))
    return found


def told(found, **options):
    keep = options.pop('keep', ())
    looks, source = gather_looks(found, participants=options.pop('participants', {}), **options)
    rows, found = effects(looks, keep=keep)
    return rows, [one.whole for one in found], source


def test_a_site_that_was_removed_is_told_as_removed_with_its_chance():
    rows, sentences, source = told(dataset(6))
    assert source == 'the session'
    assert 'can no longer be told better than by chance' in sentences[0]
    before, after = rows
    assert (before['score'], before['p'] < 0.05, after['p'] > 0.05) == (1.0, True, True)
    assert before['between_sites'] > 2 * after['between_sites']


def test_a_site_that_is_still_there_is_told_as_still_there():
    assert 'site: it can still be told from the images.' in told(dataset(6, left=0.5))[1][0]


def test_on_the_map_sites_lie_apart_before_and_contrast_families_do_not():
    found = dataset(4)
    others = [(who, {**raw, 'source': {**raw['source'], 'family': 'T2w'},
                     'look': {when: {'quantiles': [5 + q for q in look['quantiles']], 'sharpness': 1.0}
                              for when, look in raw['look'].items()}}) for who, raw in found]
    looks, _ = gather_looks([*found, *others], participants={})
    points, share = map_points(looks)
    before, after = (part[:, 0] for part in np.split(points, 2))
    sites, families = (np.array([getattr(look, name) for look in looks]) for name in ('site', 'family'))
    apart = abs(before[sites == 'ses-A'].mean() - before[sites == 'ses-B'].mean())
    assert apart > 3 * abs(after[sites == 'ses-A'].mean() - after[sites == 'ses-B'].mean())
    assert apart > 10 * abs(before[families == 'T1w'].mean() - before[families == 'T2w'].mean())
    assert 0.3 < share[0] <= 1


def test_images_of_unknown_site_are_counted_and_are_no_site(tmp_path):
    for number, (subject, raw) in enumerate(dataset(4)):
        write_record(ImageRecord(**raw), path=record_path(tmp_path, subject, f'x{number}'))
    people = {f'sub-{n:02d}': {'site': 'n/a' if n == 3 else f'place{n % 2}'} for n in range(4)}
    html = build_group(tmp_path, participants=people).read_text()
    assert '2 sites, from the column site of participants.tsv: place0, place1.' in html
    assert 'Of 2 images the site is not known.' in html


def test_scanner_and_field_strength_are_asked_for_where_they_sort_images_in_another_way_than_sites():
    found = dataset(6, sites='ABC')
    for _, record in found:
        strength = 1.494 if 'ses-C' in record['source']['path'] else 2.89
        record['acquisition'] = {'manufacturer': 'GE', 'field_strength': strength}
    people = {f'sub-{n:02d}': {'site': f'place{n % 2}'} for n in range(6)}
    rows, sentences, _ = told(found, participants=people)
    # Vendor and model are the same, so that the scanner sorts as the field strength does.
    assert [row['told'] for row in rows[::2]] == ['site', 'scanner']
    assert 'scanner: it can no longer be told better than by chance' in sentences[1]
    for _, record in found[:6]:
        record['acquisition']['manufacturer'] = 'Philips'
    rows, sentences, _ = told(found, participants=people)
    assert [row['told'] for row in rows[::2]] == ['site', 'scanner', 'field strength']
    assert rows[4]['classes'] == 2
    assert [row['told'] for row in told(found)[0][::2]] == ['site', 'field strength']


def test_two_images_per_site_are_too_few_to_tell():
    rows, sentences, _ = told(dataset(2))
    assert sentences == ['T1w to p, site: 4 images of 2 people are too few to tell.']
    assert rows[0]['between_sites'] > rows[1]['between_sites']


def test_where_permuted_labels_are_often_all_right_nothing_is_told():
    assert told(dataset(4))[1][0].endswith('8 images are too few to tell: permuted labels are often all right.')


def test_sites_come_from_the_named_column_first_and_then_from_metadata():
    found = dataset(6)
    people = {f'sub-{n:02d}': {'hospital': 'X' if n < 3 else 'Y'} for n in range(6)}
    assert told(found, participants=people, column='hospital')[2] == 'the column hospital of participants.tsv'
    for number, (_, record) in enumerate(found):
        record['acquisition'] = {'manufacturer': 'GE' if number % 2 else 'Philips', 'field_strength': 3.0}
    looks, source = gather_looks(found, participants={})
    assert source == 'the scanner in the metadata'
    assert {look.site for look in looks} == {'GE 3 T', 'Philips 3 T'}


def test_what_must_stay_is_asked_for_and_too_few_people_are_told():
    people = {f'sub-{n:02d}': {'age': str(20 + n), 'sex': 'F'} for n in range(4)}
    sentences = told(dataset(4), participants=people, keep=('age', 'sex', 'height'))[1]
    assert sentences[1].endswith('age: 8 images of 4 people are too few to tell.')
    assert sentences[2].endswith('sex: all images have the same, so there is nothing to tell apart.')
    assert sentences[3].endswith('height: nothing is known of it.')


def test_age_and_sex_are_asked_for_if_they_are_known_and_nobody_named_a_column(tmp_path):
    for number, (subject, raw) in enumerate(dataset(4)):
        write_record(ImageRecord(**raw), path=record_path(tmp_path, subject, f'x{number}'))
    people = {f'sub-{n:02d}': {'age': str(20 + n), 'sex': 'FM'[n % 2], 'group': 'A'} for n in range(4)}
    for given, asked in (((), ['age', 'sex']), (('group',), ['group'])):
        build_group(tmp_path, participants=people, keep=given)
        rows = json.loads((tmp_path / 'group.json').read_text())['site']
        assert [row['told'] for row in rows[::2]] == ['site', *asked]
    assert 'Nothing was asked of what must stay' not in (tmp_path / 'group.html').read_text()
    assert 'Nothing was asked of what must stay' in build_group(tmp_path).read_text()


def test_an_image_that_lies_out_is_told_with_its_distance_and_leads_to_its_page(tmp_path):
    found = dataset(6, left=0.0)
    for _, raw in found:
        raw['look']['after']['quantiles'] = np.linspace(0, 1, 20).tolist()
    found[3][1]['look']['after']['quantiles'] = np.linspace(0.5, 1.5, 20).tolist()
    ((look, own, usual),) = outliers(gather_looks(found, participants={})[0])
    assert (look.subject, look.place, own, usual) == ('sub-01', 'image-2', pytest.approx(0.5), 0)
    for number, (subject, raw) in enumerate(found):
        write_record(ImageRecord(**raw), path=record_path(tmp_path, subject, f'x{number}'))
    (tmp_path / 'sub-01.html').write_text('')
    html = build_group(tmp_path).read_text()
    assert '<a href="sub-01.html#image-2">x.nii.gz</a>: 0.5 from the median image' in html


def test_the_map_of_mrclip_is_drawn_where_the_engine_told_of_it(tmp_path):
    found = dataset(3)
    assert draw_style(gather_looks(found, participants={})[0]) is None
    for _, raw in found:
        raw['engine'] = {'style': {'map': {'source': [0.1, 0.2], 'output': [0.3, 0.4], 'target': [0.3, 0.5]}}}
    assert draw_style(gather_looks(found, participants={})[0]).address.startswith('data:image/webp')
    for number, (subject, raw) in enumerate(found):
        write_record(ImageRecord(**raw), path=record_path(tmp_path, subject, f'x{number}'))
    assert 'Images as MR-CLIP sees them' in build_group(tmp_path).read_text()


def test_the_page_shows_the_map_and_writes_every_number_as_tsv_and_json(tmp_path):
    for number, (subject, raw) in enumerate(dataset(6)):
        record = ImageRecord(**raw)
        write_record(record, path=record_path(tmp_path, subject, f'x{number}'))
    people = {f'sub-{n:02d}': {'site': f'{EVIL}{n % 2}', EVIL: EVIL} for n in range(6)}
    html = build_group(tmp_path, participants=people, keep=(EVIL,)).read_text()
    assert 'data:image/webp' in html
    assert html.count('<script') == 1
    assert '<img src=x' not in html
    with (tmp_path / 'group_site.tsv').open(newline='') as stream:
        rows = list(csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE))
    content = json.loads((tmp_path / 'group.json').read_text())
    assert len(content['site']) == len(rows) == 4
    assert content['site'][0]['between_sites'] == pytest.approx(float(rows[0]['between_sites']), rel=1e-3)
    assert content['sites_from'] == 'the column site of participants.tsv'
    assert len(content['images']) == 12
    # What both maps are drawn from; what is the same before and after stands once, a number that stayed twice.
    assert len(content['maps']) == 12
    assert all(len(one['intensities'][when]) == 2 for one in content['maps'] for when in ('before', 'after'))
    assert all(one['distance'] > one['median_distance'] for one in content['far_from_the_others'])
    assert '>T1w</td>' in html
    assert 'T1w → T1w' not in html
    assert ' → ' in html
