from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_distclip.benchmark.cases import simulated_cases
from bids_distclip.benchmark.failures import FAILURES
from bids_distclip.benchmark.trust import NUMBERS, WRONG, measure, separation
from bids_distclip.harmonizers.distclip import DistClip
from bids_distclip.quality.guard import compare_structure
from bids_distclip.simulation.phantom import phantom


@pytest.fixture
def head():
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, 56) for _ in range(3)), indexing='ij')
    radius = np.sqrt(x**2 + y**2 + z**2)
    folds = ndimage.gaussian_filter(rng.normal(size=radius.shape), 2.5)
    brain = radius < 0.9
    lesion = (np.sqrt((x - 0.3) ** 2 + y**2 + z**2) < 0.12).astype(np.float32)
    picture = brain * (0.5 + 0.15 * folds / folds.std() + 0.3 * lesion)
    return ndimage.gaussian_filter(picture, 0.7).astype(np.float32), brain, lesion


@pytest.mark.parametrize('name', FAILURES)
def test_every_planted_failure_changes_structure_where_the_guard_can_see_it(head, name):
    picture, brain, lesion = head
    spoilt = FAILURES[name](picture, brain, lesion, np.random.default_rng(1))
    found = compare_structure(picture, spoilt, mask=brain, spacing=(1, 1, 1))
    assert spoilt.shape == picture.shape
    assert max(found.peak_lost, found.peak_invented) > 0.03


def test_an_erased_lesion_is_as_bright_as_what_surrounds_it(head):
    picture, brain, lesion = head
    spoilt = FAILURES['lesion erased'](picture, brain, lesion, np.random.default_rng(1))
    inside, around = lesion > 0.5, ndimage.binary_dilation(lesion > 0.5, iterations=6) & ~(lesion > 0)
    before, after = (abs(p[inside].mean() - p[around].mean()) for p in (picture, spoilt))
    assert after < 0.4 * before
    assert FAILURES['lesion erased'](picture, brain, None, np.random.default_rng(1)) is None
    assert FAILURES['lesion erased'](picture, brain, 0 * lesion, np.random.default_rng(1)) is None


def rows(what: str, values, *, number: str, mode: str = 'residual') -> list[dict]:
    return [{'what': what, 'mode': mode, number: v} for v in values]


def test_separation_counts_what_lies_beyond_every_sound_result():
    made = rows('sound', [0.1, 0.2, 0.3], number='structure_lost')
    made += rows('blurred', [0.25, 0.4], number='structure_lost')
    (found,) = separation(made)
    assert found['auc'] == pytest.approx(5 / 6)
    assert (found['edge'], found['caught']) == (0.3, 0.5)


def test_separation_looks_on_the_side_where_failures_lie():
    made = rows('sound source', [0.8, 0.9], number='source_told', mode='')
    made += rows('free text', [0.1, 0.85], number='source_told', mode='')
    (found,) = separation(made)
    assert NUMBERS['source_told'] == 'below'
    assert found['mode'] == 'metadata'
    assert (found['edge'], found['caught']) == (0.8, 0.5)


def test_every_result_is_measured_sound_and_spoilt():
    heads = [phantom(seed=1), phantom(seed=2)]
    cases = [c for c in simulated_cases(heads, size=(64, 72, 12)) if c.pair in ('T1w→T1w', 'T1w→T1w (own)', 'T1w→T2w')]
    assert len(cases) == 6
    found = list(measure(DistClip(planes=1), cases[:3]))
    assert not any(row['pair'].endswith('(own)') for row in found)
    sound = [row for row in found if row['what'] == 'sound']
    assert [(r['pair'], r['guide'], r['mode']) for r in sound] == [
        ('T1w→T1w', 'metadata', 'residual'), ('T1w→T1w', 'image', 'residual'),
        ('T1w→T2w', 'metadata', 'synthesis'), ('T1w→T2w', 'image', 'synthesis'),
    ]
    planted = {name for name in FAILURES if name not in ('lesion erased',)} | {WRONG}
    assert planted <= {row['what'] for row in found}
    swapped = [row for row in found if row['what'] == 'metadata of another contrast']
    assert [row['pair'] for row in swapped] == ['T1w→T2w']
    assert all('source_told' in row for row in swapped)
