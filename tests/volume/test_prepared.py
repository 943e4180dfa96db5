from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.errors import BadData, ReadFailed, UsageError
from bids_distclip.quality.tissue import TISSUES, channel
from bids_distclip.volume.image import read_volume, write_volume
from bids_distclip.volume.prepared import Prepared, prepare


@pytest.fixture
def volume(tmp_path):
    axes = np.indices((30, 33, 28)) - 15
    radius = np.sqrt((axes**2).sum(axis=0))
    data = np.where(radius < 8, 400, np.where(radius < 13, 700, 0)) + np.arange(28) * (radius < 13)
    image = nib.Nifti1Image(data.astype(np.int16), np.diag([-5.0, 5, 5, 1]))
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, tmp_path / 'in.nii.gz')
    return read_volume(tmp_path / 'in.nii.gz')


@pytest.fixture
def brain(volume):
    axes = np.indices(volume.data.shape) - 15
    return np.sqrt((axes**2).sum(axis=0)) < 11


_KNOWN = Acquisition(
    echo_time=0.003,
    scanning_sequence=('GR', 'IR'),
    provenance={'echo_time': 'sidecar:T1w.json'},
    notes=('odd',),
)


def test_a_given_mask_is_used_and_sets_the_scale(volume, brain):
    ready = prepare(volume, acquisition=_KNOWN, family='T1w', bias_correction='none', brain=brain)
    np.testing.assert_array_equal(ready.brain, brain)
    np.testing.assert_array_equal(ready.volume.data, volume.data)
    assert ready.scale == pytest.approx(np.percentile(volume.data[brain], 99.5))
    assert ready.head[brain].all()


def test_n4_changes_the_image_but_not_its_mean_in_the_brain(volume, brain):
    ready = prepare(volume, acquisition=_KNOWN, brain=brain)
    assert not np.array_equal(ready.volume.data, volume.data)
    assert ready.volume.data[brain].mean() == pytest.approx(volume.data[brain].mean(), rel=1e-4)
    assert (ready.volume.data[volume.data == 0] == 0).all()


def test_what_is_saved_comes_back_equal_and_writes_the_same_file(tmp_path, volume, brain):
    ready = prepare(volume, acquisition=_KNOWN, family='T1w', bias_correction='none', brain=brain)
    back = Prepared.load(ready.save(tmp_path / 'ready.npz'))
    for name in ('brain', 'head'):
        np.testing.assert_array_equal(getattr(back, name), getattr(ready, name))
        assert getattr(back, name).dtype == bool
    np.testing.assert_array_equal(back.volume.data, ready.volume.data)
    assert (back.scale, back.family, back.acquisition) == (ready.scale, 'T1w', _KNOWN)
    assert (back.volume.path, back.volume.notes) == (volume.path, volume.notes)
    one, two = (write_volume(v, tmp_path / n) for v, n in ((volume, 'a.nii'), (back.volume, 'b.nii')))
    assert one.read_bytes() == two.read_bytes()


def test_a_damaged_or_missing_file_says_to_run_again(tmp_path, volume, brain):
    path = prepare(volume, acquisition=_KNOWN, bias_correction='none', brain=brain).save(tmp_path / 'r.npz')
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ReadFailed, match='run the same command again'):
        Prepared.load(path)
    with pytest.raises(ReadFailed):
        Prepared.load(tmp_path / 'absent.npz')


def test_a_mask_on_another_grid_or_without_a_brain_is_refused(volume, brain):
    for wrong in (brain[:-1], np.zeros_like(brain)):
        with pytest.raises(BadData, match='brain mask'):
            prepare(volume, acquisition=_KNOWN, brain=wrong)


def test_an_unknown_bias_correction_is_a_usage_error(volume, brain):
    with pytest.raises(UsageError, match='n4, none'):
        prepare(volume, acquisition=_KNOWN, brain=brain, bias_correction='sn3')


def seen(data, radius):
    """Return what a segmenter might say of the phantom: a brain up to a radius, white inside, cortex around it."""
    axes = np.indices(data.shape) - 15
    distance = np.sqrt((axes**2).sum(axis=0))
    shares = np.zeros((len(TISSUES), *data.shape), np.float32)
    shares[0], shares[channel('WM')] = distance >= radius, distance < radius - 5
    shares[channel('CGM')] = (distance >= radius - 5) & (distance < radius)
    return shares


@pytest.fixture
def unstripped(volume, monkeypatch):
    """Return the phantom in a field of view that is nowhere exactly zero; its voxels are fine enough for tissue."""
    monkeypatch.setattr('bids_distclip.volume.tissue.COARSEST', 6.0)
    return volume.with_data(volume.data + 5)


def test_in_voxels_that_mix_all_of_the_cortex_no_tissue_is_told(volume, brain):
    def never(volume):
        raise AssertionError('asked all the same')

    assert prepare(volume, acquisition=_KNOWN, bias_correction='none', brain=brain, segment=never).tissue is None


def test_tissue_is_told_within_the_mask_from_what_lies_around_it(tmp_path, unstripped):
    brain = seen(unstripped.data, 12)[0] == 0
    shown = []

    def segment(volume):
        shown.append(volume)
        first = np.linalg.solve(unstripped.affine, volume.affine[:, 3])[:3].round().astype(int)
        part = tuple(slice(start, start + n) for start, n in zip(first, volume.data.shape, strict=True))
        np.testing.assert_array_equal(volume.data, unstripped.data[part])
        return seen(unstripped.data, 13)[(slice(None), *part)]

    ready = prepare(unstripped, acquisition=_KNOWN, bias_correction='none', brain=brain, segment=segment)
    expected = np.where(brain, seen(unstripped.data, 13).argmax(0), 0)
    np.testing.assert_array_equal(ready.tissue, expected)
    assert all(n < full for n, full in zip(shown[0].data.shape, unstripped.data.shape, strict=True))
    assert ready.brain_from == 'derivatives'
    back = Prepared.load(ready.save(tmp_path / 'ready.npz'))
    np.testing.assert_array_equal(back.tissue, ready.tissue)
    assert (back.tissue.dtype, back.brain_from) == (np.uint8, 'derivatives')


def test_what_cannot_be_a_whole_brain_is_no_tissue(unstripped):
    brain = seen(unstripped.data, 12)[0] == 0
    ready = prepare(unstripped, acquisition=_KNOWN, bias_correction='none', brain=brain,
                    segment=lambda v: seen(v.data, 90))
    assert ready.tissue is None
    assert Prepared.load(ready.save(unstripped.path.with_name('ready.npz'))).tissue is None


def test_where_a_brain_comes_from_is_known(volume, unstripped, monkeypatch):
    by_template = seen(unstripped.data, 11)[0] == 0
    monkeypatch.setattr('bids_distclip.volume.prepared.brain_mask', lambda *_, **__: by_template)
    assert prepare(volume, acquisition=_KNOWN, bias_correction='none').brain_from == 'image'
    assert prepare(unstripped, acquisition=_KNOWN, bias_correction='none').brain_from == 'template'


def test_shading_that_n4_leaves_is_corrected_by_what_white_matter_shows(unstripped, monkeypatch):
    brain = seen(unstripped.data, 12)[0] == 0
    slope = np.linspace(0.9, 1.1, unstripped.data.shape[2], dtype=np.float32)
    shaded = unstripped.with_data(unstripped.data * slope)
    # N4 finds nothing here, so that what is left is all of it.
    monkeypatch.setattr('bids_distclip.volume.prepared.n4_field', lambda data, **_: np.ones_like(data))
    asked = []

    def segment(volume):
        asked.append(volume)
        first = np.linalg.solve(unstripped.affine, volume.affine[:, 3])[:3].round().astype(int)
        part = tuple(slice(start, start + n) for start, n in zip(first, volume.data.shape, strict=True))
        return seen(unstripped.data, 13)[(slice(None), *part)]

    white = seen(unstripped.data, 12)[channel('WM')] > 0
    known, none = (
        prepare(shaded, acquisition=_KNOWN, bias_correction=how, brain=brain, segment=segment)
        for how in ('n4', 'none')
    )
    spread = [one.volume.data[white].std() / one.volume.data[white].mean() for one in (none, known)]
    assert spread[1] < 0.5 * spread[0]
    assert known.volume.data[brain].mean() == pytest.approx(shaded.data[brain].mean(), rel=1e-4)
    assert known.tissue is not None
    # A segmenter is asked once: it sees what N4 left.
    assert len(asked) == 2


def test_what_is_no_whole_brain_is_not_corrected_by_its_white_matter(unstripped, monkeypatch):
    brain = seen(unstripped.data, 12)[0] == 0
    monkeypatch.setattr('bids_distclip.volume.prepared.n4_field', lambda data, **_: np.ones_like(data))
    ready = prepare(unstripped, acquisition=_KNOWN, brain=brain, segment=lambda v: seen(v.data, 90))
    np.testing.assert_allclose(ready.volume.data, unstripped.data, rtol=1e-6)
