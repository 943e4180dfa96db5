"""The file of loss weights, and what becomes of a training where the mapper is told nothing."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
import torch

from bids_distclip.errors import UsageError
from bids_distclip.networks.generator import PRESETS
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training import loss_weights
from bids_distclip.training.cli import add_train_arguments
from bids_distclip.training.loss_weights import ANATOMY, DEFAULTS, Weights, read_weights
from bids_distclip.training.run_distclip import chosen_weights
from bids_distclip.training.task import DistClipTask


@pytest.fixture(scope='module')
def batch():
    options = StreamOptions(slices=2, protocols=2, size=64, pool=3, same_family=0.0, seed=2)
    stream = SliceStream([phantom(seed=3)], options, length=9)
    return next(made for made in stream if all(a.family != b.family for a, b in made.protocols))


def make_task(**weights: float) -> DistClipTask:
    torch.manual_seed(0)
    small = replace(PRESETS['tiny'], mapper=(8, 16), decoder=(8, 16))
    return DistClipTask(small, MRCLIP(), weights=replace(Weights(), **weights), tune_clip=False)


def test_the_file_in_the_package_holds_every_default():
    assert loss_weights.tomllib.loads(DEFAULTS.read_text(encoding='utf-8')) == Weights().to_dict()


def test_what_a_file_leaves_out_keeps_its_default(tmp_path):
    path = tmp_path / 'mine.toml'
    path.write_text('cross = 3\nstructure = 0.0\n')
    assert read_weights(path) == replace(Weights(), cross=3.0, structure=0.0)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('crosss = 1.0', "no loss term 'crosss'"),
        ('cross = "much"', "weight of cross is 'much'"),
        ('cross = true', 'weight of cross is True'),
        ('cross = -1', 'weight of cross is -1'),
        ('cross = nan', 'weight of cross is nan'),
        ('cross 1', 'cannot be read'),
    ],
)
def test_a_wrong_file_names_itself_and_what_is_allowed(tmp_path, text, said):
    path = tmp_path / 'mine.toml'
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_weights(path)
    assert caught.value.file == str(path)
    assert 'identity' in caught.value.cure or 'cross = 1.5' in caught.value.cure


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    return parser.parse_args(['distclip', '--labels', 'x', '--out', 'y', *words])


def test_the_ablation_is_one_flag_over_whatever_a_file_says(tmp_path):
    path = tmp_path / 'mine.toml'
    path.write_text('physical = 9\ncross = 3\n')
    assert chosen_weights(parsed('--losses', str(path))).physical == 9
    found = chosen_weights(parsed('--losses', str(path), '--no-anatomy-loss'))
    assert found.cross == 3
    assert [getattr(found, name) for name in ANATOMY] == [0, 0, 0]


def test_without_anatomy_losses_the_pictures_teach_the_mapper(batch):
    """Its own contrast then comes from the mapper's maps: the gradient of ``identity`` alone must reach the mapper."""
    reached = {}
    for name, weights in (('taught', Weights()), ('alone', Weights().without_anatomy())):
        task = make_task(**weights.to_dict())
        terms = task.losses(batch, 0)
        terms['identity'].backward()
        grads = [p.grad for p in task.generator.mapper.parameters()]
        reached[name] = sum(float(g.abs().sum()) for g in grads if g is not None)
        assert ('physical' in terms) == (name == 'taught')
    assert reached['taught'] == 0
    assert reached['alone'] > 0


def test_a_weight_of_nought_for_the_maps_ends_the_teaching():
    assert make_task().taught
    assert not make_task(physical=0.0).taught


def test_one_free_channel_learns_by_patches_drawn_by_the_step(batch):
    small = replace(PRESETS['tiny'], mapper=(8, 16), decoder=(8, 16), physical=False, channels=1, mapper_style=False)
    torch.manual_seed(0)
    task = DistClipTask(small, MRCLIP(), weights=Weights(), tune_clip=False)
    first, again, other = (task.losses(batch, step)['contrast'] for step in (3, 3, 4))
    first.backward()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert task.generator.mapper.out.weight.grad.abs().sum() > 0
    assert task.log_scale.grad.abs() > 0
