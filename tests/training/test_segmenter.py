"""The tissue segmenter and its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_distclip.networks.segmenter import SEGMENTER, Segmenter
from bids_distclip.networks.weights import load_segmenter
from bids_distclip.quality.tissue import TISSUES, channel
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training.export import export_weights
from bids_distclip.training.segmenter import Alternating, SegmenterTask, soft_dice, spoiled, train_segmenter

OPTIONS = StreamOptions(slices=2, protocols=3, size=96, pixel=(2.0, 2.0), stripped=0.0, seed=4)


@pytest.fixture(scope='module')
def batch():
    return SliceStream([phantom(seed=3)], OPTIONS, length=2)[0]


def test_a_simulated_slice_comes_with_its_tissue(batch):
    assert batch.tissue.dtype == torch.uint8
    assert batch.tissue.shape == (2, 96, 96)
    assert set(np.unique(batch.tissue)) >= {channel('BG'), channel('WM'), channel('CGM'), channel('CSF')}
    inside = batch.tissue > 0
    agree = ((batch.brain > 0.5) == inside).float().mean()
    assert agree > 0.97


def test_a_stripped_slice_has_no_tissue_where_nothing_is_left():
    batch = SliceStream([phantom(seed=3)], replace(OPTIONS, stripped=1.0), length=2)[0]
    left = batch.clean[:, 0] > 0
    assert not (batch.tissue > 0)[~left].float().mean() > 0.01


def test_spoiling_leaves_shape_and_place_and_changes_every_picture(batch):
    made = spoiled(batch.noisy, rng=np.random.default_rng(0))
    assert made.shape == batch.noisy.shape
    assert torch.isfinite(made).all()
    assert (made >= 0).all()
    again = spoiled(batch.noisy * 7, rng=np.random.default_rng(0))
    assert torch.allclose(made, again, rtol=1e-3, atol=1e-4)
    mixed, plain = (np.corrcoef(made[0, p].ravel(), batch.noisy[0, p].ravel())[0, 1] for p in (0, 2))
    assert plain > 0.85
    assert mixed < 0.999


def test_soft_dice_of_the_truth_is_one_and_of_its_opposite_nearly_zero():
    truth = torch.zeros(1, 4, 4, dtype=torch.long)
    truth[:, :2] = 1
    shares = torch.nn.functional.one_hot(truth, 2).movedim(-1, 1).float()
    assert torch.allclose(soft_dice(shares, truth), torch.ones(2))
    assert float(soft_dice(1 - shares, truth).max()) < 0.1


def test_streams_take_turns():
    streams = Alternating([list('ace'), list('bdf')])
    assert ''.join(streams[i] for i in range(6)) == 'abcdef'


def test_the_segmenter_learns_a_slice(batch):
    torch.manual_seed(0)
    task = SegmenterTask(Segmenter((8, 16, 32)))
    optimizer = torch.optim.Adam(task.parameters(), lr=5e-3)
    totals = []
    for _ in range(30):
        parts = task.losses(batch, 0)
        optimizer.zero_grad()
        total = parts['entropy'] + parts['dice']
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.6 * totals[0]


@pytest.mark.training
def test_training_ends_in_weights_that_load(tmp_path):
    import nibabel as nib

    from bids_distclip.simulation.phantom import phantom_labels

    labels = tmp_path / 'labels'
    labels.mkdir()
    nib.save(nib.Nifti1Image(phantom_labels(seed=1), np.eye(4)), labels / 'a.nii.gz')
    card = train_segmenter(labels, tmp_path / 'run', steps=2, slices=1)
    assert card['reached'] == 2
    assert card['classes'] == [tissue.abbreviation for tissue in TISSUES]
    export_weights(tmp_path / 'run', tmp_path / 'weights')
    model = load_segmenter(tmp_path / 'weights' / SEGMENTER)
    assert model(torch.rand(1, 1, 32, 32)).shape == (1, len(TISSUES), 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_segmenter(labels, tmp_path / 'further', init=model, steps=2, slices=1)
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
