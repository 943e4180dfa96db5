from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_distclip.errors import BadData
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.photometer import FEATURES, TISSUES
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training.photometer import _acquisitions, _fit, _rows


def made_rows(count: int, *, noise: float) -> tuple[list[tuple], np.ndarray]:
    rng = np.random.default_rng(0)
    slope = rng.normal(size=(FEATURES, len(TISSUES)))
    described = rng.random((count, FEATURES))
    described[:, -1] = 1
    bright = described @ slope + noise * rng.normal(size=(count, len(TISSUES)))
    return [('T1w', n % 10, x, y) for n, (x, y) in enumerate(zip(described, bright, strict=True))], slope


def test_the_fit_finds_the_map_and_knows_its_error():
    rows, slope = made_rows(3000, noise=0.2)
    found, error, explained = _fit(rows, 'T1w')
    assert np.abs(found.numpy()[:-1] - slope[:-1]).max() < 0.15
    assert torch.diagonal(error).sqrt().numpy() == pytest.approx(0.2, abs=0.03)
    assert (explained > 0.9).all()


def test_too_few_slices_are_an_error():
    rows, _ = made_rows(20, noise=0.1)
    with pytest.raises(BadData, match='Too few slices show T1w'):
        _fit(rows, 'T1w')


def test_every_image_of_a_batch_with_brain_in_it_is_described():
    options = StreamOptions(slices=2, protocols=3, size=128, pixel=(1.5, 1.5), pool=4, seed=4)
    batch = SliceStream([phantom(seed=3)], options, length=1)[0]
    rows = list(_rows(batch, 7))
    assert len(rows) in (3, 6)
    assert {row[1] for row in rows} == {7}
    assert all(row[2].shape == (FEATURES,) and row[3].shape == (len(TISSUES),) for row in rows)
    assert all((row[3] > 0).all() and (row[3] < 2.5).all() for row in rows)


def test_acquisitions_come_with_what_they_show():
    torch.manual_seed(0)
    bright, theta = _acquisitions([phantom(seed=1)], MRCLIP().eval(), 'T1w', count=20, seed=0)
    assert bright.shape == (20, len(TISSUES))
    assert theta.shape == (20, 512)
    white, gray, fluid = (bright[:, TISSUES.index(t)].mean() for t in ('white_matter', 'cortical_gray', 'csf'))
    assert white > gray > fluid
