from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.benchmark.uncertainty import (
    COVERED,
    Errors,
    calibrate,
    calibrate_each,
    expected,
    fit,
    oracle_rank,
    report,
    write_calibration,
)
from bids_distclip.networks.weights import _calibration


def errors(*, floor: float, planes: float, style: float = 0.0, noise: float = 0.0, head: str = 'a', seed: int = 0):
    """Return normal errors whose variance is the weighted sum of the squares of three terms, and of a floor."""
    rng = np.random.default_rng(seed)
    terms = {'planes': rng.gamma(2.0, 0.02, 60_000), 'style': rng.gamma(2.0, 0.03, 60_000),
             'noise': np.full(60_000, rng.uniform(0.01, 0.05))}
    weights = {'floor': floor, 'planes': planes, 'style': style, 'noise': noise}
    error = np.abs(rng.normal(0, expected(terms, weights)))
    return Errors(head, 'T1w→T1w', 'residual', 'metadata', terms, error)


@pytest.mark.parametrize(
    'weights',
    [
        {'floor': 0.02, 'planes': 1.5, 'style': 0.0},
        {'floor': 0.015, 'planes': 0.5, 'style': 2.0},
        {'floor': 0.03, 'planes': 0.0, 'style': 1.0},
    ],
)
def test_known_weights_are_found_again(weights):
    found = calibrate([errors(**weights, seed=s) for s in range(3)])
    for name in ('planes', 'style'):
        assert found[name] == pytest.approx(weights[name], rel=0.15, abs=0.15)


def test_noise_is_told_from_the_floor_by_results_of_different_noise():
    some = [errors(floor=0.001, planes=0.5, style=0.5, noise=1.2, seed=s) for s in range(6)]
    assert calibrate(some)['noise'] == pytest.approx(1.2, rel=0.15)


def test_the_calibration_covers_the_errors_of_another_head():
    some = [errors(floor=0.01, planes=1.0, style=1.0, head=head, seed=s) for s, head in enumerate('aab')]
    row, whole = report(some, calibrate_each(some))
    assert (row['pair'], whole['pair']) == ('T1w→T1w', 'all')
    assert row['covered_1'] == pytest.approx(COVERED, abs=0.02)
    assert row['covered_2'] == pytest.approx(0.954, abs=0.02)
    assert row['spearman'] > 0.2


def test_terms_that_say_nothing_leave_only_the_floor():
    one = errors(floor=0.02, planes=0.0)
    found = calibrate([one])
    assert expected(one.terms, found).mean() == pytest.approx(0.02, rel=0.05)
    assert abs(report([one], {'a': {'residual': found}})[0]['spearman']) < 0.05


def test_a_term_that_ranks_voxels_wrongly_is_not_weighed_though_it_knows_how_far_a_whole_result_is_off():
    some = []
    for seed, head in enumerate('aabbcc'):
        rng = np.random.default_rng(seed)
        level, style = np.exp(rng.uniform(-1, 2)), rng.gamma(2.0, 0.03, 40_000)
        terms = {'style': style, 'planes': level * np.clip(0.12 - style, 0.0, None)}
        some.append(Errors(head, 'T1w→T1w', 'residual', 'metadata', terms, np.abs(rng.normal(0, level * style))))
    assert fit(some)['planes'] > 0.05
    found = calibrate(some)
    assert found['planes'] == 0
    assert found['style'] > 1


def test_each_head_is_told_with_the_calibration_of_the_others():
    some = [errors(floor=0.01, planes=1.0, head='a'), errors(floor=0.03, planes=2.0, head='b', seed=1)]
    each = calibrate_each(some)
    assert each['a']['residual'] == calibrate(some[1:])
    assert each['b']['residual'] == calibrate(some[:1])
    assert calibrate_each(some[:1])['a']['residual'] == calibrate(some[:1])


def test_a_term_that_cannot_be_told_is_left_out():
    one = errors(floor=0.02, planes=0.0, style=1.0)
    bare = Errors(one.head, one.pair, one.mode, one.guide, {'style': one.terms['style']}, one.error)
    found = calibrate([bare])
    assert found['planes'] == found['noise'] == 0
    assert found['style'] == pytest.approx(1.0, rel=0.15)


def test_the_file_is_what_is_read_beside_weights(tmp_path):
    assert _calibration(tmp_path) == {}
    known = {'residual': {'floor': 0.01, 'planes': 2.0, 'style': 1.0, 'noise': 0.5, 'tissue': 0.9}}
    write_calibration(known, tmp_path / 'calibration.json')
    assert _calibration(tmp_path) == known
    older = {name: value for name, value in known['residual'].items() if name != 'tissue'}
    write_calibration({'residual': older}, tmp_path / 'calibration.json')
    assert _calibration(tmp_path) == {'residual': older | {'tissue': 0.0}}


def test_an_oracle_of_tissue_knows_how_far_each_is_off_and_nothing_more():
    rng = np.random.default_rng(0)
    tissue = np.repeat([1, 2], 20_000)
    far = np.abs(rng.normal(0, np.where(tissue == 1, 0.01, 0.1)))
    assert 0.6 < oracle_rank(far, tissue) < 0.9
    assert abs(oracle_rank(np.abs(rng.normal(0, 0.1, 40_000)), tissue)) < 0.02
    assert np.isnan(oracle_rank(far, None))
    assert np.isnan(oracle_rank(far, np.ones(40_000, np.uint8)))
