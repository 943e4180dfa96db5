from __future__ import annotations

import copy

import pytest
import torch

from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.errors import NoInput, UsageError
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.numbers import NumericBranch
from bids_distclip.networks.weights import load_trained
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.signature import LENGTH, TISSUES
from bids_distclip.training.numbers import NumberOptions, Told, losses, tell_protocols, train_numbers


def test_the_branch_learns_what_pictures_would_show_and_both_towers_stay():
    torch.manual_seed(0)
    clip = copy.deepcopy(load_trained().clip)
    clip.numbers = NumericBranch(512, width=384, frequencies=6)
    before = copy.deepcopy(clip.state_dict())
    explained = train_numbers([phantom(seed=2)], clip=clip, protocols=600, steps=500)
    assert set(explained) == set(FAMILIES)
    gray = TISSUES.index('cortical_gray')
    assert explained['T2starw'][gray] > 0.6
    moved = {name for name, value in clip.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith('numbers.') for name in moved)


def test_every_protocol_is_told_whole_and_in_part():
    told = tell_protocols(MRCLIP().eval(), [phantom(seed=2)], count=6, seed=1)
    assert told.words.shape == (12, 512)
    assert told.numbers.shape == (12, 5, 2)
    assert told.truth.shape == (12, LENGTH)
    assert told.whole.tolist() == [True, False] * 6
    assert torch.equal(told.truth[0], told.truth[1])
    assert told[told.whole].numbers[..., 0].sum() >= told[~told.whole].numbers[..., 0].sum()


def test_those_that_read_alike_are_not_pulled_apart():
    clip = MRCLIP()
    words = torch.nn.functional.normalize(torch.randn(1, 512), dim=1).repeat(4, 1)
    told = Told(words, torch.zeros(4, 5, 2), torch.rand(4, LENGTH), torch.zeros(4), torch.ones(4))
    spread = torch.ones(LENGTH)
    parts = losses(clip, clip.read_out, told, NumberOptions(), spread=spread)
    # The embeddings are one and the same and read alike: however different the truth, nothing asks for distance.
    assert float(parts['apart'].detach()) < 1e-4
    assert float(parts['bright'].detach()) > 0.01
    other = Told(torch.nn.functional.normalize(torch.randn(4, 512), dim=1), *[getattr(told, n) for n in (
        'numbers', 'truth', 'family', 'whole')])
    near = losses(clip, clip.read_out, other, NumberOptions(apart_by=100.0, furthest=2.0), spread=spread)
    assert float(near['apart'].detach()) > 0.01


def test_a_model_without_the_branch_is_refused():
    clip = MRCLIP()
    clip.numbers = None
    with pytest.raises(UsageError, match='no numeric branch'):
        train_numbers([phantom(seed=2)], clip=clip, protocols=20, steps=1)


def test_without_heads_it_says_so():
    with pytest.raises(NoInput, match='no head'):
        train_numbers([], clip=MRCLIP(), protocols=20, steps=1)
