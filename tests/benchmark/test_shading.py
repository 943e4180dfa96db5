"""What correcting shading leaves of shading and of lesions."""

from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.benchmark import shading
from bids_distclip.quality.tissue import TISSUES, channel
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.volumes import simulate_volumes

SIZE = (36, 44, 36)


@pytest.fixture(scope='module')
def scan():
    protocol = draw_protocol(np.random.default_rng(3), family='FLAIR')
    head = Head(phantom(seed=1), seed=5, lesion_kinds=('tumour',))
    return simulate_volumes(head, [protocol], spacing=(4.0, 4, 4), size=SIZE, seed=5, strip=2.0, shaded=False)[0]


def test_an_unshaded_volume_is_a_shaded_one_over_its_field():
    protocol = draw_protocol(np.random.default_rng(3), family='T1w')
    head = Head(phantom(seed=1), seed=5)
    given = {'spacing': (4.0, 4, 4), 'size': (36, 44, 36), 'seed': 5}
    even, usual = (simulate_volumes(head, [protocol], shaded=one, **given)[0].image for one in (False, True))
    seen = even > 0.2
    ratio = np.log(usual[seen] / even[seen])
    assert 0 < ratio.std() < 0.3
    log = np.where(seen, np.log(np.maximum(usual, 1e-9) / np.maximum(even, 1e-9)), np.nan)
    assert np.nanmax(np.abs(np.diff(log, axis=0))) < 0.05


def test_what_knows_the_field_leaves_nothing_and_what_does_nothing_leaves_it(scan):
    field = shading.shading(SIZE, amplitude=1.0, seed=1)
    ways = {'none': lambda image, brain: image, 'oracle': lambda image, brain: scan.image * 3}
    rows = list(shading.correct(scan, field, ways))
    assert [(row['shading'], row['way']) for row in rows] == [(s, w) for s in shading.SHADINGS for w in ways]
    for row in rows:
        expected = row['shading'] if row['way'] == 'none' else 0
        assert row['error'] == pytest.approx(expected, rel=0.05, abs=1e-4)
    assert all(row['kept'] == pytest.approx(row['contrast'], abs=1e-5) for row in rows if row['way'] == 'oracle')
    table = shading.summary(rows)
    assert '| 0 | 0.000 / 1.00 | 0.000 / 1.00 |' in table


def test_the_app_takes_most_of_a_strong_shading_away_and_leaves_lesions_what_four_levels_take(scan, monkeypatch):
    monkeypatch.setattr(shading, 'SHADINGS', (0.25,))
    monkeypatch.setattr('bids_distclip.volume.tissue.COARSEST', 4.0)

    def labels(volume):
        # The corrected volume is cut to the brain and what is around; find where it was cut out.
        first = np.linalg.solve(scan.affine, volume.affine[:, 3])[:3].round().astype(int)
        part = tuple(slice(start, start + n) for start, n in zip(first, volume.data.shape, strict=True))
        return np.stack([(scan.tissue[part] == number) for number in range(len(TISSUES))]).astype(np.float32)

    assert (scan.tissue == channel('WM')).any()
    ways = shading.ways(scan.affine, labels)
    assert set(ways) == {*shading.LEVELS, shading.APP}
    some = {name: ways[name] for name in ('4 levels', shading.APP)}
    four, app = shading.correct(scan, shading.shading(SIZE, amplitude=1.0, seed=1), some)
    assert max(four['error'], app['error']) < 0.5 * 0.25
    assert app['kept'] > 2 * four['kept']
