from __future__ import annotations

import itertools

import numpy as np
import pytest

from bids_distclip.benchmark.cases import PAIRS, real_cases, simulated_cases, thinned
from bids_distclip.benchmark.pictures import draw_case
from bids_distclip.benchmark.realism import measure, write_realism
from bids_distclip.benchmark.run import paired_summary, run_cases, summary, write_table
from bids_distclip.harmonizers.base import Harmonized
from bids_distclip.simulation.phantom import phantom


class Oracle:
    """Answers with what it is told."""

    name = 'oracle'

    def __init__(self, answers):
        self.answers = answers

    def harmonize(self, source, target, *, synthesize=False):
        return Harmonized(self.answers[id(source), target.name] * target.scale)


@pytest.fixture(scope='module')
def cases():
    heads = [phantom(seed=1), phantom(seed=2)]
    return list(itertools.islice(simulated_cases(heads, size=(64, 72, 12)), len(PAIRS) + 4))


def test_every_pair_is_asked_once_per_head(cases):
    assert [c.pair for c in cases[: len(PAIRS)]] == [f'{a}→{b}' for a, b in PAIRS]
    assert all(c.nothing_to_do for c in cases[len(PAIRS) :])


def test_another_draw_asks_the_same_heads_under_other_protocols(cases):
    heads = [phantom(seed=1), phantom(seed=2)]
    again = list(simulated_cases(heads, size=(64, 72, 12), draws=2))
    half = len(again) // 2
    assert [c.draw for c in again] == [0] * half + [1] * half
    assert again[0].metadata_target.acquisition == cases[0].metadata_target.acquisition
    assert [c.head for c in again[:half]] == [c.head for c in again[half:]]
    assert again[0].metadata_target.acquisition != again[half].metadata_target.acquisition


def test_the_table_tells_how_sure_a_mean_is():
    rows = [{'data': 'd', 'pair': 'p', 'engine': 'e', 'psnr': v, 'ssim': 0.9} for v in (20.0, 22.0, 24.0)]
    assert '| 3 | 22.0 ± 5.0 / 0.900 |' in summary(rows)
    assert '| 2 | 21.0 / 0.900 |' in summary(rows[:2])


def test_engines_are_compared_person_by_person():
    rows = [
        {'data': 'd', 'head': h, 'draw': 0, 'pair': 'p', 'engine': e, 'psnr': 10.0 * h + up, 'ssim': 0.9}
        for h in range(3) for e, up in (('nyul', 0.0), ('distclip, image', 2.0))
    ]
    assert '| p | distclip, image | +2.0 ± 0.0 |' in paired_summary(rows)
    assert '| p | distclip, image | +2.0 |' in paired_summary(rows[:4])
    own = [{**row, 'pair': 'p (own)'} for row in rows]
    assert 'own' not in paired_summary(own)
    assert paired_summary(rows, ours='murd') == ''


def test_where_nothing_is_to_do_the_source_is_the_truth(cases):
    case = cases[-1]
    np.testing.assert_allclose(case.truth, case.source.volume.data / case.source.scale, rtol=1e-5)


def test_the_guide_is_another_head_with_the_targets_protocol(cases):
    case = cases[4]
    guide = case.image_target.image
    assert guide.acquisition == case.metadata_target.acquisition
    assert not np.array_equal(guide.volume.data, case.truth)


def test_simulating_every_other_slice_gives_those_slices():
    heads = [phantom(seed=1), phantom(seed=2)]
    whole, some = (next(simulated_cases(heads, size=(64, 72, 12), every=n)) for n in (1, 4))
    np.testing.assert_allclose(some.source.volume.data, whole.source.volume.data[..., 2::4], rtol=1e-5)
    np.testing.assert_array_equal(some.lesion, whole.lesion[..., 2::4])
    np.testing.assert_allclose(some.source.volume.affine @ [0, 0, 1, 1], whole.source.volume.affine @ [0, 0, 6, 1])


def test_a_thinned_case_keeps_scales_and_lies_in_place(cases):
    case = cases[4]
    thin = thinned(case, 4)
    assert thin.truth.shape[2] == thin.source.brain.shape[2] == 3
    assert thin.source.scale == case.source.scale
    np.testing.assert_array_equal(thin.source.volume.data[..., 1], case.source.volume.data[..., 6])
    np.testing.assert_allclose(thin.source.volume.affine @ [0, 0, 1, 1], case.source.volume.affine @ [0, 0, 6, 1])


def test_the_true_answer_scores_highest(cases, tmp_path):
    case = cases[4]
    right = {(id(case.source), t.name): case.truth for t in (case.image_target, case.metadata_target)}
    wrong = {k: np.roll(v, 4, axis=0) for k, v in right.items()}
    engines = {'right': (Oracle(right), 'image'), 'wrong': (Oracle(wrong), 'metadata')}
    rows = run_cases([case], engines, table=tmp_path / 'cut' / 'short.tsv')
    assert len((tmp_path / 'cut' / 'short.tsv').read_text().splitlines()) == 3
    assert rows[0]['psnr'] == 99.0
    assert rows[0]['psnr'] > rows[1]['psnr'] + 20
    assert '99.0 / 1.000' in summary(rows)
    assert len(write_table(rows, tmp_path / 't.tsv').read_text().splitlines()) == 3


def test_a_picture_of_a_case_is_drawn(cases, tmp_path):
    path = draw_case(cases[0], 'identity', cases[0].truth, tmp_path)
    assert path.stat().st_size > 5_000


def test_realism_measures_ratios_noise_and_sharpness(tmp_path):
    rng = np.random.default_rng(0)
    shape = (110, 110, 110)
    away = np.linalg.norm(np.indices(shape).T - 54.5, axis=-1).T
    brain = away < 52
    t1w = np.select([away < 20, away < 40, away < 46, away < 49, brain], [0.2, 1.0, 0.7, 0.2, 0.7], 0.0)
    t2w = np.select([away < 20, away < 40, away < 46, away < 49, brain], [0.9, 0.3, 0.45, 0.6, 0.45], 0.0)
    noise = 0.02 * rng.normal(size=(2, *shape)) * brain
    found = measure({'T1w': t1w + noise[0] / 4, 'T2w': t2w + noise[1], 'FLAIR': t2w + 4 * noise[1]}, brain)
    assert found['T1w', 'gray'] == pytest.approx(0.7, abs=0.01)
    assert found['T2w', 'ventricle'] == pytest.approx(3.0, abs=0.05)
    assert found['T2w', 'sulcus'] == pytest.approx(2.0, abs=0.05)
    assert found['T2w', 'contrast_to_noise'] == pytest.approx(0.15 / 0.02, rel=0.05)
    assert found['FLAIR', 'contrast_to_noise'] == pytest.approx(0.15 / 0.08, rel=0.05)
    assert found['FLAIR', 'spectral_slope'] > found['T2w', 'spectral_slope'] > -8
    share = write_realism({'a': found}, {'b': found, 'c': found}, tmp_path)
    assert share == 1.0
    assert len((tmp_path / 'realism.tsv').read_text().splitlines()) == 1 + 3 * 3
    assert (tmp_path / 'realism.png').stat().st_size > 10_000


def test_real_heads_come_with_published_protocols(pytestconfig):
    brains = pytestconfig.rootpath.parent / 'shared' / 'data' / 'brains'
    if not brains.exists():
        pytest.skip('the real heads are not on this machine')
    case = next(iter(real_cases(brains)))
    assert case.source.acquisition.inversion_time == 0.8
    assert case.source.brain.sum() > 1e6
