from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.harmonizers.base import Target
from bids_distclip.harmonizers.distclip import DistClip
from bids_distclip.harmonizers.styles import PICTURED, guide_style, seen_style
from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.weights import CARD, CLIP, GENERATOR, load_trained, save_weights
from bids_distclip.quality.tissue import channel
from bids_distclip.volume.image import Volume
from bids_distclip.volume.prepared import Prepared

MPRAGE = Acquisition(echo_time=0.003, repetition_time=2.3, inversion_time=0.9, flip_angle=9.0, suffix='T1w')
NEARLY = replace(MPRAGE, inversion_time=0.895)
FLASH = Acquisition(echo_time=0.004, repetition_time=0.02, flip_angle=25.0, suffix='T1w')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Small networks that do *something*: what is tested here is what surrounds them."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('weights')
    options = GeneratorOptions(mapper=(8, 8), decoder=(8, 8))
    generator = Generator(options)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_weights(folder / GENERATOR, generator, options=options.to_dict())
    save_weights(folder / CLIP, MRCLIP(), options={'config': 'mrclip-tiny'})
    (folder / CARD).write_text(json.dumps({'name': 'test'}))
    return folder


def prepared(
    *, affine: np.ndarray | None = None, shape: tuple[int, int, int] = (40, 48, 36), seed: int = 0
) -> Prepared:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing='ij')
    radius = np.sqrt(x**2 + y**2 + z**2)
    head, brain = radius < 0.9, radius < 0.7
    rng = np.random.default_rng(seed)
    data = (head * (300 + 400 * (radius < 0.5) + 60 * x) + rng.normal(0, 4, shape) * head).astype(np.float32)
    affine = np.eye(4) if affine is None else affine
    return Prepared(
        Volume(data, affine, nib.Nifti1Image(data, affine).header),
        brain,
        head,
        float(np.percentile(data[brain], 99.5)),
        MPRAGE,
        'T1w',
    )


def target(acquisition: Acquisition = FLASH, **changes) -> Target:
    return replace(Target('metadata', 'other', 'T1w', acquisition), **changes)


def test_a_target_equal_to_the_sources_own_metadata_only_rescales(weights):
    source = prepared()
    answer = DistClip(weights=weights).harmonize(source, target(MPRAGE))
    np.testing.assert_allclose(answer.data, source.volume.data.clip(0) / source.scale * 1000, atol=0.05)


def test_another_target_changes_the_head_and_nothing_outside(weights):
    source = prepared()
    answer = DistClip(weights=weights).harmonize(source, target())
    same = source.volume.data.clip(0) / source.scale * 1000
    assert np.abs(answer.data - same)[source.head].max() > 1
    np.testing.assert_allclose(answer.data[~source.head], same[~source.head], atol=1e-3)


def test_the_answer_does_not_depend_on_how_the_array_is_stored(weights):
    source = prepared()
    turned_affine = np.array([[0, 0, -1.0, 35], [-1.0, 0, 0, 39], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    ornt = nib.orientations.io_orientation(turned_affine)
    back = nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), ornt)

    def turn(array: np.ndarray) -> np.ndarray:
        return nib.orientations.apply_orientation(array, back)

    data = turn(source.volume.data)
    turned = replace(
        source,
        volume=Volume(data, turned_affine, nib.Nifti1Image(data, turned_affine).header),
        brain=turn(source.brain),
        head=turn(source.head),
    )
    straight = DistClip(weights=weights).harmonize(source, target())
    other = DistClip(weights=weights).harmonize(turned, target())
    np.testing.assert_allclose(turn(straight.data), other.data, atol=0.02)


def test_synthesis_leaves_the_air_empty(weights):
    source = prepared()
    answer = DistClip(weights=weights).harmonize(source, target(family='T2w'), synthesize=True)
    assert answer.data.shape == source.volume.data.shape
    assert np.all(answer.data[~source.head] == 0)
    assert answer.details['mode'] == 'synthesis'


def test_tissue_of_a_synthetic_image_is_held_unless_it_is_to_stay_as_rendered():
    source = prepared()
    radius = np.linalg.norm(np.indices(source.brain.shape) * 2 / (np.reshape(source.brain.shape, (3, 1, 1, 1)) - 1)
                            - 1, axis=0)
    tissue = np.select([radius < 0.45, (radius > 0.55) & source.brain], [channel('WM'), channel('CGM')], 0)
    source = replace(source, tissue=tissue.astype(np.uint8))
    goal = target(replace(FLASH, echo_time=0.1, repetition_time=5.0, flip_angle=90.0, suffix='T2w'), family='T2w')
    held = DistClip(planes=1, uncertainty=False).harmonize(source, goal, synthesize=True)
    as_rendered = DistClip(planes=1, uncertainty=False, hold_tissue=False).harmonize(source, goal, synthesize=True)
    was, now = held.details['tissue_held']['CGM']
    gray = tissue == channel('CGM')
    assert abs(now - was) > 1e-3
    assert np.median(as_rendered.data[gray]) == pytest.approx(was * goal.scale, rel=1e-3)
    assert np.median(held.data[gray]) == pytest.approx(now * goal.scale, rel=1e-3)
    assert np.all(held.data[~source.head] == 0)
    assert 'tissue_held' not in as_rendered.details


def test_an_image_guides_as_well_and_gives_its_scale(weights):
    guide = prepared(seed=5)
    answer = DistClip(weights=weights).harmonize(
        prepared(), Target('image', 'guide.nii.gz', 'T1w', image=guide, scale=guide.scale)
    )
    assert answer.details['guidance'] == 'image'
    assert 0.3 < np.median(answer.data[guide.brain]) / np.median(guide.volume.data[guide.brain]) < 3


def test_without_metadata_of_its_own_the_source_describes_itself_by_its_picture(weights):
    source = replace(prepared(), acquisition=Acquisition())
    assert DistClip(weights=weights).harmonize(source, target()).details['source_guide'] == 'image'


def test_a_t1w_source_also_describes_itself_by_its_picture_the_less_the_nearer_the_target():
    engine, source = DistClip(planes=1, uncertainty=False), prepared()
    far, near, own = (engine.harmonize(source, target(a)).details for a in (FLASH, NEARLY, MPRAGE))
    assert far['source_guide'] == 'metadata and image'
    assert 0 < near['source_image_share'] < far['source_image_share'] <= PICTURED['T1w']
    assert own['source_guide'] == 'metadata'
    across = engine.harmonize(source, target(family='T2w'), synthesize=True).details
    assert across['source_guide'] == 'metadata'


def test_a_picture_guides_by_photometry_where_the_weights_can_and_by_the_image_tower_elsewhere(weights):
    picture = prepared()
    bare, shipped = load_trained(weights), load_trained()
    assert bare.photometer is None
    torch.testing.assert_close(guide_style(bare, picture, 'T1w'), seen_style(bare.clip, picture))
    by_light = guide_style(shipped, picture, 'T1w')
    assert not torch.allclose(by_light, seen_style(shipped.clip, picture))
    for family in (None, 'angio'):
        torch.testing.assert_close(guide_style(shipped, picture, family), seen_style(shipped.clip, picture))


def test_how_a_picture_lies_in_its_array_and_how_bright_it_is_stored_change_no_style():
    trained, picture = load_trained(), prepared()
    style = guide_style(trained, picture, 'T1w')
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    flipped = replace(picture, brain=picture.brain[::-1, ::-1], head=picture.head[::-1, ::-1],
                      volume=Volume(picture.volume.data[::-1, ::-1].copy(), turned, picture.volume.header))
    torch.testing.assert_close(guide_style(trained, flipped, 'T1w'), style, atol=1e-4, rtol=0)
    brighter = replace(picture, volume=picture.volume.with_data(picture.volume.data * 7), scale=picture.scale * 7)
    torch.testing.assert_close(guide_style(trained, brighter, 'T1w'), style, atol=1e-4, rtol=0)


def test_thick_slices_are_run_in_their_own_plane_and_say_nothing_of_uncertainty(weights):
    source = prepared(affine=np.diag([1.0, 1.0, 4.0, 1.0]))
    answer = DistClip(weights=weights).harmonize(source, target())
    assert answer.details['planes'] == [2]
    assert answer.uncertainty is None


def test_three_planes_give_an_uncertainty_in_output_units(weights):
    answer = DistClip(weights=weights).harmonize(prepared(), target())
    assert answer.uncertainty.shape == answer.data.shape
    assert answer.uncertainty.max() > 0


def test_what_the_guides_leave_open_is_part_of_the_uncertainty():
    source = prepared()
    answer, parts = DistClip(calibrate=False).explain(source, target(FLASH))
    assert set(parts) == {'noise', 'planes', 'style'}
    assert all(part.shape == source.volume.data.shape for part in parts.values())
    assert parts['style'][source.brain].max() > 0
    both = np.hypot(parts['planes'], parts['style'])[source.head] * 1000
    np.testing.assert_allclose(answer.uncertainty[source.head], both, rtol=1e-3, atol=0.01)
    bare, fewer = DistClip(uncertainty=False).explain(source, target(FLASH))
    assert 'style' not in fewer
    np.testing.assert_array_equal(bare.data, answer.data)


def test_what_weighs_nothing_in_the_uncertainty_is_not_computed(monkeypatch):
    def never(*given, **named):
        raise AssertionError('other styles were tried')

    shipped = load_trained(None)
    weightless = {
        'residual': {'floor': 0.04, 'planes': 2.0, 'style': 3e-4, 'noise': 0.01, 'tissue': 0.5},
        'synthesis': {'floor': 0.01, 'planes': 1.5, 'style': 5.0, 'noise': 1.0, 'tissue': 0.0},
    }
    monkeypatch.setattr(
        'bids_distclip.networks.weights.load_trained', lambda *_, **__: replace(shipped, uncertainty=weightless)
    )
    source = prepared()
    whole, _ = DistClip().explain(source, target(FLASH))
    monkeypatch.setattr(DistClip, '_doubt', never)
    answer = DistClip().harmonize(source, target(FLASH))
    np.testing.assert_array_equal(answer.data, whole.data)
    np.testing.assert_allclose(answer.uncertainty, whole.uncertainty, rtol=2e-4)
    with pytest.raises(AssertionError, match='other styles'):
        DistClip().harmonize(source, target(FLASH), synthesize=True)


def test_where_the_target_is_the_sources_own_protocol_no_other_style_makes_a_difference():
    _, parts = DistClip().explain(prepared(), target(MPRAGE))
    assert parts['style'].max() == 0


def test_one_plane_alone_still_tells_what_the_guides_leave_open():
    answer, parts = DistClip(planes=1).explain(prepared(), target(FLASH))
    assert 'planes' not in parts
    assert answer.uncertainty.max() > 0


def test_a_tissue_that_other_styles_show_otherwise_is_in_doubt(monkeypatch):
    """A stand-in for the networks changes what is brighter than a half by the style's first number."""
    from bids_distclip.harmonizers import doubt

    def stand_in(generator, volume, *, source, target, **how):
        return np.where(volume > 0.5, float(target[0, 0] - source[0, 0]), 0.0).astype(np.float32)

    monkeypatch.setattr(doubt, 'run_plane', stand_in)
    image = np.full((20, 20, 12), 0.3, dtype=np.float32)
    image[:10] = 0.8
    source, goal = torch.zeros(1, 512), torch.zeros(1, 512)
    source[0, 1] = goal[0, 2] = 1.0
    others = source.repeat(5, 1), goal.repeat(5, 1)
    others[1][:, 0] = 0.2
    found = doubt.style_doubt(
        None, image, image, brain=image > 0, head=image > 0, spacing=(1, 1, 1), styles=(source, goal), others=others,
        residual=True, precision=torch.float32,
    )
    np.testing.assert_allclose(found[:10], 0.2, atol=0.01)
    np.testing.assert_allclose(found[10:], 0.0, atol=0.02)


def test_half_precision_on_the_cpu_stays_near_full_precision(weights):
    source = prepared()
    full = DistClip(weights=weights, precision='fp32').harmonize(source, target()).data
    half = DistClip(weights=weights, precision='bf16').harmonize(source, target()).data
    assert np.abs(full - half).mean() < 0.01 * np.abs(full).max()
