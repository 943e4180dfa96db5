"""Passes through three planes fused in several ways: a scan made by hand, and a phantom through a tiny generator."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_distclip.benchmark import passes
from bids_distclip.benchmark.cli import add_evaluate_arguments, run_evaluate
from bids_distclip.benchmark.fusion import FusionNet, fused_by, train_fusion
from bids_distclip.benchmark.passes import Passes, simulated_passes
from bids_distclip.benchmark.planes import APP, COLUMNS, NEAREST, NET, PLANES, compare_fusions, summary, uneven
from bids_distclip.errors import UsageError
from bids_distclip.harmonizers.distclip import DistClip
from bids_distclip.networks import weights
from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.weights import load_trained
from bids_distclip.simulation.anatomy import from_labels
from bids_distclip.simulation.phantom import phantom_labels
from bids_distclip.simulation.volumes import SimulatedVolume

PAIRS = [('T1w', 'T1w'), ('T1w', 'T2w')]


def scan(*, person: str = 'one', seed: int = 0, off: float = 0.05, size: int = 36) -> Passes:
    """A smooth truth; every plane errs from slice to slice along its own axis."""
    rng = np.random.default_rng(seed)
    shape = (size, size + 2, size + 4)
    truth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    truth = (0.5 + 0.2 * truth / truth.std()).astype(np.float32)
    image = np.clip(0.8 * truth, 0, None)
    ways = [np.expand_dims(rng.normal(0, off, n), [a for a in range(3) if a != axis]) for axis, n in enumerate(shape)]
    made = np.stack([truth - image + way for way in ways]).astype(np.float32)
    whole = np.ones(shape, dtype=bool)
    return Passes('simulated', person, 'T1w-T1w', 'T1w→T1w', True, (1.0, 1.0, 1.0), image, whole, whole, made, truth)


def rows_of(*scans: Passes, net: FusionNet | None = None) -> dict:
    return {row['fusion']: row for row in compare_fusions(scans, net=net)}


def test_a_plane_whose_slices_were_treated_apart_jumps_along_its_own_axis():
    rows = rows_of(scan())
    for plane in PLANES:
        others = [rows[plane][f'jump_{other}'] for other in PLANES if other != plane]
        assert rows[plane][f'jump_{plane}'] == rows[plane]['jump_worst'] > 1.1 > max(others)
    assert rows['mean']['jump_worst'] < min(rows[plane]['jump_worst'] for plane in PLANES)


def test_fusing_gains_on_every_plane_and_nothing_on_the_nearest():
    rows = rows_of(scan())
    assert max(rows[plane]['psnr_brain'] for plane in PLANES) < rows['median']['psnr_brain']
    assert rows['median']['psnr_brain'] < rows['mean']['psnr_brain'] + 1 < rows[NEAREST]['psnr_brain'] + 1
    assert APP not in rows


def test_a_real_scan_has_no_truth_and_what_the_app_makes_uneven_is_told():
    one = scan()
    bumpy = one.image + one.passes[2]
    real = replace(one, data='whole heads', truth=None, app=bumpy)
    rows = list(compare_fusions([real]))
    assert NEAREST not in {row['fusion'] for row in rows}
    assert all('psnr_brain' not in row for row in rows)
    (line,) = uneven(rows)
    assert 'axial 1.' in line
    assert 'coronal' not in line
    assert uneven(list(compare_fusions([replace(real, app=one.image)]))) == []


def test_of_thick_slices_there_is_the_app_s_result_alone():
    one = scan()
    thick = replace(one, data='whole heads', truth=None, passes=one.passes[2:], app=one.image)
    (row,) = compare_fusions([thick])
    assert row['fusion'] == APP
    assert row['jump_worst'] == pytest.approx(1)
    assert '| app | 1 |' in summary([row])


def test_a_network_starts_as_the_mean_stays_between_the_planes_and_learns_whom_to_trust():
    good = scan(off=0.01)
    worse = replace(good, passes=good.passes + np.array([0.0, 0.1, 0.1], np.float32)[:, None, None, None])
    pictures = worse.pictures
    np.testing.assert_allclose(fused_by(FusionNet(), worse.image, pictures), pictures.mean(0), atol=1e-5)
    net = train_fusion([worse], crops=4, side=12, steps=30)
    made = fused_by(net, worse.image, pictures, slab=10)
    np.testing.assert_allclose(made, fused_by(net, worse.image, pictures, slab=100), atol=1e-5)
    assert (made <= pictures.max(0) + 1e-5).all()
    assert (made >= pictures.min(0) - 1e-5).all()
    rows = rows_of(worse, net=net)
    assert rows[NET]['psnr_brain'] > rows['mean']['psnr_brain'] + 3
    assert 1000 < sum(p.numel() for p in net.parameters()) < 5000


def test_the_table_compares_with_the_median_person_by_person():
    rows = list(compare_fusions(scan(person=name, seed=seed) for seed, name in enumerate('abc')))
    assert all(set(row) <= set(COLUMNS) for row in rows)
    table = summary(rows)
    mean = next(line for line in table.splitlines() if '| mean |' in line)
    assert mean.startswith('| simulated | T1w→T1w | mean | 3 | ')
    assert '| +' in mean or '| -' in mean
    assert ' ± ' in mean
    assert '±' not in summary(rows[:12])


@pytest.fixture
def tiny(monkeypatch):
    """The shipped weights with a generator of a few channels that knows nothing, and quick pictures of a head."""
    torch.manual_seed(0)
    options = GeneratorOptions(mapper=(8, 8), decoder=(8, 8))
    shown = replace(load_trained(), generator=Generator(options).eval())
    monkeypatch.setattr(weights, 'load_trained', lambda *_, **__: shown)

    def pictured(head, protocols, *, size, **options):
        grid = np.linalg.norm(np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing='ij')), axis=0)
        brain = (grid < 0.8).astype(np.float32)
        pictures = [brain * (0.5 + 0.4 * np.sin((9 + i) * grid)).astype(np.float32) for i in range(len(protocols))]
        return [SimulatedVolume(one, one, brain, 0 * brain, brain.astype(np.uint8), np.eye(4)) for one in pictures]

    monkeypatch.setattr(passes, 'simulate_volumes', pictured)


def test_passes_of_simulated_heads_are_made_once(tiny, tmp_path, monkeypatch):
    anatomy = from_labels(phantom_labels(size=(80, 100, 95)), name='small')

    def made() -> list[Passes]:
        return list(simulated_passes([anatomy], PAIRS, tmp_path, people=1, size=(32, 40, 36)))

    first = made()
    assert [one.pair for one in first] == ['T1w→T1w', 'T1w→T2w']
    assert [one.residual for one in first] == [True, False]
    assert first[0].passes.shape == (3, *first[0].image.shape)
    monkeypatch.setattr(passes, 'simulate_volumes', None)
    monkeypatch.setattr(DistClip, 'harmonize', None)
    for one, again in zip(first, made(), strict=True):
        np.testing.assert_array_equal(one.passes, again.passes)
        assert rows_of(one) == rows_of(again)


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    return parser.parse_args(['planes', *words])


def test_the_command_asks_for_something_to_fuse(tmp_path: Path):
    with pytest.raises(UsageError):
        run_evaluate(asked('--out', str(tmp_path)))
