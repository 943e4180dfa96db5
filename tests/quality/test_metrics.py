"""Metrics against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.harmonizers.base import Target
from bids_distclip.quality import metrics
from bids_distclip.quality.parts import TISSUE_PARTS
from bids_distclip.quality.tissue import channel
from bids_distclip.volume.image import Volume
from bids_distclip.volume.prepared import Prepared


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)


@pytest.fixture
def prepared():
    grid = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing='ij'))
    radius = np.sqrt((grid**2).sum(axis=0))
    brain, head = radius < 13, radius < 17
    data = np.where(radius < 6, 900.0, np.where(brain, 600.0, np.where(head, 200.0, 0.0)))
    data = ndimage.gaussian_filter(data, 0.7) + head * np.random.default_rng(1).normal(0, 5, data.shape)
    image = nib.Nifti1Image(data.astype(np.float32), np.eye(4))
    volume = Volume(data.astype(np.float32), np.eye(4), image.header)
    return Prepared(volume, brain, head, 900.0, Acquisition(suffix='T1w'), 'T1w')


def test_psnr_of_a_constant_error_is_minus_20_log10_of_it():
    truth = np.zeros((12, 12, 12))
    assert metrics.psnr(truth + 0.1, truth) == pytest.approx(20.0)
    assert metrics.psnr(truth + 0.1, truth, data_range=2.0) == pytest.approx(20 + 20 * math.log10(2))


def test_psnr_of_equal_images_is_infinite():
    assert metrics.psnr(np.ones(5), np.ones(5)) == math.inf


def test_psnr_counts_only_errors_inside_the_mask():
    truth, pred = np.zeros((4, 4)), np.zeros((4, 4))
    pred[0], pred[1] = 1.0, 0.01
    mask = np.zeros((4, 4), dtype=bool)
    mask[1] = True
    assert metrics.psnr(pred, truth, mask=mask) == pytest.approx(40.0)


def test_ssim_of_two_constant_images_is_its_luminance_term():
    a, b, c1 = 0.3, 0.5, 0.01**2
    expected = (2 * a * b + c1) / (a**2 + b**2 + c1)
    assert metrics.ssim(np.full((16, 16), a), np.full((16, 16), b)) == pytest.approx(expected)


def test_ssim_is_one_for_equal_images_and_reads_the_mask(noise):
    assert metrics.ssim(noise, noise) == pytest.approx(1.0)
    other = noise.copy()
    other[:16] = 0
    far = np.zeros(noise.shape, dtype=bool)
    far[26:] = True
    assert metrics.ssim(noise, other, mask=far) == pytest.approx(1.0, abs=1e-4)
    assert metrics.ssim(noise, other) < 0.9


def test_paper_protocol_averages_decibels_over_slices_with_brain_only():
    truth = np.zeros((16, 16, 5))
    truth[4:12, 4:12, 1:3] = 1.0
    pred = truth.copy()
    pred[..., 0] = 0.7
    pred[..., 1] += 0.1
    pred[..., 2] += 0.01
    psnr, ssim = metrics.paper_protocol(pred, truth)
    assert psnr == pytest.approx((20 + 40) / 2)
    assert 0 < ssim < 1


def test_paper_protocol_refuses_a_truth_without_brain():
    with pytest.raises(ValueError, match='no slice'):
        metrics.paper_protocol(np.zeros((16, 16, 2)), np.zeros((16, 16, 2)))


@pytest.mark.parametrize('gain', [2.0, -0.5])
def test_structure_is_fully_preserved_by_any_linear_change_even_an_inversion(noise, gain):
    assert metrics.structure_preserved(noise, gain * noise + 3) == pytest.approx(1.0, abs=1e-4)


def test_structure_of_unrelated_noise_is_one_third(noise):
    other = np.random.default_rng(7).normal(size=noise.shape)
    assert metrics.structure_preserved(noise, other) == pytest.approx(1 / 3, abs=0.03)


def test_structure_of_a_flat_output_is_zero_and_of_a_flat_source_unknown(noise):
    flat = np.zeros_like(noise)
    assert metrics.structure_preserved(noise, flat) == 0
    assert math.isnan(metrics.structure_preserved(flat, noise))


@pytest.mark.parametrize('blur', [2.0, 3.0])
def test_sharpness_of_a_blurred_step_has_its_closed_form(blur):
    step = np.zeros((96, 12, 12), dtype=np.float32)
    step[48:] = 1
    smooth = ndimage.gaussian_filter1d(step, blur, axis=0)
    expected = ((blur**2 + 4) / (blur**2 + 1)) ** 0.25
    inside = np.zeros(step.shape, dtype=bool)
    inside[16:-16] = True
    assert metrics.sharpness(smooth, mask=inside) == pytest.approx(expected, rel=0.02)


def test_edge_sharpness_ratio_falls_with_blur_and_ignores_scale(noise):
    assert metrics.edge_sharpness_ratio(noise, 5 * noise) == pytest.approx(1.0, rel=1e-4)
    assert metrics.edge_sharpness_ratio(noise, ndimage.gaussian_filter(noise, 1.5)) < 0.8


def test_background_leak_is_the_mean_outside_the_head():
    head = np.zeros((4, 4, 4), dtype=bool)
    head[:2] = True
    data = np.where(head, 100.0, -0.25)
    assert metrics.background_leak(data, head=head) == pytest.approx(0.25)
    assert metrics.background_leak(data, head=np.ones_like(head)) == 0


def test_histogram_distance_of_a_shift_is_the_shift_and_of_a_stretch_half_of_it():
    sample = np.linspace(0, 1, 5001)
    assert metrics.histogram_distance(sample, sample + 0.2) == pytest.approx(0.2)
    assert metrics.histogram_distance(sample, 2 * sample) == pytest.approx(0.5, abs=1e-3)
    assert math.isnan(metrics.histogram_distance(sample, np.array([])))


def test_intensity_summary_of_a_uniform_ramp():
    found = metrics.intensity_summary(np.linspace(0, 100, 10001))
    assert found['median'] == pytest.approx(50)
    assert found['iqr'] == pytest.approx(50)
    assert found['std'] == pytest.approx(100 / math.sqrt(12), rel=1e-3)


def test_slices_of_uneven_brightness_jump_along_their_axis():
    rng = np.random.default_rng(0)
    data = ndimage.gaussian_filter(rng.normal(size=(24, 24, 24)), 2).astype(np.float32)
    data /= data.std()
    mask = np.ones(data.shape, dtype=bool)
    uneven = data + 0.2 * rng.normal(size=(1, 1, 24))
    even = [metrics.slice_jump(data, mask=mask, axis=axis, spacing=(1, 1, 1)) for axis in range(3)]
    assert np.allclose(even, 1, atol=0.15)
    assert metrics.slice_jump(uneven, mask=mask, axis=2, spacing=(1, 1, 1)) > 1.2 * even[2]
    assert metrics.slice_jump_ratio(data, 3 * data + 1, mask=mask, spacing=(1, 1, 1)) == pytest.approx(1, abs=1e-4)
    assert metrics.slice_jump_ratio(data, uneven, mask=mask, spacing=(1, 1, 1)) > 1.2
    assert np.isnan(metrics.slice_jump_ratio(0 * data, data, mask=mask, spacing=(1, 1, 1)))


def test_identity_towards_itself_changes_nothing(prepared):
    target = Target('image', 'self', 'T1w', image=prepared, scale=prepared.scale)
    found = metrics.image_metrics(prepared, prepared.volume.data, target)
    assert found['change']['value'] == 0
    assert found['histogram_distance']['value'] == 0
    assert found['structure_preserved']['value'] == pytest.approx(1.0, abs=1e-4)
    assert found['class_bright']['value'] == pytest.approx(found['class_bright']['before'])


def test_every_number_of_an_image_says_its_meaning_and_what_is_good(prepared):
    target = Target('image', 'self', 'T1w', image=prepared, scale=500.0)
    found = metrics.image_metrics(prepared, prepared.volume.data * 0.5, target)
    styles = ('source_known', 'target_known', 'target_told_known', 'source_told', 'source_told_known',
              'source_family', 'output_family', 'target_after')
    found |= metrics.style_metrics({**dict.fromkeys(styles, 0.5), 'target_before': 0.2, 'map': {'source': [0, 1]}})
    assert found['target_after']['before'] == 0.2
    assert set(found) | set(TISSUE_PARTS) == set(metrics.metric_table())
    for entry in found.values():
        assert all(entry[key] for key in ('meaning', 'good', 'label'))
        assert isinstance(entry['value'], float)


def test_tissues_are_compared_where_they_are_known(prepared):
    tissue = np.where(prepared.volume.data > 750, channel('WM'), channel('CGM')).astype(np.uint8) * prepared.brain
    known = replace(prepared, tissue=tissue)
    found = metrics.image_metrics(known, known.volume.data * 0.5, Target('protocol', 'p', 'T1w', scale=500.0))
    assert found['white_matter']['before'] == pytest.approx(1.0, abs=0.02)
    assert found['white_matter']['value'] == pytest.approx(0.9, abs=0.02)
    assert found['cortical_gray']['before'] == pytest.approx(600 / 900, abs=0.02)
    assert not {'cerebrospinal_fluid', 'class_dark'} & set(found)


def test_without_a_target_image_there_is_no_histogram_distance(prepared):
    found = metrics.image_metrics(prepared, prepared.volume.data, Target('protocol', 'p', 'T1w', scale=900.0))
    assert 'histogram_distance' not in found


def test_a_larger_brain_value_outside_the_head_is_seen_as_leak(prepared):
    leaking = prepared.volume.data + 90.0 * ~prepared.head
    found = metrics.image_metrics(prepared, leaking, Target('protocol', 'p', 'T1w', scale=900.0))
    leak = found['background_leak']
    assert leak['value'] == pytest.approx(leak['before'] + 0.1, abs=1e-3)
