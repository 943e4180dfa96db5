from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_distclip.acquisition.family import infer_family
from bids_distclip.simulation.anatomy import from_labels
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.phantom import phantom, phantom_labels
from bids_distclip.simulation.protocol import draw_protocol, scanner_rows
from bids_distclip.simulation.scanner import draw_effects, limit_resolution
from bids_distclip.simulation.signature import LENGTH, signature
from bids_distclip.simulation.slices import SliceGeometry, render_slice
from bids_distclip.simulation.stream import SliceStream, StreamOptions


@pytest.fixture(scope='module')
def anatomy():
    return phantom(seed=1)


@pytest.fixture(scope='module')
def batch(anatomy):
    return SliceStream([anatomy], StreamOptions(slices=2, protocols=2, size=96, seed=3), length=4)[0]


def test_a_batch_of_one_number_is_always_the_same(anatomy, batch):
    again = SliceStream([anatomy], StreamOptions(slices=2, protocols=2, size=96, seed=3), length=4)[0]
    assert torch.equal(batch.noisy, again.noisy)
    assert [p.sidecar for row in batch.protocols for p in row] == [p.sidecar for row in again.protocols for p in row]


def test_batches_of_two_numbers_differ(anatomy, batch):
    other = SliceStream([anatomy], StreamOptions(slices=2, protocols=2, size=96, seed=3), length=4)[1]
    assert not torch.equal(batch.noisy, other.noisy)


def test_images_are_finite_and_of_order_one(batch):
    assert torch.isfinite(batch.noisy).all()
    inside = batch.clean[:, 0][batch.brain > 0.9]
    assert 0.05 < inside.mean() < 1.2


@pytest.mark.parametrize('row', scanner_rows(), ids=lambda r: r['name'])
def test_what_a_scanner_writes_is_read_as_the_family_it_shows(row):
    rng = np.random.default_rng(0)
    calls = []
    for _ in range(20):
        protocol = draw_protocol(rng, family=row['family'], scanner=row['name'])
        calls.append(infer_family(protocol.acquisition).family)
    assert calls.count(row['family']) == 20


def test_noise_is_rician_where_there_is_no_signal():
    from bids_distclip.simulation.scanner import Effects, apply_effects

    effects = Effects(noise=0.05, bias=0.0, keep=(1.0, 1.0), window=0.0, sharpen=0.0, ghost=0.0, seed=4)
    air = apply_effects(torch.zeros(200, 200), effects)
    assert air.mean().item() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.03)


def test_a_resolution_limit_keeps_the_mean_and_removes_detail():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(64, 64, generator=generator)
    limited = limit_resolution(image, keep=(0.5, 0.5), window=0.5)
    assert limited.mean() == pytest.approx(image.mean().item(), rel=1e-4)
    assert limited.std() < 0.7 * image.std()


def test_a_lesion_changes_only_its_surroundings(anatomy):
    geometry = SliceGeometry(axis=2, offset=10.0, size=(160, 192))
    protocol = draw_protocol(np.random.default_rng(1), family='FLAIR')
    whole, sick = (
        render_slice(Head(anatomy, seed=5, lesion_kinds=kinds), [protocol], geometry, effects=[None], scales=[0.3])
        for kinds in ((), ('ms', 'oedema'))
    )
    outside = (sick.lesion < 1e-3) & (sick.brain > 0)
    assert sick.lesion.max() > 0.5
    assert (whole.clean - sick.clean)[0][outside].abs().max() < 0.08
    assert (whole.clean - sick.clean)[0][sick.lesion > 0.8].abs().mean() > 0.02


def test_brain_only_label_maps_get_fluid_in_their_sulci():
    labels = phantom_labels(seed=2)
    labels[(labels > 500) | (labels == 24)] = 0
    filled = from_labels(labels, name='brain')
    assert not filled.whole_head
    assert filled.brain.sum() > (labels > 0).sum()


def test_a_signature_holds_brightness_timing_and_family():
    protocol = draw_protocol(np.random.default_rng(2), family='T2w')
    vector = signature(protocol, scale=0.4)
    assert vector.shape == (LENGTH,)
    assert vector[2] > vector[1] > 0


def test_effects_scale_with_their_strength():
    rng = np.random.default_rng(7)
    weak = [draw_effects(rng, resolution=((1.0, 1.0), 0.5), strength=0.1).noise for _ in range(50)]
    strong = [draw_effects(rng, resolution=((1.0, 1.0), 0.5), strength=1.0).noise for _ in range(50)]
    assert np.mean(weak) < np.mean(strong) / 3
