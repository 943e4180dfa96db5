from __future__ import annotations

import copy

import pytest
import torch

from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training.mrclip import flatten
from bids_distclip.training.tower import TowerTask


@pytest.fixture(scope='module')
def batch():
    options = StreamOptions(slices=2, protocols=3, size=128, pixel=(1.5, 1.5), pool=4, same_family=1.0, seed=4)
    return SliceStream([phantom(seed=3)], options, length=2)[0]


def test_every_image_is_told_apart_by_the_protocol_that_made_it(batch):
    flat = flatten(batch)
    made = [p for row in batch.protocols for p in row]
    shown = list({id(p): p for p in made}.values())
    assert flat.images.shape == (6, 1, 128, 128)
    assert len(flat.signature) == 6
    assert list(flat.protocols) == made
    assert [shown[i] for i in flat.label] == made
    assert len(shown) == 3


def test_the_image_tower_learns_and_everything_else_stays(batch):
    torch.manual_seed(0)
    clip = MRCLIP()
    before = copy.deepcopy(clip.state_dict())
    task = TowerTask(clip, strangers=4).train()
    optimizer = torch.optim.Adam([p for p in task.parameters() if p.requires_grad], lr=1e-3)
    near = []
    for _ in range(12):
        parts = task.losses(batch, 0)
        optimizer.zero_grad()
        sum(v for k, v in parts.items() if not k.startswith('_')).backward()
        optimizer.step()
        near.append(float(parts['near'].detach()))
    assert near[-1] < 0.5 * near[0]
    after = clip.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all(name.startswith('towers.visual.') for name in moved)


def test_pictures_are_taught_the_words_without_what_numbers_add(batch):
    torch.manual_seed(0)
    clip = MRCLIP()
    task = TowerTask(clip, strangers=2).eval()
    with torch.no_grad():
        before = float(task.losses(batch, 0)['near'])
        for parameter in clip.numbers.layers[-1].parameters():
            torch.nn.init.normal_(parameter)
        assert float(task.losses(batch, 0)['near']) == before
