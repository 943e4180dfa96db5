"""The pages in a real browser."""

from __future__ import annotations

import pytest

from bids_distclip.quality.record import find_records, read_record
from bids_distclip.reports.group import build_group
from bids_distclip.reports.participant import build_page

pytestmark = pytest.mark.browser


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
    assert [url for url in asked if not url.startswith('data:')] == [subject_page.as_uri()]


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


def test_at_the_width_of_400_percent_zoom_nothing_runs_off_the_page(opened):
    opened.set_viewport_size({'width': 350, 'height': 800})
    assert opened.evaluate('document.documentElement.scrollWidth') <= 350


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
