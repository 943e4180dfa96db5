"""Tissue held to what two styles let expect."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.harmonizers.styles import Styles
from bids_distclip.harmonizers.tone import LIMITS, SLOPES, Tone, held_tissues, tone
from bids_distclip.harmonizers.tone import shown as shown_by
from bids_distclip.networks.photometer import FEATURES, TISSUES, Photometer
from bids_distclip.quality.tissue import channel
from bids_distclip.volume.image import Volume
from bids_distclip.volume.prepared import Prepared

#: Brightness of white matter, gray matter and fluid that the two acquisitions which the photometer here knows show.
BEFORE, AFTER = (0.9, 0.6, 0.3), (0.8, 0.6, 0.2)
TABLE = held_tissues()['T1w→T1w']['tissues']
SHARE = {name: row['share'] for name, row in TABLE.items()}


@pytest.fixture
def meter():
    brightness = torch.full((2, 2, len(TISSUES)), 0.5)
    brightness[:, :, :3] = torch.tensor([BEFORE, AFTER])
    error = torch.eye(len(TISSUES)).repeat(2, 1, 1)
    known = torch.eye(512)[:2].repeat(2, 1, 1)
    return Photometer(('T1w', 'T2w'), torch.zeros(2, FEATURES, len(TISSUES)), error, brightness, known)


def styles(source: int, target: int) -> Styles:
    both = torch.eye(512)[[source]], torch.eye(512)[[target]]
    return Styles(*both, seen=both[0], told=None, shown=both[1], words={})


def held_by(meter, source: Prepared, both: Styles, out: np.ndarray, **options) -> Tone | None:
    return tone(meter, source, both, out, **{'family': source.family or ''} | options)


def shown(pure, meter) -> dict[str, float]:
    """What voxels told to be a tissue show of what the photometer knows, ridge regression's narrowing included."""
    return shown_by(TABLE, meter.expected(torch.eye(512)[[pure]], family='T1w'))


def image(white: float, gray: float, fluid: float) -> Prepared:
    tissue = np.zeros((30, 20, 20), np.uint8)
    tissue[:10], tissue[10:20], tissue[20:] = channel('WM'), channel('CGM'), channel('CSF')
    data = np.choose(np.searchsorted([9, 19], np.arange(30)), [white, gray, fluid]).astype(np.float32)
    data = np.broadcast_to(data[:, None, None] * 200, tissue.shape).copy()
    brain = np.ones(data.shape, dtype=bool)
    volume = Volume(data, np.eye(4), nib.Nifti1Image(data, np.eye(4)).header)
    return Prepared(volume, brain, brain, 200.0, Acquisition(), 'T1w', tissue)


def drawn(*levels: float) -> np.ndarray:
    return image(*levels).volume.data / 200


def test_what_is_expected_of_a_style_is_what_acquisitions_of_that_style_show(meter):
    first, second = (meter.expected(torch.eye(512)[[i]], family='T1w')[:3].numpy() for i in (0, 1))
    np.testing.assert_allclose(first, BEFORE, atol=0.01)
    np.testing.assert_allclose(second, AFTER, atol=0.01)
    middle = torch.nn.functional.normalize(torch.eye(512)[[0]] + torch.eye(512)[[1]])
    assert float(meter.expected(middle, family='T1w')[0]) == pytest.approx((BEFORE[0] + AFTER[0]) / 2, abs=0.01)


def test_what_is_expected_never_leaves_what_acquisitions_show(meter):
    far = torch.nn.functional.normalize(torch.eye(512)[[1]] - 5 * torch.eye(512)[[0]])
    assert AFTER[0] <= float(meter.expected(far, family='T1w')[0]) <= BEFORE[0]


def test_one_style_is_left_alone(meter):
    source = image(0.77, 0.5, 0.2)
    assert held_by(meter, source, styles(0, 0), source.volume.data / np.float32(source.scale)) is None


def test_white_matter_that_is_as_expected_becomes_what_is_expected(meter):
    source = image(shown(0, meter)['WM'], 0.6, 0.3)
    for rendered in (0.7, 0.8, 0.9):
        held = held_by(meter, source, styles(0, 1), drawn(rendered, 0.6, 0.3))
        assert held.now['WM'] == pytest.approx(shown(1, meter)['WM'], rel=1e-3)


def test_of_what_white_matter_departs_from_its_style_a_share_is_the_persons(meter):
    source = image(1.1 * shown(0, meter)['WM'], 0.6, 0.3)
    held = held_by(meter, source, styles(0, 1), drawn(0.8, 0.6, 0.3))
    assert held.now['WM'] == pytest.approx(shown(1, meter)['WM'] * 1.1 ** (1 - SHARE['WM']), rel=1e-3)


@pytest.mark.parametrize('name', ['CGM', 'CSF'])
def test_the_other_tissues_keep_their_share_of_what_the_network_made_of_them(meter, name):
    source = image(shown(0, meter)['WM'], 0.6, 0.3)
    goal = shown(1, meter)
    held = held_by(meter, source, styles(0, 1), drawn(0.8, 0.55, 0.25))
    followed = held.was[name] * held.now['WM'] / held.was['WM']
    assert held.now[name] == pytest.approx((1 - SHARE[name]) * followed + SHARE[name] * goal[name], rel=1e-3)


def test_the_curve_goes_through_its_points_and_rises_everywhere():
    held = Tone({'CSF': 0.25, 'WM': 0.8, 'CGM': 0.5}, {'CSF': 0.2, 'WM': 0.9, 'CGM': 0.6}, {})
    levels = np.linspace(0, 2, 401, dtype=np.float32)
    made = held.applied(levels)
    assert made.dtype == np.float32
    assert made[0] == 0
    assert (np.diff(made) > 0).all()
    for name, before in held.was.items():
        assert float(held.applied(np.array([before]))[0]) == pytest.approx(held.now[name], rel=1e-5)
    beyond = levels > 0.8
    np.testing.assert_allclose(made[beyond], levels[beyond] * 0.9 / 0.8, rtol=1e-5)


def test_white_and_gray_that_look_alike_are_not_torn_apart(meter):
    source = image(shown(0, meter)['WM'], 0.85, 0.3)
    held = held_by(meter, source, styles(0, 1), drawn(0.8, 0.79, 0.3))
    factor = held.now['WM'] / held.was['WM']
    levels = [0.0, *sorted(held.was.values())]
    rise = np.diff(held.applied(np.array(levels))) / np.diff(levels) / factor
    assert rise.max() <= SLOPES[1] * 1.001
    assert rise.min() >= SLOPES[0] * 0.999
    assert held.now['WM'] == pytest.approx(shown(1, meter)['WM'], rel=1e-3)


@pytest.mark.parametrize('levels', [(0.8, 0.55, 0.0), (0.8, 0.55, 0.55), (0.8, 0.8, 0.2)])
def test_tissues_no_curve_can_tell_apart_follow_the_factor(meter, levels):
    source = image(shown(0, meter)['WM'], 0.6, 0.3)
    out = drawn(*levels)
    held = held_by(meter, source, styles(0, 1), out)
    made = held.applied(out)
    np.testing.assert_allclose(made, out * held.now['WM'] / held.was['WM'], rtol=1e-5)
    assert made.max() == pytest.approx(shown(1, meter)['WM'], rel=1e-3)
    assert held.error['CGM'] > TABLE['CGM']['error']


def test_what_would_need_too_large_a_factor_gets_the_largest(meter):
    held = held_by(meter, image(*BEFORE), styles(0, 1), drawn(0.3, 0.2, 0.1))
    assert held.now['WM'] == pytest.approx(LIMITS[1] * 0.3, rel=1e-4)


@pytest.mark.parametrize('change', [{'tissue': None}, {'family': 'bold'}, {'family': None},
                                    {'tissue': np.zeros((30, 20, 20), np.uint8)}])
def test_where_tissue_is_not_known_or_says_nothing_nothing_is_held(meter, change):
    source = replace(image(*BEFORE), **change)
    assert held_by(meter, source, styles(0, 1), drawn(0.7, 0.5, 0.2)) is None
    assert held_by(None, image(*BEFORE), styles(0, 1), drawn(0.7, 0.5, 0.2)) is None


def test_where_gray_matter_was_taken_for_white_nothing_is_held(meter):
    assert held_by(meter, image(0.7, 0.85, 0.2), styles(0, 1), drawn(0.7, 0.85, 0.2)) is None


def test_where_no_tissue_sets_the_scale_the_others_move_and_the_brightest_stays(meter):
    source = replace(image(0.4, 0.6, 0.9), family='T2w')
    out = drawn(0.42, 0.62, 0.9)
    held = held_by(meter, source, styles(0, 1), out)
    assert held.now['CSF'] == pytest.approx(0.9, rel=1e-5)
    assert held.now['WM'] > held.was['WM']
    np.testing.assert_allclose(held.applied(out)[source.tissue == channel('CSF')], 0.9, rtol=1e-5)


def test_of_another_contrast_tissues_are_drawn_by_their_shares_whatever_the_source_shows(meter):
    table = held_tissues()['T1w→T2w']
    goal = shown_by(table['tissues'], meter.expected(torch.eye(512)[[1]], family='T2w'))
    made = {name: value * 1.02 for name, value in goal.items()}
    for white in (0.7, 0.9):
        out = drawn(*(made[name] for name in ('WM', 'CGM', 'CSF')))
        held = held_by(meter, image(white, 0.5, 0.2), styles(0, 1), out, family='T2w')
        for name, row in table['tissues'].items():
            assert held.now[name] == pytest.approx(made[name] + row['share'] * (goal[name] - made[name]), rel=1e-3)
    assert table['scale'] is None
    assert table['tissues']['CGM']['share'] > 0 == table['tissues']['CSF']['share']


def test_a_contrast_that_nothing_was_measured_for_is_not_held(meter):
    assert 'T2w→T1w' not in held_tissues()
    source = replace(image(0.4, 0.6, 0.9), family='T2w')
    assert held_by(meter, source, styles(0, 1), drawn(0.8, 0.6, 0.3), family='T1w') is None


def test_every_tissue_of_the_table_can_be_told_and_holds_one_whole():
    for row in held_tissues().values():
        assert row['scale'] in (None, *row['tissues'])
        for name, tissue in row['tissues'].items():
            assert channel(name) > 0
            assert 0 <= tissue['share'] <= 1
            assert sum(tissue['holds']) == pytest.approx(1, abs=0.02)


def test_what_is_as_bright_as_a_tissue_may_be_off_as_far_as_it(meter):
    held = Tone({'WM': 0.8, 'CGM': 0.5}, {'WM': 0.9, 'CGM': 0.6}, {'WM': 0.02, 'CGM': 0.06})
    made = held.doubt(np.array([0.1, 0.6, 0.75, 0.9, 1.4]))
    np.testing.assert_allclose(made, [0.06, 0.06, 0.04, 0.02, 0.02], rtol=1e-5)


def test_the_nearer_the_target_the_less_a_tissue_may_be_off(meter):
    source, near = image(*BEFORE), torch.nn.functional.normalize(torch.eye(512)[[0]] + 0.2 * torch.eye(512)[[1]])
    far = held_by(meter, source, styles(0, 1), drawn(*BEFORE))
    close = held_by(meter, source, replace(styles(0, 1), target=near), drawn(*BEFORE))
    assert 0 < close.error['CGM'] < far.error['CGM'] == TABLE['CGM']['error']
