"""The subject page: what it says, what it holds, and that nothing planted in the data runs in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from bids_distclip.acquisition.record import VALUE_FIELDS, Acquisition
from bids_distclip.quality.record import find_records, read_record
from bids_distclip.reports.numbers import number_rows
from bids_distclip.reports.participant import _dataset_id, build_page

EVIL = '"\'><script>alert(1)</script><img src=x onerror=alert(2)>'


class Tags(HTMLParser):
    """Collect the elements, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r'\s+', ' ', ' '.join(self.words))


@pytest.fixture
def page(derivative, tmp_path):
    records = [read_record(path) for path in find_records(derivative, subject='01')]
    path = build_page(derivative, 'sub-01', records, out=tmp_path / 'page.html')
    return path.read_text(encoding='utf-8')


def test_the_page_lies_beside_the_subject_and_no_half_page_remains(derivative):
    records = [read_record(path).to_dict() for path in find_records(derivative, subject='02')]
    assert build_page(derivative, '02', records) == derivative / 'sub-02.html'
    assert not list(derivative.glob('.*'))


def test_the_verdict_of_every_image_is_said_in_a_sentence(page):
    text = Tags(page).text
    assert 'Harmonized to the image sub-99/anat/sub-99_T1w.nii.gz.' in text
    assert 'The image was not processed. The FLAIR image is no good.' in text
    assert 'No output was written. The T2w image is no good.' in text
    assert 'Take another.' in text
    assert 'Look again before you use it: The slices are 4 mm thick.' in text


def test_known_missing_and_doubtful_metadata_are_told_apart(page):
    assert '3 of 14 fields are known; missing: ManufacturersModelName, MagneticFieldStrength' in page
    assert 'not known' in page
    assert 'sidecar: sub-01_T1w.json' in page
    rows = re.findall(r'<tr class="doubtful">.*?</tr>', page, flags=re.DOTALL)
    assert len(rows) == 1
    assert 'Repetition time' in rows[0]


def test_findings_of_the_guard_are_listed_largest_first_and_lead_to_their_slices(page):
    text = Tags(page).text
    assert text.index('Structure lost, 0.6 of 1, at') < text.index('Structure invented, 0.4 of 1, at')
    targets = re.findall(r'<li><a href="#(image-\d-finding-\d)">', page)
    assert len(targets) == 2
    for target in targets:
        figure = page[page.index(f'<figure id="{target}"'):]
        assert 'data:image/webp' in figure[: figure.index('</figure>')]


def test_an_image_without_anything_odd_is_not_warned_of(tmp_path):
    html = build_page(tmp_path, '01', [{'status': 'harmonized', 'target': {'name': 'p'}}]).read_text()
    assert 'Harmonized to p.' in html
    assert 'Look again' not in html


def test_an_output_less_like_the_target_is_to_be_looked_at_again_and_a_noisier_background_is_not(tmp_path):
    worse = {'value': 0.3, 'before': 0.1}
    record = {'status': 'harmonized', 'target': {'name': 'p'}, 'metrics': {'background_leak': worse}}
    assert 'Look again' not in build_page(tmp_path, '01', [record]).read_text()
    record['metrics'] = {'histogram_distance': worse}
    html = build_page(tmp_path, '01', [record]).read_text()
    assert 'The output looks less like the target than the source did.' in html


def row_of(page: str, label: str) -> str:
    return Tags(re.search(rf'<tr><th scope="row">{label}.*?</tr>', page, flags=re.DOTALL).group()).text


def test_numbers_stand_beside_the_source_and_are_judged_where_a_comparison_or_a_measured_limit_decides(page):
    text = Tags(page).text
    assert 'better than the source' in row_of(page, 'Distance to the target') or 'worse' in row_of(page, 'Distance')
    assert 'within the limit at most 0.06' in ' '.join(row_of(page, 'Structure lost').split())
    assert 'limit' not in row_of(page, 'Median in the brain')
    table = text[text.index(' Judged '):]
    places = [table.index(words) for words in ('Judged', 'Structure lost', 'without a verdict', 'Median')]
    assert places == sorted(places)


@pytest.mark.parametrize(('engine', 'value', 'said'), [
    ('distclip', 0.07, 'past the limit'), ('distclip', 0.05, 'within the limit'), ('nyul', 0.07, None),
])
def test_a_number_is_held_against_the_limits_of_the_engine_they_were_measured_on(tmp_path, engine, value, said):
    record = {'status': 'harmonized', 'engine': {'engine': engine}, 'metrics': {'structure_lost': {'value': value}}}
    row = row_of(build_page(tmp_path, '01', [record]).read_text(), 'Structure lost')
    assert said in row if said else 'limit' not in row


@pytest.mark.parametrize(('name', 'value', 'said'), [
    ('target_after', 0.9, 'better'), ('target_after', 0.5, 'worse'), ('target_after', 0.7, 'as in'),
    ('background_leak', 0.9, 'worse'), ('background_leak', 0.5, 'better'),
])
def test_more_is_better_for_some_numbers_and_worse_for_others(name, value, said):
    (row,) = number_rows({'metrics': {name: {'value': value, 'before': 0.7}}})
    assert row['judgement'].startswith(said)


@pytest.mark.parametrize(('value', 'said'), [(0.973, 'worse'), (0.984, 'better'), (0.979, 'as in')])
def test_of_a_likeness_counts_what_is_missing_to_one(value, said):
    (row,) = number_rows({'metrics': {'target_after': {'value': value, 'before': 0.978}}})
    assert row['judgement'].startswith(said)


def test_where_the_guard_found_no_place_the_page_says_so(tmp_path):
    metrics = {'structure_lost_peak': {'value': 0.06}, 'structure_invented_peak': {'value': 0.02}}
    record = {'status': 'harmonized', 'metrics': metrics}
    quiet = 'no place changed by 0.1 of 1 or more (largest: 0.06 lost, 0.02 invented)'
    assert quiet in build_page(tmp_path, '01', [record]).read_text()
    record['findings'] = [{'kind': 'lost', 'value': 0.2, 'place': [1.0, 2.0, 3.0], 'figure': ''}]
    assert 'no place changed' not in build_page(tmp_path, '01', [record]).read_text()


def test_below_the_verdict_stands_how_much_was_changed_what_limits_say_and_what_is_worse(page, tmp_path):
    assert 'The brain was changed by 0.' in Tags(page).text
    record = {'status': 'harmonized', 'engine': {'engine': 'distclip'}, 'metrics': {
        'change': {'value': 0.03}, 'structure_lost': {'value': 0.01}, 'structure_invented': {'value': 0.9},
        'target_after': {'value': 0.55, 'before': 0.74}}}
    text = Tags(build_page(tmp_path, '01', [record]).read_text()).text
    for said in ('The brain was changed by 0.0300 on average', '1 of 2 limits for trusting a result are kept.',
                 'To MR-CLIP it looks farther from the target (likeness 0.740 before, 0.550 after).'):
        assert said in text
    record['metrics'] |= {'output_family': {'value': 0.0}, 'background_leak': {'value': 0.2, 'before': 0.1},
                          'structure_invented': {'value': 0.01}}
    text = Tags(build_page(tmp_path, '01', [record]).read_text()).text
    for said in ('All 2 limits', 'most are of another contrast family.',
                 'Worse than in the source: Signal outside the head (0.100 before, 0.200 after).'):
        assert said in text
    record['status'] = 'abstained'
    assert 'The brain was changed by' not in build_page(tmp_path, '01', [record]).read_text()


def test_numbers_without_a_verdict_are_folded_where_others_have_one(tmp_path):
    metrics = {'structure_lost': {'value': 0.01}, 'brain_median': {'value': 0.5, 'before': 0.4}}
    record = {'status': 'harmonized', 'engine': {'engine': 'distclip'}, 'metrics': metrics}
    html = build_page(tmp_path, '01', [record]).read_text()
    folded = html[html.index('<summary>1 more, measured without a verdict'):]
    assert 'Median in the brain' in folded
    assert 'Structure lost' not in folded[: folded.index('</details>')]
    record['engine'] = {'engine': 'nyul'}
    assert 'more, measured without a verdict' not in build_page(tmp_path, '01', [record]).read_text()


def test_a_reason_that_is_in_the_verdict_is_not_repeated_below_it(tmp_path):
    record = {'status': 'harmonized', 'target': {'name': 'p'}, 'warnings': ['Thick slices.']}
    assert build_page(tmp_path, '01', [record]).read_text().count('Thick slices.') == 2
    html = build_page(tmp_path, '01', [{**record, 'warnings': ['Thick slices.', 'Half a head.']}]).read_text()
    assert 'Half a head.' in html
    assert '2 warnings' in html


def test_a_note_on_one_field_does_not_throw_doubt_on_another(tmp_path):
    acquisition = {'model': 'Prisma', 'echo_time': 0.003, 'notes': ['The remodeled table was read. EchoTime is odd.']}
    html = build_page(tmp_path, '01', [{'status': 'harmonized', 'acquisition': acquisition}]).read_text()
    (row,) = re.findall(r'<tr class="doubtful">.*?</tr>', html, flags=re.DOTALL)
    assert 'Echo time' in row


def test_of_an_abstained_image_the_picture_is_named_as_what_was_not_written(derivative, tmp_path):
    record = read_record(next(iter(find_records(derivative, subject='02')))).to_dict()
    html = build_page(derivative, '02', [{**record, 'status': 'abstained'}], out=tmp_path / 'p.html').read_text()
    assert '<figcaption>Result, not written</figcaption>' in html
    assert '<figcaption>Harmonized</figcaption>' not in html


def test_the_methods_text_says_only_what_the_records_say(page):
    text = Tags(page).text
    assert 'corrected with N4 (Tustison et al., 2010)' in text
    assert 'arXiv:2512.07674' in text
    assert 'Nyúl' not in text
    assert 'Nipype' not in text


def test_the_page_asks_no_other_place_for_anything(page):
    tags = Tags(page).tags
    for tag, attributes in tags:
        for name in ('src', 'href', 'data', 'action', 'srcset'):
            value = attributes.get(name) or ''
            neighbour = tag == 'a' and re.fullmatch(r'(sub-\w+|group)\.html', value)
            assert value == '' or neighbour or value.startswith(('data:image/', '#')), (tag, name, value)
    assert 'url(' not in page
    policy = next(a['content'] for t, a in tags if a.get('http-equiv') == 'Content-Security-Policy')
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_picture_is_inside_the_page_with_words_for_those_who_cannot_see_it(page):
    images = [a for t, a in Tags(page).tags if t == 'img']
    assert len(images) == 9
    assert all(re.match('data:image/(webp|jpeg);base64,', a['src']) for a in images)
    assert all(a['alt'] and int(a['width']) for a in images)
    assert len(page) < 3e6 * 1.4


def test_a_figure_that_is_gone_is_named_and_does_not_stop_the_page(derivative, tmp_path):
    record = read_record(next(iter(find_records(derivative, subject='02')))).to_dict()
    record['figures'] = {**record['figures'], 'difference': 'gone.webp'}
    html = build_page(derivative, '02', [record], out=tmp_path / 'p.html').read_text()
    assert 'The figure gone.webp is not there' in html


def test_a_record_cannot_make_the_page_show_files_of_other_folders(derivative, tmp_path):
    secret = derivative / 'secret.jpg'
    secret.write_bytes((derivative / 'sub-02' / 'figures' / 'sub-02_T1w_source.jpg').read_bytes())
    record = {'source': {}, 'status': 'harmonized', 'figures': {'source': '../../secret.jpg'}}
    html = build_page(derivative, '02', [record], out=tmp_path / 'p.html').read_text()
    assert 'data:image' not in html
    secret.unlink()


@pytest.mark.parametrize('status', ['harmonized', 'synthetic', 'abstained', 'skipped', 'failed'])
def test_an_almost_empty_record_still_makes_a_page(tmp_path, status):
    html = build_page(tmp_path, '01', [{'status': status}]).read_text()
    assert 'Nothing is known of how this image was acquired' in html


def test_ratings_of_two_datasets_are_told_apart_by_what_their_descriptions_say(tmp_path):
    told = set()
    for name in ('One', 'Other', 'One'):
        (tmp_path / 'dataset_description.json').write_text(f'{{"Name": "{name}"}}')
        html = build_page(tmp_path, '01', [{'status': 'harmonized'}]).read_text()
        told.add(re.search('data-dataset="([0-9a-f]{12})"', html)[1])
    assert len(told) == 2


def test_a_subject_without_records_is_said_to_have_none(tmp_path):
    assert 'no record of any image' in build_page(tmp_path, '01', []).read_text()


def evil_record() -> dict:
    values = {name: (EVIL,) if 'sequence' in name else EVIL for name in VALUE_FIELDS}
    origins = dict.fromkeys(VALUE_FIELDS, EVIL)
    raw = Acquisition(**values, suffix=EVIL, provenance=origins, notes=(EVIL,)).to_dict()
    source = ('path', 'sha256', 'suffix', 'family', 'family_basis', 'family_conflict')
    return {
        'source': dict.fromkeys(source, EVIL),
        'status': 'harmonized', 'reason': EVIL, 'cure': EVIL,
        'target': {'kind': EVIL, 'name': EVIL, 'family': EVIL, 'acquisition': raw},
        'acquisition': raw, 'preparation': {EVIL: EVIL}, 'engine': {'prompt': EVIL, EVIL: EVIL},
        'metrics': {EVIL: dict.fromkeys(('value', 'before', 'unit', 'meaning', 'good', 'label'), EVIL)},
        'figures': {'source': EVIL, 'harmonized': EVIL, 'histogram': EVIL},
        'findings': [{'kind': EVIL, 'value': EVIL, 'place': [EVIL, EVIL, EVIL], 'figure': EVIL}],
        'output': EVIL, 'warnings': [EVIL], 'versions': {'bids_distclip': EVIL, EVIL: EVIL},
    }


@pytest.mark.parametrize('status', ['harmonized', 'synthetic', 'abstained', 'skipped', 'failed', EVIL])
def test_no_script_planted_in_any_field_becomes_markup(tmp_path, status):
    path = build_page(tmp_path, f'sub-{EVIL}', [{**evil_record(), 'status': status}])
    html = path.read_text(encoding='utf-8')
    assert path.parent == tmp_path
    tags = Tags(html).tags
    assert [t for t, _ in tags].count('script') == 1
    assert not [t for t, a in tags if t == 'img' or any(name.startswith('on') for name in a)]
    assert '<script>alert' not in html
    assert html.count('&lt;script&gt;alert(1)&lt;/script&gt;') > 40


def test_ratings_of_two_datasets_are_told_apart_by_their_descriptions(tmp_path):
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'dataset_description.json').write_text(f'{{"Name": "{name}"}}', encoding='utf-8')
    (tmp_path / 'none').mkdir()
    assert len({_dataset_id(tmp_path / name) for name in ('one', 'two', 'none')}) == 3
    assert _dataset_id(tmp_path / 'one') == _dataset_id(tmp_path / 'one')
