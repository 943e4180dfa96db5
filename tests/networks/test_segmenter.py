"""Telling tissue apart in a volume: coarsely for the brain, then finely around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_distclip.errors import BadData, NoInput
from bids_distclip.networks.segmenter import Segmenter, segment, tissue_shares
from bids_distclip.networks.weights import load_segmenter, save_weights
from bids_distclip.quality.tissue import TISSUES, channel

WHITE, CORTEX = channel('WM'), channel('CGM')


class ByBrightness(Segmenter):
    """Calls white what is bright, cortex what is half as bright, background the rest; notes what it was shown."""

    def __init__(self):
        super().__init__((4, 8, 8))
        self.shown = []

    def forward(self, x):
        self.shown.append(tuple(x.shape[-2:]))
        logits = torch.zeros(len(x), len(TISSUES), *x.shape[-2:])
        logits[:, 0] = 0.3
        logits[:, WHITE] = (x[:, 0] > 0.75).float()
        logits[:, CORTEX] = ((x[:, 0] > 0.25) & (x[:, 0] <= 0.75)).float()
        return 20 * logits


@pytest.fixture
def volume():
    shape, spacing = (60, 70, 44), (1.0, 1.0, 1.5)
    grid = np.stack(np.meshgrid(*((np.arange(n) - n / 2) * s for n, s in zip(shape, spacing, strict=True)),
                                indexing='ij'))
    radius = np.sqrt((grid**2).sum(0))
    data = np.where(radius < 14, 1000.0, np.where(radius < 22, 500.0, 0.0)).astype(np.float32)
    return data, spacing


@pytest.mark.parametrize('gain', [1, 1e-4, 3e5])
def test_tissue_is_found_where_it_is_whatever_the_unit(volume, gain):
    data, spacing = volume
    shares = segment(ByBrightness(), data * np.float32(gain), spacing=spacing)
    assert shares.dtype == np.float32
    assert np.allclose(shares.sum(0), 1, atol=1e-3)
    tissue = 1 + shares[1:].argmax(0)
    assert ((shares[0] < 0.5) == (data > 0)).mean() > 0.99
    assert (tissue == WHITE)[data == 1000].mean() > 0.97
    assert (tissue == CORTEX)[data == 500].mean() > 0.9


def test_an_image_without_brain_gives_none(volume):
    data, spacing = volume
    shares = segment(ByBrightness(), np.zeros_like(data), spacing=spacing)
    assert (shares[0] == 1).all()
    assert not shares[1:].any()


def test_only_slices_of_the_named_axes_are_looked_at(volume):
    data, spacing = volume
    model = ByBrightness()
    shares = tissue_shares(model, data / 1000, spacing=spacing, axes=(2,), pixels=(0.8, 2.3))
    assert shares.shape == (len(TISSUES), *data.shape)
    assert np.allclose(shares.sum(0), 1, atol=1e-4)
    assert set(model.shown) == {(60, 72)}


def test_coarse_pixels_are_made_finer_and_back(volume):
    data, _ = volume
    model = ByBrightness()
    shares = tissue_shares(model, data / 1000, spacing=(3.0, 3.0, 3.0), axes=(2,), pixels=(0.8, 1.5))
    assert set(model.shown) == {(120, 140)}
    assert shares.shape[1:] == data.shape


def test_weights_come_back_and_others_are_refused(tmp_path):
    model = Segmenter((4, 8))
    path = tmp_path / 'segmenter.safetensors'
    save_weights(path, model, options={'widths': model.widths}, half=False)
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(load_segmenter(path)(x), model.eval()(x))
    with pytest.raises(NoInput):
        load_segmenter(tmp_path / 'none.safetensors')
    other = tmp_path / 'other.safetensors'
    save_weights(other, model, options={'widths': (4, 16)})
    with pytest.raises(BadData, match='do not fit'):
        load_segmenter(other)


def test_shares_are_those_of_the_network_itself():
    torch.manual_seed(0)
    model, data = Segmenter((4, 8)).eval(), np.random.default_rng(0).random((3, 20, 24)).astype(np.float32)
    found = tissue_shares(model, data, spacing=(1, 1, 1), axes=(0,), pixels=(0.5, 2.0))
    with torch.inference_mode():
        shares = model(torch.as_tensor(data)[:, None]).softmax(1)
    np.testing.assert_allclose(found, shares.movedim(0, 1).numpy(), atol=1e-5)
