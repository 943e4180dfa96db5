from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.benchmark.uncertainty import COVERED, Errors, calibrate, report, write_calibration
from bids_distclip.networks.weights import _calibration


def errors(*, floor: float, gain: float, head: str = 'a', seed: int = 0) -> Errors:
    """Return normal errors whose standard deviation is √(floor² + (gain · spread)²)."""
    rng = np.random.default_rng(seed)
    spread = rng.gamma(2.0, 0.02, 60_000)
    error = np.abs(rng.normal(0, np.hypot(floor, gain * spread)))
    return Errors(head, 'T1w→T1w', 'residual', 'metadata', spread, error)


@pytest.mark.parametrize(('floor', 'gain'), [(0.02, 1.5), (0.015, 2.0), (0.03, 0.5)])
def test_a_known_relation_is_found_again(floor, gain):
    found = calibrate([errors(floor=floor, gain=gain)])
    assert found['floor'] == pytest.approx(floor, rel=0.15, abs=0.003)
    assert found['gain'] == pytest.approx(gain, rel=0.15)


def test_the_calibration_covers_the_errors_of_another_head():
    known = {'residual': calibrate([errors(floor=0.01, gain=2.0)])}
    (row,) = report([errors(floor=0.01, gain=2.0, head='b', seed=1)], known)
    assert row['covered_1'] == pytest.approx(COVERED, abs=0.02)
    assert row['covered_2'] == pytest.approx(0.954, abs=0.02)
    assert row['spearman'] > 0.3


def test_a_spread_that_says_nothing_leaves_only_the_floor():
    one = errors(floor=0.02, gain=0.0)
    assert calibrate([one])['floor'] == pytest.approx(0.02, rel=0.05)
    assert abs(report([one], {'residual': {'floor': 0.02, 'gain': 0.0}})[0]['spearman']) < 0.05


def test_the_file_is_what_is_read_beside_weights(tmp_path):
    assert _calibration(tmp_path) == {}
    write_calibration({'residual': {'floor': 0.01, 'gain': 2.0}}, tmp_path / 'calibration.json')
    assert _calibration(tmp_path) == {'residual': {'floor': 0.01, 'gain': 2.0}}
