"""The pages in a real browser."""

from __future__ import annotations

import itertools
import re
import shutil

import pytest

from bids_distclip.audit.page import audit_dataset
from bids_distclip.quality.record import find_records, read_record
from bids_distclip.reports.group import build_group, read_review
from bids_distclip.reports.participant import build_page

pytestmark = pytest.mark.browser

#: Texts with less than the 4.5 to 1 of WCAG 1.4.3 between their colour and the nearest ground that is painted.
CONTRAST = r"""() => {
  const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (one) => {
    for (let e = one; e; e = e.parentElement) {
      const colour = parts(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const own = (e) => [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const weak = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || !own(e)) continue;
    const pair = [parts(getComputedStyle(e).color), ground(e)].map(light).sort((x, y) => y - x);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) weak.push([ratio, e.textContent.slice(0, 60)]);
  }
  return weak;
}"""


@pytest.fixture
def subject_page(derivative, tmp_path):
    records = [read_record(path) for path in find_records(derivative, subject='01')]
    return build_page(derivative, '01', records, out=tmp_path / 'sub-01.html')


@pytest.fixture
def opened(browser, subject_page):
    """The subject page, opened; asserts at the end that nothing complained and nothing was asked for."""
    page = browser.new_page(viewport={'width': 1400, 'height': 1000}, reduced_motion='reduce')
    trouble, asked = [], []
    page.on('console', lambda message: trouble.append(message.text))
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.on('request', lambda request: asked.append(request.url))
    page.goto(subject_page.as_uri())
    yield page
    page.close()
    assert trouble == []
    assert {url for url in asked if not url.startswith(('data:', 'blob:'))} == {subject_page.as_uri()}


def test_f_flickers_source_and_harmonized_in_one_place(opened):
    opened.locator('#image-2').focus()
    opened.keyboard.press('f')
    viewer = opened.locator('#image-2 .viewer')
    source, harmonized = (viewer.locator(f'[data-pane={name}]') for name in ('source', 'harmonized'))
    assert harmonized.is_visible()
    assert not source.is_visible()
    assert source.bounding_box() == harmonized.bounding_box()
    assert viewer.locator('[data-pane=target]').is_visible()
    opened.keyboard.press('f')
    assert source.is_visible()
    assert not harmonized.is_visible()
    assert viewer.locator('.state').inner_text() == 'Source'


@pytest.mark.parametrize('width', [380, 740, 1000, 1400, 1440])
def test_pictures_stay_where_they_are_while_they_flicker(opened, width):
    opened.set_viewport_size({'width': width, 'height': 900})
    opened.locator('#image-2').focus()
    opened.keyboard.press('3')
    stage, places = opened.locator('#image-2 .stage'), []
    for _ in range(3):
        opened.keyboard.press('f')
        places.append(stage.evaluate('one => one.getBoundingClientRect().top + scrollY'))
    assert len(set(places)) == 1


def test_a_mode_goes_along_to_the_next_image(opened):
    opened.locator('#image-2').focus()
    opened.keyboard.press('f')
    opened.keyboard.press('k')
    opened.keyboard.press('j')
    assert opened.locator('#image-2 .viewer').get_attribute('data-mode') == 'flicker'
    assert opened.locator('#image-2 .stage').bounding_box()['y'] < 150


def test_a_key_is_meant_for_the_image_whose_pictures_are_in_sight(browser, derivative, tmp_path):
    records = [read_record(path) for path in find_records(derivative, subject='01')]
    done = next(record for record in records if record.status == 'harmonized')
    page = browser.new_page(viewport={'width': 1400, 'height': 900}, reduced_motion='reduce')
    page.goto(build_page(derivative, '01', [done, done], out=tmp_path / 'two.html').as_uri())
    # The end of the first image fills the upper part of the window, the pictures of the second one the rest.
    top = page.locator('#image-2').evaluate('one => one.getBoundingClientRect().top + scrollY')
    page.evaluate(f'scrollTo(0, {top - 400})')
    page.keyboard.press('4')
    assert page.locator('#image-2 [data-rate]:checked').get_attribute('value') == '4'
    assert page.locator('.heard').is_visible()
    assert page.locator('.heard').inner_text().endswith(': 4, good')
    # At the head of the page no picture is in sight.
    page.set_viewport_size({'width': 1400, 'height': 200})
    page.evaluate('scrollTo(0, 0)')
    page.evaluate('document.activeElement.blur()')
    page.keyboard.press('1')
    assert page.locator('.heard').inner_text() == 'No image is in view, so nothing was rated.'
    page.close()


def test_keys_after_the_raters_name_are_keys_again(opened):
    for key in ('Enter', 'Escape'):
        opened.get_by_label('Rater').fill('ann')
        opened.keyboard.press(key)
        opened.keyboard.press('j')
        assert opened.get_by_label('Rater').input_value() == 'ann'


def test_w_wipes_d_shows_the_difference_and_s_goes_back(opened):
    opened.locator('#image-2').focus()
    viewer = opened.locator('#image-2 .viewer')
    opened.keyboard.press('w')
    viewer.locator('[data-wipe]').fill('20')
    clip = viewer.locator('[data-pane=source] img').evaluate('image => getComputedStyle(image).clipPath')
    assert '80%' in clip or '100% - 20%' in clip
    opened.locator('#image-2').focus()
    opened.keyboard.press('d')
    assert viewer.locator('[data-pane=difference]').is_visible()
    assert not viewer.locator('[data-pane=source]').is_visible()
    opened.keyboard.press('s')
    assert viewer.locator('.pane:visible').count() == 6


def test_j_and_k_walk_over_the_images(opened):
    names = []
    for key in 'jjk':
        opened.keyboard.press(key)
        names.append(opened.evaluate('document.activeElement.id'))
    assert names == ['image-1', 'image-2', 'image-1']


def test_without_scripts_everything_is_there_and_no_dead_button_is(browser, subject_page):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(subject_page.as_uri())
    assert page.locator('.pane:visible').count() == 6
    assert page.locator('button:visible').count() == 0
    context.close()


def test_on_paper_all_pictures_are_shown(opened):
    opened.locator('#image-2').focus()
    opened.keyboard.press('d')
    opened.emulate_media(media='print')
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator('.pane:visible').count() == 6
    assert opened.locator('.controls:visible').count() == 0


WIDE = """[...document.querySelectorAll('.scroll, table')]
  .filter((box) => box.scrollWidth > document.body.clientWidth + 1).length"""


def test_paper_loses_nothing_at_its_right_edge(opened):
    # A4 upright with margins of 12 mm, in CSS pixels.
    opened.set_viewport_size({'width': 703, 'height': 1000})
    opened.emulate_media(media='print')
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.evaluate(WIDE) == 0
    # Three pictures in a row, not one to a page.
    tops = opened.locator('#image-2 .pane:visible').evaluate_all('all => all.map((one) => one.offsetTop)')
    assert len(set(tops)) < len(tops) / 2


def test_at_the_width_of_400_percent_zoom_nothing_runs_off_the_page(opened):
    opened.set_viewport_size({'width': 350, 'height': 800})
    assert opened.evaluate('document.documentElement.scrollWidth') <= 350
    # In a low window the toolbar scrolls away instead of covering the pictures.
    opened.set_viewport_size({'width': 320, 'height': 256})
    assert opened.locator('#image-2 .controls').first.evaluate('one => getComputedStyle(one).position') == 'static'
    opened.set_viewport_size({'width': 350, 'height': 800})
    # No table of the page has to be moved sideways to be read.
    wide = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth).length"
    assert opened.evaluate(wide) == 0


def test_what_a_screen_reader_needs_is_there_every_control_has_a_name_and_headings_skip_no_level(opened):
    for role in ('button', 'textbox', 'radio', 'slider', 'checkbox', 'link', 'region', 'img'):
        for control in opened.get_by_role(role).all():
            assert re.search(r'"\S', control.aria_snapshot().split('\n')[0]), control.evaluate('e => e.outerHTML')[:200]
    levels = opened.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    ids = opened.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


def test_on_paper_nothing_is_folded_and_afterwards_it_is_again(opened):
    provenance = opened.locator('#image-2 .facts')
    assert not provenance.is_visible()
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert provenance.is_visible()
    assert opened.get_by_text('Median intensity in the brain mask.').first.is_visible()
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not provenance.is_visible()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_stands_out_from_its_ground_by_day_and_by_night(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    weak = opened.evaluate(CONTRAST)
    assert weak == []


@pytest.mark.parametrize('width', [980, 1100, 1400])
def test_what_is_said_of_the_target_stays_readable_beside_the_pictures(browser, study, width):
    bids, out, record = study
    told = {'manufacturer': 'Siemens', 'model': 'MAGNETOM Prisma Fit', 'echo_time': 0.00241, 'repetition_time': 1.8}
    record['target']['acquisition'] = {name: {'value': value} for name, value in told.items()}
    page = browser.new_page(viewport={'width': width, 'height': 800})
    page.goto(build_page(out, '01', [record], bids_dir=bids).as_uri())
    values = page.locator('[data-pane=target] dd:visible')
    assert values.count() >= len(told)
    # Not broken letter by letter.
    assert min(value.bounding_box()['width'] for value in values.all()) > 60
    page.close()


def test_a_planted_script_does_not_run(browser, tmp_path):
    evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    path = build_page(tmp_path, '01', [{'status': 'failed', 'source': {'path': evil}, 'reason': evil}])
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.title().startswith('sub-01')
    page.close()


def test_the_group_table_sorts_by_number(browser, derivative):
    page = browser.new_page()
    page.goto(build_group(derivative).as_uri())
    head = page.get_by_role('button', name='Median in the brain', exact=True)
    for expected in (['sub-01', 'sub-02', 'sub-03'], ['sub-03', 'sub-02', 'sub-01']):
        head.click()
        assert page.locator('.sortable tbody tr td:first-child').all_inner_texts()[:3] == expected
    page.close()


def test_keys_rate_and_comment_and_a_reload_keeps_both(opened):
    opened.locator('#image-2').focus()
    opened.keyboard.press('3')
    opened.keyboard.press('c')
    opened.keyboard.type('fold lost at 1 4')
    opened.keyboard.press('Escape')
    assert opened.evaluate('document.activeElement.id') == 'image-2'
    # Beside the buttons, which stay in view, a rater sees that the key was heard.
    assert opened.locator('#image-2 .mine').inner_text() == '3 acceptable'
    opened.reload()
    article = opened.locator('#image-2')
    assert article.locator('[data-rate]:checked').get_attribute('value') == '3'
    assert article.locator('[data-comment]').input_value() == 'fold lost at 1 4'
    assert opened.locator('[data-rated=image-2]').inner_text() == '3 acceptable'
    assert opened.locator('.done').inner_text() == '1 of 1 rated on this page, 1 in all'
    article.focus()
    opened.keyboard.press('3')
    assert article.locator('[data-rate]:checked').count() == 0


def test_ratings_are_exported_under_the_raters_name_and_read_back_by_the_group(opened, derivative, tmp_path):
    opened.locator('#image-2').focus()
    opened.keyboard.press('2')
    opened.get_by_role('button', name='Export ratings').click()
    assert 'Give your name' in opened.locator('.said').inner_text()
    opened.get_by_label('Rater').fill('Ann O.')
    opened.get_by_label('Rater').blur()
    assert opened.locator('.done').inner_text() == '1 of 1 rated on this page, 1 in all'
    with opened.expect_download() as download:
        opened.get_by_role('button', name='Export ratings').click()
    assert download.value.suggested_filename == 'ratings_Ann_O_.json'
    out = shutil.copytree(derivative, tmp_path / 'out')
    (out / 'ratings').mkdir()
    download.value.save_as(out / 'ratings' / 'ann.json')
    review = read_review(out)
    assert review.notes == []
    assert [(r.rater, r.rating, r.image) for r in review.ratings] == [('Ann O.', 2, 'sub-01/anat/sub-01_T1w.nii.gz')]


def test_another_rater_in_the_same_browser_starts_afresh(opened):
    opened.get_by_label('Rater').fill('ann')
    opened.get_by_label('Rater').blur()
    opened.locator('#image-2').focus()
    opened.keyboard.press('4')
    opened.get_by_label('Rater').fill('bob')
    opened.get_by_label('Rater').blur()
    assert opened.locator('.done').inner_text() == '0 of 1 rated on this page, 0 in all'
    opened.get_by_label('Rater').fill('ann')
    opened.get_by_label('Rater').blur()
    assert opened.locator('.done').inner_text() == '1 of 1 rated on this page, 1 in all'


def test_n_and_p_walk_over_people(browser, derivative):
    for subject in ('01', '02', '03'):
        records = [read_record(path) for path in find_records(derivative, subject=subject)]
        build_page(derivative, subject, records)
    page = browser.new_page(reduced_motion='reduce')
    page.goto((derivative / 'sub-02.html').as_uri())
    for key, expected in (('n', 'sub-03'), ('p', 'sub-02'), ('p', 'sub-01')):
        page.keyboard.press(key)
        page.wait_for_url(f'**/{expected}.html')
    # Who is looking at an image sees one of the next person at once.
    page.keyboard.press('j')
    page.keyboard.press('n')
    page.wait_for_url('**/sub-02.html#image-1')
    assert page.locator('#image-1').bounding_box()['y'] < 100
    # And goes on looking as before.
    page.keyboard.press('f')
    page.keyboard.press('n')
    page.wait_for_url('**/sub-03.html#image-1')
    page.wait_for_function("document.querySelector('#image-1 .viewer').dataset.mode === 'flicker'")
    page.wait_for_function("document.querySelector('#image-1 .stage').getBoundingClientRect().top < 150")
    page.close()


@pytest.fixture(params=['group', 'audit'])
def other(request, browser, derivative, tmp_path):
    """The group page and the audit's, opened in a narrow window; asserts at the end what the subject page's does."""
    if request.param == 'group':
        path = build_group(derivative)
    else:
        (tmp_path / 'sub-01' / 'anat').mkdir(parents=True)
        (tmp_path / 'sub-01' / 'anat' / 'sub-01_T1w.json').write_text('{"EchoTime": 3.0, "RepetitionTime": 2300}')
        path, _ = audit_dataset(tmp_path, out=tmp_path / 'out')
    page = browser.new_page(viewport={'width': 350, 'height': 800})
    trouble, asked = [], []
    page.on('console', lambda message: trouble.append(message.text))
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.on('request', lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert trouble == []
    assert {url for url in asked if not url.startswith('data:')} == {path.as_uri()}


def test_the_other_pages_fit_a_narrow_window_sort_and_unfold_on_paper(other):
    assert other.evaluate('document.documentElement.scrollWidth') <= 350
    # Only the long tables, those that sort and that of scanners, have to be moved sideways.
    boxes = "[...document.querySelectorAll('.scroll:not(:has(.sortable, .shares))')]"
    assert other.evaluate(f'{boxes}.filter((box) => box.scrollWidth > box.clientWidth).length') == 0
    other.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert other.locator('details:not([open])').count() == 0
    other.locator('.sortable button').first.click()
    assert other.locator('.sortable [aria-sort=ascending]').count() == 1


def test_the_other_pages_lose_nothing_on_paper(other):
    other.set_viewport_size({'width': 703, 'height': 1000})
    other.emulate_media(media='print', color_scheme='dark')
    other.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert other.evaluate(WIDE) == 0
    assert other.evaluate("getComputedStyle(document.body).backgroundColor") == 'rgb(255, 255, 255)'


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_other_pages_are_readable_by_day_by_night_and_by_ear(other, scheme):
    other.emulate_media(color_scheme=scheme)
    assert other.evaluate(CONTRAST) == []
    for role in ('button', 'link', 'region', 'img'):
        for control in other.get_by_role(role).all():
            assert re.search(r'"\S', control.aria_snapshot().split('\n')[0]), control.evaluate('e => e.outerHTML')[:200]
    levels = other.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
