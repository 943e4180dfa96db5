"""The pages in 3-D in a real browser: with WebGL, without it, and without the file of the viewer."""

from __future__ import annotations

import io
import time
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from bids_distclip.reports.niivue import PLACE, write_library
from bids_distclip.reports.participant import build_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec('ipyniivue') is None, reason='the extra [reports] is not installed'),
]
SOFTWARE = ('--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader')
#: Without a graphics card a busy machine takes a minute to draw for the first time.
PATIENCE = 240


@pytest.fixture
def launch(start_chromium):
    """Return a function that starts Chromium with some flags and opens a page that notes trouble and requests."""
    started = []

    def start(*flags: str):
        started.append(start_chromium(*flags))
        page = started[-1].new_page(viewport={'width': 800, 'height': 700})
        page.set_default_timeout(PATIENCE * 1000)
        page.trouble, page.asked = [], []
        page.on('console', lambda message: page.trouble.append(message.text))
        page.on('pageerror', lambda error: page.trouble.append(str(error)))
        page.on('request', lambda request: page.asked.append(request.url))
        return page

    yield start
    for chromium in started:
        chromium.close()


def opened(page, path):
    page.goto(path.as_uri())
    page.locator('#image-1').focus()
    page.keyboard.press('v')
    return page.locator('#image-1 .solid')


def drawn(page, box, *, what: str) -> np.ndarray:
    """Wait until a volume is drawn and return the canvas as grey values."""
    # The page forbids the evaluation of text, which the browser driver's own waiting for a condition needs.
    end = time.monotonic() + PATIENCE
    while box.get_attribute('data-drawn') != what and time.monotonic() < end:
        time.sleep(0.2)
    assert box.get_attribute('data-drawn') == what, box.locator('.untold').text_content()
    page.wait_for_timeout(300)
    shot = box.locator('.space').screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert('L'), dtype=float)


def test_v_opens_the_brain_in_3d_f_toggles_it_and_s_goes_back(launch, study):
    bids, out, record = study
    # The phantom is harmonized to 0.6 of its brightness; a scale of its own would hide that.
    (out / record['output'].replace('.nii.gz', '.json')).write_text('{"Harmonization": {"IntensityScale": 800}}')
    record['preparation'] = {'bias_correction': 'none'}
    path, library = build_page(out, '01', [record], bids_dir=bids), write_library(out)
    page = launch(*SOFTWARE)
    box = opened(page, path)
    harmonized = drawn(page, box, what='harmonized')
    assert harmonized.std() > 10
    assert page.locator('#image-1 .state').inner_text() == 'Harmonized'
    assert not page.locator('#image-1 .stage').is_visible()
    page.keyboard.press('f')
    source = drawn(page, box, what='source')
    assert page.locator('#image-1 .state').inner_text() == 'Source'
    assert source.mean() > 1.2 * harmonized.mean()
    box.get_by_role('button', name='Source or harmonized').click()
    np.testing.assert_allclose(drawn(page, box, what='harmonized'), harmonized, atol=3)
    page.keyboard.press('d')
    page.wait_for_timeout(500)
    over = {name: box.locator(f'[data-over={name}]') for name in ('difference', 'uncertainty')}
    assert over['difference'].get_attribute('aria-pressed') == 'true'
    assert box.locator('.where').inner_text().count('0.') == 3
    assert page.trouble == []
    page.keyboard.press('d')
    page.keyboard.press('u')
    unsure = drawn(page, box, what='harmonized')
    assert over['difference'].get_attribute('aria-pressed') == 'false'
    assert over['uncertainty'].get_attribute('aria-pressed') == 'true'
    # The phantom is unsure where it is bright, so the overlay changes the brain.
    assert np.abs(unsure - harmonized).mean() > 3
    page.keyboard.press('u')
    np.testing.assert_allclose(drawn(page, box, what='harmonized'), harmonized, atol=3)
    page.set_viewport_size({'width': 350, 'height': 800})
    page.wait_for_timeout(500)
    assert page.evaluate('document.documentElement.scrollWidth') <= 350
    assert page.trouble == []
    page.keyboard.press('s')
    assert page.locator('#image-1 .stage').is_visible()
    assert not box.is_visible()
    assert page.trouble == []
    assert {url for url in page.asked if not url.startswith(('data:', 'blob:'))} == {path.as_uri(), library.as_uri()}


def test_an_abstained_image_shows_its_source_alone_whatever_key_is_pressed(launch, study):
    bids, out, record = study
    record |= {'status': 'abstained', 'reason': 'Too blurred.'}
    path = build_page(out, '01', [record], bids_dir=bids)
    write_library(out)
    page = launch(*SOFTWARE)
    box = opened(page, path)
    first = drawn(page, box, what='source')
    assert first.std() > 10
    assert page.locator('#image-1 .state').inner_text() == 'Source'
    assert not page.get_by_text('flicker by itself').is_visible()
    page.keyboard.press('f')
    np.testing.assert_allclose(drawn(page, box, what='source'), first, atol=3)
    assert 'harmonized' not in box.locator('.where').inner_text()
    page.keyboard.press('d')
    assert page.locator('#image-1 [data-pane=difference]').is_visible()
    assert page.trouble == []


def test_without_webgl_a_sentence_says_so_and_the_rest_of_the_page_works(launch, study):
    bids, out, record = study
    path = build_page(out, '01', [record], bids_dir=bids)
    write_library(out)
    page = launch('--disable-gpu', '--disable-3d-apis')
    box = opened(page, path)
    page.get_by_text('This browser offers no WebGL 2').wait_for()
    assert box.locator('button:visible').count() == 0
    page.keyboard.press('f')
    page.keyboard.press('w')
    assert page.locator('#image-1 .stage').is_visible()
    assert page.trouble == []
    assert page.asked == [path.as_uri()]


def test_without_its_file_a_sentence_says_where_the_viewer_must_lie(launch, study):
    bids, out, record = study
    page = launch(*SOFTWARE)
    opened(page, build_page(out, '01', [record], bids_dir=bids))
    page.get_by_text(f'The viewer is not here: the file {PLACE} must lie beside this page.').wait_for()
    page.keyboard.press('s')
    assert page.locator('#image-1 .stage').is_visible()
    assert all('ERR_FILE_NOT_FOUND' in text for text in page.trouble)
