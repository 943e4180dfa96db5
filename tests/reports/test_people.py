"""The way from page to page."""

from __future__ import annotations

import pytest

from bids_distclip.reports.participant import build_page
from bids_distclip.reports.people import connect


@pytest.fixture
def out(tmp_path):
    """Three pages, each made before the next person's folder was there."""
    for subject in ('01', '02', '03'):
        (tmp_path / f'sub-{subject}').mkdir()
        build_page(tmp_path, subject, [])
    return tmp_path


def links(out, name: str) -> list[str]:
    text = (out / f'{name}.html').read_text()
    nav = text[text.index('<nav'): text.index('</nav>')]
    return [part.split('"')[0] for part in nav.split('href="')[1:]] + [nav.split('<span>')[1].split('<')[0]]


def test_pages_lead_to_people_and_a_group_page_that_came_later(out):
    assert links(out, 'sub-01') == ['Person 1 of 1']
    (out / 'group.html').write_text('')
    assert len(connect(out)) == 3
    assert links(out, 'sub-01') == ['group.html', 'sub-02.html', 'Person 1 of 3']
    assert links(out, 'sub-02') == ['sub-01.html', 'group.html', 'sub-03.html', 'Person 2 of 3']
    assert connect(out) == []


def test_pages_name_their_dataset(out):
    (out / 'dataset_description.json').write_text('{"Name": "Harmonized anatomical images: Three sites <b>"}')
    connect(out)
    assert links(out, 'sub-01')[-1] == 'Person 1 of 3 · Three sites &lt;b&gt;'


def test_a_page_is_as_old_as_what_it_tells_of_when_its_links_are_set(out):
    before = {path: path.stat().st_mtime_ns for path in out.glob('sub-*.html')}
    assert connect(out)
    assert {path: path.stat().st_mtime_ns for path in out.glob('sub-*.html')} == before


def test_nothing_but_the_links_changes(out):
    before = (out / 'sub-01.html').read_text()
    connect(out)
    after = (out / 'sub-01.html').read_text()
    assert [text[text.index('</nav>'):] for text in (before, after)].count(before[before.index('</nav>'):]) == 2
    assert before[: before.index('<nav')] == after[: after.index('<nav')]


def test_only_the_pages_of_the_people_asked_for_are_touched(out):
    assert [path.name for path in connect(out, people={'02'})] == ['sub-02.html']


def test_other_files_and_unreadable_pages_are_left_as_they_are(out):
    (out / 'sub-04.html').write_text('<p>Not ours</p>')
    (out / 'sub-05.html').write_bytes(b'\xff\xfe<nav class="people" </nav>')
    (out / 'sub-06.html').mkdir()
    changed = connect(out)
    assert [path.name for path in changed] == ['sub-01.html', 'sub-02.html']
    assert (out / 'sub-04.html').read_text() == '<p>Not ours</p>'
