from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.benchmark.travelers import COLUMNS, TISSUES, send, travelers
from bids_distclip.harmonizers.base import Harmonized
from bids_distclip.harmonizers.registry import get_harmonizer
from bids_distclip.simulation.phantom import phantom


class Oracle:
    """Answers with the truth of the person it is told."""

    name = 'oracle'

    def __init__(self, people):
        self.truth = {id(scan): person.truth for person in people for scan in person.scans.values()}

    def harmonize(self, source, target, *, synthesize=False):
        return Harmonized(self.truth[id(source)] * target.scale)


class Flat:
    """Makes every image equal: no scanner can be told, and nothing can be seen."""

    name = 'flat'

    def harmonize(self, source, target, *, synthesize=False):
        return Harmonized(np.full(source.volume.data.shape, 0.5 * target.scale))


@pytest.fixture(scope='module')
def people():
    heads = [phantom(seed=1), phantom(seed=2)]
    return list(travelers(heads, 'T2w', heads=5, scanners=3, size=(120, 144, 96), every=12))


@pytest.fixture(scope='module')
def rows(people):
    engines = {'identity': get_harmonizer('identity'), 'histogram': get_harmonizer('histogram'),
               'oracle': Oracle(people), 'flat': Flat()}
    return {row['engine']: row for row in send(people, {n: (e, 'image') for n, e in engines.items()})}


def test_every_head_is_seen_by_the_same_scanners_with_its_own_tissue(people):
    assert len(people) == 5
    assert len({tuple(person.scans) for person in people}) == 1
    person = people[0]
    assert set(person.tissues) == set(TISSUES)
    assert all(m.shape == person.truth.shape for m in person.tissues.values())
    white, gray = (np.median(person.truth[person.tissues[t]]) for t in ('white_matter', 'cortical_gray'))
    assert gray > white


def test_the_guide_is_another_head(people):
    for person in people:
        shown = person.image_target.image.volume.data
        assert all(not np.array_equal(shown, scan.volume.data) for scan in person.scans.values())


def test_the_truth_has_no_scanner_left_and_is_not_off(rows):
    before, oracle = rows['identity'], rows['oracle']
    assert set(before) == set(COLUMNS)
    assert before['times_less'] == 1
    assert before['spread'] > 0.01
    assert before['told'] > before['limit'] > before['chance']
    assert oracle['spread'] < 1e-6
    assert oracle['off'] < 1e-6
    assert oracle['wasserstein'] < 1e-6 < before['wasserstein']
    assert 0 < before['spread_ci'] < 2 * before['spread']
    assert before['psnr_brain_ci'] > 0
    assert oracle['told'] <= oracle['limit']


def test_making_all_equal_is_seen_to_be_wrong(rows):
    assert rows['flat']['spread'] < 1e-6
    assert rows['flat']['off'] > 0.1
    assert rows['flat']['wasserstein'] > 0.1
    assert rows['flat']['psnr_brain'] < rows['identity']['psnr_brain']
