"""Pictures of a training in progress."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from bids_distclip.errors import UsageError
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training.pictures import Gallery, write_grid
from bids_distclip.training.terms import Made


@pytest.fixture(scope='module')
def batch():
    return SliceStream([phantom(seed=3)], StreamOptions(slices=2, protocols=2, size=48, pool=3, seed=2), length=1)[0]


def perfect(batch, _number: int = 0) -> Made:
    clean = batch.clean
    return Made(torch.zeros(2, 2, 3, 48, 48), clean.movedim(1, 0).reshape(4, 1, 48, 48),
                clean.flip(1).movedim(1, 0).reshape(4, 1, 48, 48))


def test_a_grid_has_a_row_for_every_direction_and_shows_what_is_wrong(tmp_path, batch):
    from matplotlib.image import imread

    truth = perfect(batch)
    right = imread(write_grid(tmp_path / 'right.png', batch, truth))[..., :3]
    wrong = imread(write_grid(tmp_path / 'wrong.png', batch, replace(truth, cross=truth.own)))[..., :3]
    assert right.shape == wrong.shape
    assert right.shape[0] > 0.7 * right.shape[1]
    # Differences alone are in colour: hardly any where the rendering is the truth.
    plain, coloured = (float((image.max(-1) - image.min(-1)).mean()) for image in (right, wrong))
    assert coloured > 20 * plain


def test_pictures_are_made_at_their_steps_alone(tmp_path, batch):
    gallery = Gallery(tmp_path, batch, every=3, render=perfect)
    for step in range(1, 8):
        gallery(step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['step-000003.png', 'step-000006.png']


def test_without_the_library_it_says_so_before_anything_is_trained(tmp_path, batch, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UsageError, match='matplotlib'):
        Gallery(tmp_path, batch, every=3, render=perfect)


def test_a_training_loads_no_library_that_it_does_not_need():
    code = 'import sys, bids_distclip.training.distclip; print(*sorted({n.split(".")[0] for n in sys.modules}))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert 'torch' in loaded
    assert not loaded & {'matplotlib', 'accelerate', 'bids', 'SimpleITK', 'skimage', 'nipype', 'pydantic'}
