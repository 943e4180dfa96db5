from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_distclip.acquisition.family import infer_family
from bids_distclip.simulation.anatomy import from_labels
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.phantom import phantom, phantom_labels
from bids_distclip.simulation.protocol import draw_protocol, scanner_rows
from bids_distclip.simulation.scanner import draw_effects, draw_resolution, limit_resolution
from bids_distclip.simulation.signature import LENGTH, signature
from bids_distclip.simulation.slices import SliceGeometry, render_slice, slice_points
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.simulation.surroundings import fluid_surroundings
from bids_distclip.simulation.tissue import tissue_table


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


def test_noise_of_several_coils_is_non_central_chi_where_there_is_no_signal():
    from bids_distclip.simulation.scanner import Effects, apply_effects

    quiet = {'bias': 0.0, 'keep': (1.0, 1.0), 'window': 0.0, 'sharpen': 0.0, 'ghost': 0.0}
    air = apply_effects(torch.zeros(200, 200), Effects(noise=0.05, seed=4, coils=4, **quiet))
    # The mean of chi with 2n degrees of freedom: sqrt(2) gamma(n + 1/2) / gamma(n).
    assert air.mean().item() == pytest.approx(0.05 * np.sqrt(2) * 11.6317 / 6, rel=0.01)


def test_a_head_that_moves_late_leaves_ghosts_but_stays_in_place():
    from bids_distclip.simulation.scanner import Move, move_head

    image = torch.zeros(96, 96)
    image[30:60, 20:70] = 1.0
    moved = move_head(image, (Move(0.3, (2.0, -1.0), 2.0),))
    rows = torch.arange(96.0)[:, None]
    middle = ((rows * moved).sum() / moved.sum()).item()
    assert middle == pytest.approx(44.5, abs=1.0)
    assert moved[:25].abs().mean() > 10 * 1e-4
    assert torch.equal(move_head(image, ()), image)
    turned = move_head(image, (Move(-0.3, (0.0, 0.0), 0.0),))
    assert torch.allclose(turned, image, atol=1e-4)


def test_a_shift_of_all_outer_lines_moves_edges_by_that_many_pixels():
    from bids_distclip.simulation.scanner import Move, _moved

    image = torch.zeros(64, 80)
    image[20, 30] = 1.0
    shifted = _moved(image, Move(0.5, (3.0, -4.0), 0.0))
    assert divmod(int(shifted.argmax()), 80) == (23, 26)
    quarter = _moved(image, Move(0.5, (0.0, 0.0), 180.0))
    assert divmod(int(quarter.argmax()), 80) == (43, 49)


def fluid_by_height(anatomy, millimetres: float) -> dict[int, torch.Tensor]:
    """Where the ventricles are in axial slices from 24 mm below to 24 mm above the brain's centre."""
    head = Head(anatomy, seed=5, deform_mm=0.0, ventricles_mm=millimetres)
    found = {}
    for offset in range(-24, 25, 4):
        points = slice_points(SliceGeometry(axis=2, offset=offset, size=(160, 192)), oversample=1).reshape(-1, 3)
        label = head.at(points, field_strength=3.0).label.reshape(160, 192)
        found[offset] = label == tissue_table(3.0).index('csf')
    return found


def test_ventricles_grow_and_shrink(anatomy):
    volumes = [sum(int(f.sum()) for f in fluid_by_height(anatomy, mm).values()) for mm in (-1.5, 0.0, 3.0, 6.0)]
    assert volumes == sorted(volumes)
    assert volumes[0] < 0.9 * volumes[1]
    assert volumes[3] > 1.5 * volumes[1]


def test_the_skull_stays_where_it_is_when_ventricles_grow(anatomy):
    geometry = SliceGeometry(axis=2, offset=0.0, size=(160, 192))
    protocol = draw_protocol(np.random.default_rng(1), family='T2w')
    small, large = (
        render_slice(
            Head(anatomy, seed=5, deform_mm=0.0, ventricles_mm=mm), [protocol], geometry, effects=[None], scales=[0.3]
        )
        for mm in (0.0, 6.0)
    )
    assert torch.equal(small.head, large.head)


def test_skull_stripping_leaves_no_hole_in_large_ventricles(anatomy):
    offset, fluid = max(fluid_by_height(anatomy, 8.0).items(), key=lambda item: int(item[1].sum()))
    geometry = SliceGeometry(axis=2, offset=offset, size=(160, 192))
    protocol = draw_protocol(np.random.default_rng(1), family='T2w')
    head = Head(anatomy, seed=5, deform_mm=0.0, ventricles_mm=8.0)
    made = render_slice(head, [protocol], geometry, effects=[None], scales=[0.3], strip=0.5, oversample=1)
    assert fluid.sum() > 500
    assert (made.brain[fluid] > 0.5).float().mean() > 0.99


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


@pytest.fixture(scope='module')
def narrow_and_wide():
    """White matter in a box of fluid, cut through by a cleft two voxels wide."""
    labels = np.zeros((60, 60, 60), dtype=np.int16)
    labels[5:-5, 5:-5, 5:-5] = 24
    labels[20:-20, 20:-20, 20:-20] = 2
    labels[29:31, 20:-20, 20:-20] = 24
    return from_labels(labels, name='cleft')


def test_a_cleft_is_less_open_than_a_cistern(narrow_and_wide):
    openness, beyond = fluid_surroundings(narrow_and_wide).float() / 255
    assert openness.shape == beyond.shape == narrow_and_wide.tissue.shape
    assert beyond[12, 30, 30] == 0
    assert 0.2 < float(beyond[5, 30, 30]) < 0.6
    assert openness[24, 30, 30] == 0
    assert 0.2 < float(openness[29, 30, 30]) < 0.6
    assert openness[12, 30, 30] == 1


def test_narrow_fluid_is_darker_on_t2w_than_wide_fluid(narrow_and_wide):
    rng = np.random.default_rng(0)
    cleft, cistern = torch.tensor([[29.0, 30, 30]]), torch.tensor([[12.0, 30, 30]])
    levels = []
    for seed in range(12):
        protocol = draw_protocol(rng, family='T2w').usual()
        head = Head(narrow_and_wide, seed=seed, deform_mm=0.0, texture_scale=0.0)
        points = [where - torch.as_tensor(narrow_and_wide.center) for where in (cleft, cistern)]
        levels.append([float(protocol.render(head.at(p, field_strength=3.0).tissue)) for p in points])
    narrow, wide = np.array(levels).T
    assert np.median(narrow / wide) < 0.9
    assert (narrow > 0).all()


def test_fluid_at_the_outer_surface_is_darker_on_t2w_than_within(narrow_and_wide):
    rng = np.random.default_rng(1)
    levels = []
    for seed in range(12):
        protocol = draw_protocol(rng, family='T2w').usual()
        head = Head(narrow_and_wide, seed=seed, deform_mm=0.0, texture_scale=0.0)
        rows = [torch.tensor([[x, float(y), 30.0] for y in range(20, 40)]) for x in (5.0, 12.0)]
        points = [where - torch.as_tensor(narrow_and_wide.center) for where in rows]
        levels.append([float(protocol.render(head.at(p, field_strength=3.0).tissue).median()) for p in points])
    surface, within = np.array(levels).T
    assert np.median(surface / within) < 0.8
    assert (surface > 0).all()


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


def test_a_window_below_zero_enhances_edges_and_keeps_the_mean():
    image = torch.zeros(64, 64)
    image[32, 32] = 1.0
    gain = torch.fft.fft2(limit_resolution(image, keep=(1.0, 1.0), window=-0.5)).abs()
    # Halfway to the rim of k-space half of the enhancement is there, along each axis.
    expected = {(0, 0): 1.0, (16, 0): 1.25, (0, 32): 1.5, (32, 32): 1.5**2}
    assert {place: gain[place].item() for place in expected} == pytest.approx(expected, rel=1e-4)


def test_some_scans_have_their_edges_enhanced_and_all_of_k_space():
    drawn = [draw_resolution(np.random.default_rng(seed)) for seed in range(400)]
    enhanced = [keep for keep, window in drawn if window < 0]
    assert 0.18 < len(enhanced) / len(drawn) < 0.32
    assert set(enhanced) == {(1.0, 1.0)}
    assert min(window for _, window in drawn) >= -0.7
