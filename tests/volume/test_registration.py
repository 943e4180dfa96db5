from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage as ndi

from bids_distclip.volume import registration
from bids_distclip.volume.coarse import onto, resampled
from bids_distclip.volume.mask import head_mask
from bids_distclip.volume.registration import Mismatch, cloud, improved, register
from bids_distclip.volume.template import load_template


@lru_cache
def _head(nod, *, top=0.0):
    """Return a coarse head of the template's brain that nods (rad), its map, its grid and its head mask.

    ``top`` mm of the field of view are missing above.
    """
    template = load_template()
    brain, grid = resampled(template.brain, affine=template.affine, size=4, margin=40)
    t1, _ = resampled(template.t1, affine=template.affine, size=4, margin=40)
    distance = ndi.distance_transform_edt(brain < 0.5) * 4
    image = np.where(brain > 0.5, t1, 5.0)
    image[(distance > 6) & (distance <= 12)] = 330
    move = np.eye(4)
    c, s = np.cos(nod), np.sin(nod)
    move[:3, :3] = 0.93 * np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    move[:3, 3] = 10, -20, 30
    native = np.diag([4.0, 4, 4, 1])
    native[:3, 3] = -90, -130, -90
    shape = (50, 60, round((250 - top) / 4))
    moved = onto(image, affine=move @ grid, grid=native, shape=shape)
    moved += np.abs(np.random.default_rng(0).normal(0, 4, shape))
    return moved, move, native, head_mask(moved)


def _mismatch(count=8000):
    image, move, grid, head = _head(0.2)
    model = cloud(load_template())
    guess = (move @ [*model.centre, 1])[:3]
    found = Mismatch(image, grid=grid, head=head, model=model, guess=guess, count=count)
    true = np.zeros(12)
    true[3], true[6:9] = 0.2, np.log(0.93)
    return found, true


def _apart(one, other):
    """Return how far two maps bring the template's brain apart, at most, in mm."""
    places = cloud(load_template())
    some = places.points[places.classes < 8][::50]
    return np.linalg.norm(some @ (one - other)[:3, :3].T + (one - other)[:3, 3], axis=1).max()


@pytest.mark.parametrize('nod', [-0.35, 0.1, 0.65])
def test_a_nodding_head_is_followed_to_within_a_voxel(nod):
    image, move, grid, head = _head(nod)
    template = load_template()
    rough = register(image, grid=grid, head=head, template=template)
    fine = improved(image, grid=grid, head=head, template=template, start=rough)
    assert _apart(rough.matrix, move) < 12
    assert _apart(fine.matrix, move) < 4


def test_a_head_without_its_top_is_followed_too():
    image, move, grid, head = _head(0.1, top=110)
    template = load_template()
    pose = register(image, grid=grid, head=head, template=template)
    pose = improved(image, grid=grid, head=head, template=template, start=pose)
    assert _apart(pose.matrix, move) < 8


def test_the_same_head_gives_the_same_pose():
    image, _, grid, head = _head(0.1)
    one, two = (register(image, grid=grid, head=head, template=load_template()) for _ in range(2))
    np.testing.assert_array_equal(one.parameters, two.parameters)


def test_the_true_pose_mismatches_least():
    mismatch, true = _mismatch()
    for number in range(12):
        for sign in (-1, 1):
            beside = true.copy()
            beside[number] += 3 * sign * registration._STEP[number]
            assert mismatch(beside) > mismatch(true)


def test_every_point_looks_up_at_most_a_quarter_of_a_voxel_beside_its_place():
    mismatch, _ = _mismatch()
    grid = _head(0.2)[2]
    places = mismatch.points.astype(float)
    index = np.floor(mismatch.inverse @ places)[:3]
    # One layer of outside, then halves of voxels from half a voxel before the first.
    looked_up = (index - 2) / 2
    assert np.abs(looked_up - (np.linalg.inv(grid) @ places)[:3]).max() <= 0.25 + 1e-6


def test_halved_voxels_lie_between_the_whole_ones():
    values = np.random.default_rng(1).normal(size=(4, 3, 5))
    halves = registration._halved(values)
    assert halves.shape == (9, 7, 11)
    np.testing.assert_allclose(halves[1::2, 1::2, 1::2], values, rtol=1e-6)
    places = (np.indices(halves.shape) - 1) / 2
    np.testing.assert_allclose(halves, ndi.map_coordinates(values, places, order=1, mode='nearest'), atol=1e-6)


def test_a_template_out_of_sight_is_no_match():
    mismatch, true = _mismatch()
    true[0] = 400
    assert mismatch(true) == 10


def test_what_is_made_of_the_template_is_made_once():
    assert cloud(load_template()) is cloud(load_template())
