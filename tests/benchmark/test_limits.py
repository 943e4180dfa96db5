from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_distclip.benchmark import limits
from bids_distclip.benchmark.limits import COLUMNS, GIVEN, even_tissue, find_limits
from bids_distclip.networks.weights import load_trained
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.slices import SliceGeometry, render_slice

SIZE = (96, 112)


def rows_of(trained) -> dict:
    found = list(find_limits(trained, [phantom(seed=1)], 'T1w', 'T2w', people=3, size=SIZE))
    assert all(tuple(row) == COLUMNS for row in found)
    return {row['given']: row for row in found}


def test_every_gift_has_its_row_and_the_best_gain_cannot_harm():
    rows = rows_of(load_trained())
    assert list(rows) == list(GIVEN)
    assert {row['people'] for row in rows.values()} == {3}
    assert rows['the true maps and scale']['gain'] == pytest.approx(0, abs=1e-4)
    assert rows['the true maps and scale']['psnr_brain'] > rows['the true maps']['psnr_brain'] - 0.2
    assert rows['as it is']['psnr_brain_ci'] > 0
    assert all(0 <= row['fluid'] <= 1 for row in rows.values())


def test_a_decoder_that_knows_the_truth_is_limited_by_its_maps_alone(monkeypatch):
    """The oracle renders what the slice under the target is, if it is given the true maps, and nothing otherwise."""
    trained, kept = load_trained(), {}
    slices = limits._slices

    def seen(*args, **options):
        made = slices(*args, **options)
        kept.update({id(one.physical): one for one in made} | {'last': made})
        return made

    class Oracle:
        def anatomy(self, x, style):
            return torch.zeros(1, 3, *SIZE)

        def render(self, beta, style):
            match = [one for one in kept['last'] if torch.equal(one.physical[None], beta)]
            return match[0].clean[3][None, None] if match else torch.zeros(1, 1, *SIZE)

    monkeypatch.setattr(limits, '_slices', seen)
    rows = rows_of(replace(trained, generator=Oracle()))
    assert rows['the true maps']['psnr_brain'] == pytest.approx(90)
    assert rows['a source without noise']['psnr_brain'] < 20


def test_even_tissue_keeps_places_and_medians_alone():
    protocol = draw_protocol(np.random.default_rng(0), family='T1w')
    head = Head(phantom(seed=1), seed=1)
    one = render_slice(head, [protocol], SliceGeometry(axis=2, offset=0.0, size=SIZE), effects=[None])
    even = even_tissue(one)
    for number in one.tissue.unique():
        place = one.tissue == number
        assert (even[:, place] == even[:, place][:, :1]).all()
        assert torch.equal(even[:, place][:, 0], one.physical[:, place].median(1).values)
