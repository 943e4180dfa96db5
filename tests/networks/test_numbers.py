from __future__ import annotations

import pytest
import torch

from bids_distclip.acquisition.prompt import prompt
from bids_distclip.acquisition.record import Acquisition
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.numbers import NumericBranch, describe_numbers

KNOWN = Acquisition(manufacturer='GE', field_strength=3.0, echo_time=0.01, repetition_time=2.0, flip_angle=90.0)


def test_numbers_are_places_in_their_ranges_and_missing_ones_are_told():
    told = describe_numbers([prompt(KNOWN), 'Kopf nativ, bitte eilig'])
    assert told.shape == (2, 5, 2)
    assert told[0, :, 0].tolist() == [1, 1, 1, 0, 1]
    assert told[1].abs().sum() == 0
    assert ((told[0, [0, 1, 2, 4], 1] > 0.3) & (told[0, [0, 1, 2, 4], 1] < 1)).all()


@pytest.mark.parametrize('echo', [1e-12, 1e12, 90.0])
def test_absurd_numbers_stay_in_the_range(echo):
    from dataclasses import replace

    place = float(describe_numbers([prompt(replace(KNOWN, echo_time=echo))])[0, 1, 1])
    assert 0 <= place <= 1


def test_an_untrained_branch_adds_nothing_and_a_trained_one_sees_small_steps():
    torch.manual_seed(0)
    clip = MRCLIP().eval()
    near = [f'Imaging Parameters (Echo Time, Repetition Time, Inversion Time, Flip Angle): (0.01, 2, {ti}, 90)'
            for ti in ('0.6', '0.65')]
    with torch.no_grad():
        torch.testing.assert_close(clip.encode_text(near), clip.encode_words(near))
        for parameter in clip.numbers.layers[-1].parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        told = clip.encode_text(near)
    torch.testing.assert_close(told.norm(dim=1), torch.ones(2))
    assert float((told[0] - told[1]).norm()) > 0.05


def test_a_value_that_is_not_told_is_not_seen():
    torch.manual_seed(0)
    branch = NumericBranch(8, width=16, frequencies=3)
    torch.nn.init.normal_(branch.layers[-1].weight)
    words = torch.nn.functional.normalize(torch.randn(1, 8), dim=1)
    blank, filled = torch.zeros(1, 5, 2), torch.zeros(1, 5, 2)
    filled[..., 1] = 0.7
    torch.testing.assert_close(branch(words, blank), branch(words, filled))
    filled[..., 0] = 1.0
    assert not torch.allclose(branch(words, blank), branch(words, filled))
