from __future__ import annotations

import numpy as np
import pytest

from bids_distclip.volume import bias
from bids_distclip.volume.bias import corrected, left_field, n4_field


def _ball():
    axes = np.indices((48, 48, 40)) - np.array([23.5, 23.5, 19.5])[:, None, None, None]
    radius = np.sqrt((axes**2).sum(axis=0))
    tissue = np.where(radius < 10, 60.0, np.where(radius < 18, 100.0, 0.0))
    return tissue, radius < 18


def test_n4_takes_a_smooth_field_away_and_keeps_the_mean_in_the_brain():
    tissue, brain = _ball()
    field = np.exp(np.linspace(-0.4, 0.4, 48))[:, None, None] * np.ones_like(tissue)
    data = (tissue * field + np.random.default_rng(0).normal(0, 1, tissue.shape)).astype(np.float32)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    found = n4_field(data, affine=affine, mask=brain)
    assert found.shape == data.shape
    white = tissue == 100
    flat = corrected(data, field=found, brain=brain)
    assert flat[white].std() / flat[white].mean() < 0.3 * data[white].std() / data[white].mean()
    assert flat[brain].mean() == pytest.approx(data[brain].mean(), rel=1e-4)
    assert np.log(found[brain]).mean() == pytest.approx(0, abs=1e-3)


def test_outside_its_mask_the_field_stays_within_the_range_inside():
    tissue, brain = _ball()
    data = (tissue * np.exp(np.linspace(-0.5, 0.5, 40))[None, None, :]).astype(np.float32)
    found = n4_field(data, affine=np.diag([4.0, 4.0, 4.0, 1.0]), mask=brain, iterations=(20, 20))
    assert found.min() >= found[brain].min()
    assert found.max() <= found[brain].max()


def test_the_grid_of_thick_left_handed_slices_is_kept():
    tissue, brain = _ball()
    data = tissue[:, :, ::4].astype(np.float32)
    found = n4_field(data, affine=np.diag([-4.0, 4.0, 16.0, 1.0]), mask=brain[:, :, ::4], iterations=(5,))
    assert found.shape == data.shape
    assert np.isfinite(found).all()


def test_a_rough_first_look_finds_the_field_that_four_millimetres_find(monkeypatch):
    tissue, brain = _ball()
    tissue, brain = (np.kron(a, np.ones((2, 2, 2), a.dtype)) for a in (tissue, brain))
    x, y, z = np.indices(tissue.shape) / 96 - 0.5
    true = np.exp(0.5 * x - 0.4 * y**2 + 0.3 * z * y)
    data = (tissue * true + np.random.default_rng(0).normal(0, 1, tissue.shape)).astype(np.float32)

    def error() -> float:
        found = n4_field(data, affine=np.diag([2.0, 2, 2, 1]), mask=brain, iterations=(30, 30, 20))
        return float(np.log(found / true)[brain].std())

    rough = error()
    monkeypatch.setattr(bias, '_ROUGH_SIZE', 0.0)
    assert rough < 1.1 * error()
    assert rough < 0.3 * np.log(true)[brain].std()


def test_what_is_left_in_white_matter_is_found_and_a_lesion_in_it_is_not_taken_for_it():
    tissue, _ = _ball()
    white = tissue == 100
    x, y, z = np.indices(tissue.shape) - np.array([34, 24, 20])[:, None, None, None]
    lesion = (x**2 + y**2 + z**2 < 36) & white
    true = np.exp(np.linspace(-0.15, 0.15, 48))[:, None, None] * np.ones_like(tissue)
    noise = np.random.default_rng(0).normal(1, 0.03, tissue.shape)
    data = (np.where(lesion, 1.5, 1.0) * tissue * true * noise).astype(np.float32)
    found = left_field(data, affine=np.diag([4.0, 4.0, 4.0, 1.0]), white=white)
    assert np.log(found / true)[white & ~lesion].std() < 0.3 * np.log(true)[white].std()
    kept = np.median((data / found)[lesion]) / np.median((data / found)[white & ~lesion])
    assert kept == pytest.approx(1.5, rel=0.05)


def test_where_there_is_no_white_matter_or_it_has_no_spread_nothing_is_left():
    tissue, brain = _ball()
    for white in (tissue == 100, np.zeros_like(brain)):
        field = left_field(tissue.astype(np.float32), affine=np.diag([4.0, 4.0, 4.0, 1.0]), white=white)
        np.testing.assert_array_equal(field, np.ones(tissue.shape))
