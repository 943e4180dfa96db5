"""Figures of a phantom head."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bids_distclip.harmonizers.base import Target
from bids_distclip.reports.figures import draw_figures
from bids_distclip.reports.mosaic import frame

_spec = importlib.util.spec_from_file_location('phantoms', Path(__file__).with_name('conftest.py'))
phantoms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(phantoms)

PROTOCOL = Target('protocol', 'siemens-prisma-mprage', 'T1w', scale=800.0)


def pixels(folder: Path, name: str) -> np.ndarray:
    with Image.open(folder / name) as image:
        return np.asarray(image.convert('RGB'), dtype=float)


def test_all_mosaics_have_one_size_and_every_figure_is_there(head, tmp_path):
    target = Target('image', 'x', 'T1w', image=phantoms.make_head(spacing=(3, 2, 2)), scale=800.0)
    spread = head.volume.data * 0.1
    names = draw_figures(
        head, head.volume.data, target, uncertainty=spread, structure=spread * 0, out_dir=tmp_path, stem='s'
    )
    assert set(names) == {
        'source', 'harmonized', 'target', 'difference', 'uncertainty', 'structure', 'mask', 'histogram',
    }
    sizes = {pixels(tmp_path, file).shape for name, file in names.items() if name != 'histogram'}
    assert len(sizes) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names.values())


def test_without_target_image_and_uncertainty_these_are_not_drawn(head, tmp_path):
    names = draw_figures(head, head.volume.data, PROTOCOL, out_dir=tmp_path, stem='s')
    assert set(names) == {'source', 'harmonized', 'difference', 'mask', 'histogram'}


def test_identity_gives_the_same_picture_so_that_flicker_shows_only_change(head, tmp_path):
    names = draw_figures(head, head.volume.data, PROTOCOL, out_dir=tmp_path, stem='s')
    slices = slice(0, -80)
    source, harmonized = (pixels(tmp_path, names[n])[slices] for n in ('source', 'harmonized'))
    assert np.abs(source - harmonized).max() == 0


def test_a_change_shows_red_where_it_is_brighter_and_blue_where_it_is_darker(head, tmp_path):
    for gain, red in ((1.4, True), (0.6, False)):
        names = draw_figures(head, head.volume.data * np.float32(gain), PROTOCOL, out_dir=tmp_path, stem='s')
        picture = pixels(tmp_path, names['difference'])[100:-100]
        tint = picture[..., 0] - picture[..., 2]
        assert (np.abs(tint) > 40).any()
        assert (tint[np.abs(tint) > 40] > 0).all() == red


def test_the_map_of_structure_lies_on_a_pale_source_and_only_changes_have_colour(head, tmp_path):
    tints = []
    for change in (0.0, -0.5):
        structure = np.zeros_like(head.volume.data)
        structure[34:46, 40:60, 18:27] = change
        names = draw_figures(head, head.volume.data, PROTOCOL, structure=structure, out_dir=tmp_path, stem='s')
        picture = pixels(tmp_path, names['structure'])[:-100]
        tints.append((np.ptp(picture, axis=2) > 60).mean())
        grey = np.ptp(picture, axis=2) < 12
        assert ((picture.mean(axis=2) < 245) & grey).mean() > 0.2
    assert tints[0] == 0
    assert tints[1] > 0.002


@pytest.fixture(scope='module')
def upright(head, tmp_path_factory):
    folder = tmp_path_factory.mktemp('upright')
    return pixels(folder, draw_figures(head, head.volume.data, PROTOCOL, out_dir=folder, stem='s')['source'])


@pytest.mark.parametrize('axes', ['LPS', 'PIR', 'SAL'])
def test_any_axis_order_is_shown_alike(upright, tmp_path, axes):
    head = phantoms.make_head(axes=axes)
    found = draw_figures(head, head.volume.data, PROTOCOL, out_dir=tmp_path, stem='s')
    assert np.array_equal(pixels(tmp_path, found['source']), upright)


def test_the_left_of_the_head_is_on_the_left_of_the_picture(tmp_path):
    head = phantoms.make_head()
    shown = frame(head.volume.affine, brain=head.brain, head=head.head)
    left = np.zeros_like(head.volume.data)
    left[: left.shape[0] // 2] = 800.0
    names = draw_figures(head, left, PROTOCOL, out_dir=tmp_path, stem='s')
    axial = pixels(tmp_path, names['harmonized'])[20:300, 10:415].mean(axis=(0, 2))
    assert shown.spacing == (2.0, 2.0, 4.0)
    assert axial[:200].mean() > 5 * axial[205:].mean()


def test_thick_slices_keep_their_true_proportions():
    thick, thin = (phantoms.make_head(spacing=s) for s in ((2, 2, 4), (2, 2, 2)))
    first, second = (frame(h.volume.affine, brain=h.brain, head=h.head) for h in (thick, thin))
    assert first.extent == pytest.approx(second.extent, abs=6)


def test_an_empty_mask_shows_the_whole_grid(head):
    nothing = np.zeros_like(head.brain)
    shown = frame(head.volume.affine, brain=nothing, head=nothing)
    assert shown.extent == pytest.approx((172, 212, 192), abs=1)


def test_the_pages_of_one_image_weigh_little_and_are_drawn_fast(head, tmp_path):
    draw_figures(head, head.volume.data, PROTOCOL, out_dir=tmp_path, stem='warm')
    began = time.process_time()
    names = draw_figures(
        head, head.volume.data, PROTOCOL, uncertainty=head.volume.data * 0.1, out_dir=tmp_path, stem='s'
    )
    assert time.process_time() - began < 5
    assert sum((tmp_path / name).stat().st_size for name in names.values()) * 4 / 3 < 3e6
