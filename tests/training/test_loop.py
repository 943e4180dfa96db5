from __future__ import annotations

import pytest
import torch
from torch import nn

from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training.loop import run_loop
from bids_distclip.training.loss_weights import Weights
from bids_distclip.training.losses import gradient_l1, patch_contrast, structure_loss, weighted_l1
from bids_distclip.training.mrclip import MRCLIPTask, _many_positives
from bids_distclip.training.task import DistClipTask


class Numbers(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.randn(8, 3, generator=torch.Generator().manual_seed(number))


def train(folder, *, stop: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    run_loop(
        model,
        Numbers(),
        lambda batch, step: {'fit': (model(batch) - batch.sum(1, keepdim=True)).pow(2).mean()},
        folder=folder,
        steps=20,
        learning_rate=0.05,
        save_every=7,
        minutes=float('inf'),
        warmup=3,
        on_save=None if stop == 20 else _Stop(stop),
    )
    return model


class Killed(RuntimeError):
    pass


class _Stop:
    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self, step: int) -> None:
        if step >= self.at:
            raise Killed


def test_a_killed_training_ends_with_the_same_weights_as_an_unbroken_one(tmp_path):
    whole = train(tmp_path / 'whole', stop=20)
    with pytest.raises(Killed):
        train(tmp_path / 'broken', stop=7)
    resumed = train(tmp_path / 'broken', stop=20)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=False):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.fixture(scope='module')
def batch():
    return SliceStream([phantom(seed=3)], StreamOptions(slices=2, protocols=2, size=64, pool=3, seed=1), length=2)[0]


def test_the_generator_learns_one_batch(batch):
    torch.manual_seed(0)
    from dataclasses import replace

    from bids_distclip.networks.generator import PRESETS

    task = DistClipTask(replace(PRESETS['tiny'], mapper=(8, 16), decoder=(8, 16)), MRCLIP(), weights=Weights())
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    first = last = None
    for _ in range(25):
        parts = task.losses(batch, 0)
        total = sum(v for k, v in parts.items() if not k.startswith('_'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        first, last = (first or total.item()), total.item()
    assert last < 0.7 * first


def test_mrclip_losses_reach_both_towers(batch):
    torch.manual_seed(0)
    task = MRCLIPTask('mrclip-tiny')
    small = SliceStream(
        [phantom(seed=3)], StreamOptions(slices=1, protocols=2, size=128, pool=2, pixel=(1.5, 1.5)), length=1
    )[0]
    sum(v for k, v in task.losses(small, 0).items() if not k.startswith('_')).backward()
    for tower in (task.clip.towers.visual.conv1.weight, task.clip.towers.token_embedding.weight):
        assert tower.grad.abs().sum() > 0


def test_many_positives_is_least_when_all_positives_are_equally_likely():
    positive = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    good, bad = 50 * (positive - 1), 50 * (torch.eye(3) - 1)
    assert _many_positives(good, positive) < _many_positives(bad, positive)


def test_losses_vanish_on_equal_images():
    image, weight = torch.rand(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    assert weighted_l1(image, image, weight) == 0
    assert gradient_l1(image, image, weight) == 0
    assert structure_loss(image, image).abs() < 1e-5


def test_patch_contrast_prefers_the_same_place():
    generator = torch.Generator().manual_seed(0)
    beta, mask = torch.randn(1, 4, 12, 12, generator=generator), torch.ones(1, 1, 12, 12)
    same = patch_contrast(beta, beta, mask)
    other = patch_contrast(beta, beta.flip(-1), mask)
    assert same < other
