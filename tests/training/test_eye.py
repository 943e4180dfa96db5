from __future__ import annotations

import argparse

import pytest
import torch

from bids_distclip.errors import BadData
from bids_distclip.networks.eye import EYE, load_eye
from bids_distclip.networks.look import LOOK
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training.cli import add_train_arguments, run_train
from bids_distclip.training.eye import EyeOptions, Looks, across_heads, learn, look_at


@pytest.fixture(scope='module')
def seen():
    options = StreamOptions(slices=3, protocols=4, size=128, pixel=(1.5, 1.5), pool=6, seed=4)
    return look_at(SliceStream([phantom(seed=3)], options, length=2)[i] for i in range(2))


def test_pictures_know_their_acquisition_slice_and_batch(seen):
    assert seen.looks.shape == (len(seen.protocol), LOOK)
    assert len(seen.protocol) % 4 == 0
    assert set(seen.protocol.tolist()) == set(range(len(seen.protocols)))
    for number in seen.slice.unique():
        own = seen.slice == number
        assert own.sum() == 4
        assert len(seen.protocol[own].unique()) == 4
        assert len(seen.batch[own].unique()) == 1
    first, second = (set(seen.protocol[seen.batch == n].tolist()) for n in (0, 1))
    assert not first & second


def test_pictures_find_their_prompts_after_training(seen):
    clip = MRCLIP().eval()
    eye = learn(seen, clip=clip, steps=60, options=EyeOptions(strangers=4))
    assert not eye.training
    places = eye.see(seen.looks)
    near = places @ places.T
    same = seen.protocol[:, None] == seen.protocol[None]
    other_slice = seen.slice[:, None] != seen.slice[None]
    assert near[same & other_slice].mean() > near[~same].mean() + 0.3


def test_too_few_pictures_are_an_error():
    none = Looks(torch.zeros(2, LOOK), *torch.zeros(3, 2, dtype=torch.long), ())
    with pytest.raises(BadData, match='Too few slices'):
        learn(none, clip=MRCLIP(), steps=1)


def test_the_head_is_no_help_in_finding_the_acquisition():
    protocol, slices = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    same = protocol[:, None] == protocol[None]
    by_protocol = 10.0 * same.float()
    by_head = 10.0 * (slices[:, None] == slices[None]).float()
    assert across_heads(by_protocol, same, slices) < 0.1
    assert across_heads(by_head, same, slices) > 5
    alone = torch.eye(4, dtype=torch.bool)
    assert across_heads(by_head, alone, torch.arange(4)) == 0


def test_the_command_writes_an_eye(tmp_path, monkeypatch):
    for module in ('eye', 'run_parts'):
        monkeypatch.setattr(f'bids_distclip.training.{module}.training_heads', lambda labels: [phantom(seed=3)])
    monkeypatch.setattr('bids_distclip.training.eye.learn', lambda *a, steps, **k: learn(*a, steps=2, **k))
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    asked = ['eye', '--labels', str(tmp_path), '--out', str(tmp_path / 'w'), '--steps', '1', '--workers', '0']
    assert run_train(parser.parse_args(asked)) == 0
    assert load_eye(tmp_path / 'w' / EYE) is not None
