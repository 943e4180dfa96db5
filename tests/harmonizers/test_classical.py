from __future__ import annotations

from importlib.util import find_spec

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.errors import BadData, UsageError
from bids_distclip.harmonizers.base import Target
from bids_distclip.harmonizers.registry import ENGINES, get_harmonizer
from bids_distclip.volume.image import Volume
from bids_distclip.volume.intensity import brain_scale
from bids_distclip.volume.prepared import Prepared
from bids_distclip.workflow.weights import check_engine

_HERE = pytest.mark.skipif(find_spec('intensity_normalization') is None, reason='the library needs Python 3.11')
_LIBRARY = [pytest.param(name, marks=_HERE) for name in ('nyul', 'whitestripe')]
_NEED_IMAGE = ['histogram', *_LIBRARY]


def _tissue(seed):
    """Make a brain of grey and white matter and fluid in air, with a bright scalp outside the mask."""
    rng = np.random.default_rng(seed)
    data = np.zeros((24, 24, 24), np.float32)
    brain = np.zeros(data.shape, bool)
    brain[4:20, 4:20, 4:20] = True
    kinds = rng.choice([80.0, 300.0, 500.0], size=int(brain.sum()), p=[0.1, 0.45, 0.45])
    data[brain] = kinds + rng.normal(0, 15, kinds.size)
    data[1] = 900
    return data, brain


def _prepared(seed=0, change=lambda data: data, family='T1w'):
    data, brain = _tissue(seed)
    data = np.where(data == 0, 0, change(data)).astype(np.float32)
    header = nib.Nifti1Header()
    header.set_data_shape(data.shape)
    volume = Volume(data, np.eye(4), header)
    return Prepared(volume, brain, data > 0, brain_scale(data, brain), Acquisition(), family)


def _target(image):
    return Target('image', 'other.nii.gz', 'T1w', image=image, scale=image.scale)


@pytest.mark.parametrize('name', _NEED_IMAGE)
def test_an_affine_change_of_intensities_is_undone(name):
    truth = _prepared(seed=0)
    source = _prepared(seed=0, change=lambda data: 0.37 * data + 40)
    out = get_harmonizer(name).harmonize(source, _target(truth))
    error = np.abs(out.data - truth.volume.data)[truth.brain]
    assert np.percentile(error, 99) < 6
    assert out.data.dtype == np.float32
    assert out.data.shape == truth.volume.data.shape
    assert out.details['engine'] == name


@pytest.mark.parametrize('name', ['histogram', _LIBRARY[0]])
def test_a_gamma_of_the_scanner_is_undone_from_another_head(name):
    truth, other = _prepared(seed=0), _prepared(seed=1)
    source = _prepared(seed=0, change=lambda data: 1000 * (np.maximum(data, 0) / 1000) ** 0.6)
    out = get_harmonizer(name).harmonize(source, _target(other)).data
    before = np.abs(source.volume.data - truth.volume.data)[truth.brain].mean()
    assert np.abs(out - truth.volume.data)[truth.brain].mean() < 0.1 * before


@pytest.mark.parametrize('name', ['identity', *_NEED_IMAGE])
def test_air_stays_air_and_nothing_turns_negative_or_upside_down(name):
    source = _prepared(seed=2, change=lambda data: 2 * data)
    out = get_harmonizer(name).harmonize(source, _target(_prepared(seed=3))).data
    assert (out[source.volume.data == 0] == 0).all()
    order = np.argsort(source.volume.data.ravel())
    assert (np.diff(out.ravel()[order]) >= -1e-3).all()
    assert out.min() >= -60


def test_identity_changes_only_the_scale():
    source = _prepared()
    target = Target('protocol', 'siemens', 'T1w', scale=1000.0)
    out = get_harmonizer('identity').harmonize(source, target)
    np.testing.assert_allclose(out.data, source.volume.data * (1000 / source.scale), rtol=1e-6)
    assert brain_scale(out.data, source.brain) == pytest.approx(1000, rel=1e-5)


@pytest.mark.parametrize('name', _NEED_IMAGE)
def test_a_target_known_by_metadata_only_is_refused(name):
    with pytest.raises(BadData, match='needs a target image'):
        get_harmonizer(name).harmonize(_prepared(), Target('metadata', 'a sidecar', 'T1w'))


@pytest.mark.parametrize('name', _LIBRARY)
def test_a_target_of_one_intensity_is_refused(name):
    flat = _prepared(change=lambda data: np.full_like(data, 100.0))
    with pytest.raises(BadData):
        get_harmonizer(name).harmonize(_prepared(), _target(flat))


@pytest.mark.parametrize('name', ['nyul', 'whitestripe'])
def test_an_engine_whose_library_is_not_installed_says_what_to_do(name, monkeypatch):
    monkeypatch.setattr('bids_distclip.harmonizers.registry.find_spec', lambda library: None)
    with pytest.raises(UsageError, match=r'Python 3\.11'):
        get_harmonizer(name)
    with pytest.raises(UsageError, match=r'Python 3\.11'):
        check_engine(name, targets=())
    assert get_harmonizer('histogram').name == 'histogram'


def test_an_unknown_engine_or_option_is_a_usage_error():
    with pytest.raises(UsageError, match='histogram'):
        get_harmonizer('photoshop')
    with pytest.raises(UsageError, match='options'):
        get_harmonizer('histogram', colour='blue')
    assert {'distclip', 'identity', 'histogram', 'nyul', 'whitestripe'} == set(ENGINES)
