"""The loss terms that are off in the shipped recipe: style by MR-CLIP, β there and back, a rival."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_distclip.errors import UsageError
from bids_distclip.networks.discriminator import PatchDiscriminator
from bids_distclip.networks.generator import PRESETS
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.weights import load_trained
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training.adversary import Adversary
from bids_distclip.training.guides import draw_guides
from bids_distclip.training.loop import run_loop
from bids_distclip.training.loss_weights import Weights
from bids_distclip.training.losses import least_squares, structure_loss, style_distance
from bids_distclip.training.recipe import Recipe
from bids_distclip.training.task import DistClipTask
from bids_distclip.training.terms import Made, picture_terms, truth_of

SMALL = replace(PRESETS['tiny'], mapper=(8, 16), decoder=(8, 16))


@pytest.fixture(scope='module')
def stream():
    options = StreamOptions(slices=2, protocols=2, size=64, pool=3, same_family=0.0, seed=2)
    return SliceStream([phantom(seed=3)], options, length=4)


@pytest.fixture(scope='module')
def batch(stream):
    return stream[0]


def make_task(*, tune: bool = False, guidance: str = 'text', **weights: float) -> DistClipTask:
    torch.manual_seed(0)
    return DistClipTask(SMALL, MRCLIP(), weights=replace(Weights(), **weights), guidance=guidance, tune_clip=tune)


def gradients(module: torch.nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


def test_the_shipped_recipe_has_none_of_them(batch):
    assert not {'cycle', 'style_image', 'style_text', 'adversarial', 'back'} & set(make_task().losses(batch, 0))


@pytest.mark.parametrize('name', ['style_image', 'style_text'])
@pytest.mark.parametrize('tune', [False, True])
def test_style_consistency_teaches_the_generator_and_not_the_tower_that_judges(batch, name, tune):
    task = make_task(tune=tune, **{name: 0.5})
    terms = task.losses(batch, 0)
    assert 0 < float(terms[name].detach()) <= 1
    terms[name].backward()
    assert gradients(task.generator.decoder) > 0
    assert gradients(task.generator.mapper) > 0
    assert gradients(task.clip) == 0
    assert all(p.requires_grad == tune for p in task.clip.towers.visual.parameters())


def test_style_consistency_asks_for_the_style_of_the_other_picture(batch):
    """Where the rendering is the true other picture, nothing is left to ask for; where it is the source, there is."""
    clip = copy.deepcopy(load_trained().clip)
    task = DistClipTask(SMALL, clip, weights=replace(Weights(), style_image=1.0), guidance='text', tune_clip=False)
    clean = replace(batch, noisy=batch.clean)
    rng, truth = np.random.default_rng(0), truth_of(batch, torch.device('cpu'))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        guides = draw_guides(task.clip, clean, rng, guidance='text', tune=False, look=True)
        right, wrong = (float(task._style_terms(batch, guides, p)['style_image']) for p in (truth.other, truth.same))
    assert right < 1e-4
    assert wrong > 0.05


def test_a_style_that_does_not_count_is_not_asked_for():
    one, other = torch.eye(3)[:2], torch.eye(3)[1:]
    assert float(style_distance(one, other, torch.tensor([0.0, 0.0]))) == 0
    assert float(style_distance(one, one, torch.ones(2))) == pytest.approx(0, abs=1e-6)
    assert float(style_distance(one, other, torch.tensor([1.0, 0.0]))) == pytest.approx(1)


def test_structure_counts_only_what_is_asked():
    image, other = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    mixed = torch.stack([image[0], other[0]]), torch.stack([image[0], other[1]])
    assert float(structure_loss(*mixed, counted=torch.tensor([1.0, 0.0]))) == pytest.approx(0, abs=1e-5)
    assert float(structure_loss(*mixed, counted=torch.tensor([0.0, 1.0]))) > 0.1
    assert torch.allclose(structure_loss(*mixed), structure_loss(*mixed, counted=torch.ones(2)))


def test_what_was_rendered_has_to_be_read_the_same(batch):
    task = make_task(cycle=1.0)
    terms = task.losses(batch, 0)
    terms['cycle'].backward()
    assert gradients(task.generator.decoder) > 0
    assert gradients(task.generator.mapper) > 0
    optimizer = torch.optim.Adam(task.generator.parameters(), lr=2e-3)
    seen = []
    for _ in range(15):
        loss = task.losses(batch, 0)['cycle']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < 0.6 * seen[0]


def test_the_discriminator_answers_per_patch():
    assert PatchDiscriminator()(torch.rand(2, 1, 64, 48)).shape == (2, 1, 8, 6)


def test_least_squares_is_nothing_where_the_answer_is_right():
    assert float(least_squares(torch.ones(2, 1, 3, 3), 1.0)) == 0
    assert float(least_squares(torch.zeros(2, 1, 3, 3), 1.0)) == 1


def test_a_rival_learns_to_tell_and_the_generator_to_fool(batch):
    torch.manual_seed(0)
    rival = Adversary()
    real, made = batch.clean[:, :1], torch.rand(2, 1, 64, 64, requires_grad=True)
    optimizer = torch.optim.Adam(rival.parameters(), lr=2e-3)
    before = None
    for _ in range(30):
        rival.fooled(made, real)
        total = sum(rival.losses().values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        before = before or float(total.detach())
    assert float(total.detach()) < 0.3 * before
    optimizer.zero_grad()
    rival.fooled(made, real).backward()
    assert made.grad.abs().sum() > 0
    assert gradients(rival) == 0


def run(folder, stream, *, steps: int, stop: int | None = None) -> DistClipTask:
    task = make_task(adversarial=0.2)

    def killed(step: int) -> None:
        if step == stop:
            raise KeyboardInterrupt

    run_loop(task, stream, task.losses, folder=folder, steps=steps, learning_rate=1e-3, save_every=2, warmup=1,
             rival=task.adversary, on_save=killed)
    return task


def test_a_killed_training_with_a_rival_ends_as_an_unbroken_one(tmp_path, stream):
    whole = run(tmp_path / 'whole', stream, steps=4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / 'broken', stream, steps=4, stop=2)
    resumed = run(tmp_path / 'broken', stream, steps=4)
    fresh = make_task(adversarial=0.2)
    moved = 0
    for (name, a), b, c in zip(whole.named_parameters(), resumed.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b), name
        moved += name.startswith('adversary.') and not torch.equal(a, c)
    assert moved > 3


def test_neighbouring_slices_are_side_by_side_with_noise_of_their_own():
    options = StreamOptions(slices=4, protocols=2, size=64, pool=3, seed=2, neighbours=True)
    batch = SliceStream([phantom(seed=3)], options, length=1)[0]
    assert batch.neighbours
    assert batch.heads[0] == batch.heads[1]
    assert batch.protocols[0] == batch.protocols[1]
    beside, apart = ((batch.clean[1] - batch.clean[i]).abs().mean() for i in (0, 2))
    assert 0 < beside < 0.5 * apart
    noise = (batch.noisy - batch.clean)[:2, 0][:, batch.brain[:2].amin(0) > 0.9]
    assert abs(float(torch.corrcoef(noise - noise.mean(1, keepdim=True))[0, 1])) < 0.9


def test_the_change_between_neighbours_is_asked_for_only_with_a_weight(batch):
    options = StreamOptions(slices=2, protocols=2, size=64, pool=3, seed=2, neighbours=True)
    pair = SliceStream([phantom(seed=3)], options, length=1)[0]
    assert 'neighbours' not in make_task().losses(pair, 0)
    assert 'neighbours' not in make_task(neighbours=1.0).losses(batch, 0)
    truth = truth_of(pair, torch.device('cpu'))
    right = Made(torch.zeros(2, 2, 3, 64, 64), own=truth.same, cross=truth.other)
    level = replace(right, cross=truth.other + 0.3)
    jumping = replace(right, cross=truth.other + 0.3 * torch.tensor([1.0, -1.0] * 2)[:, None, None, None])
    found = [
        float(picture_terms(replace(Weights(), neighbours=1.0), truth, made)['neighbours'])
        for made in (right, level, jumping)
    ]
    assert found == pytest.approx([0, 0, 0.6], abs=1e-5)


def test_neighbours_come_in_pairs():
    with pytest.raises(UsageError, match='in pairs'):
        Recipe(slices=3, weights=replace(Weights(), neighbours=1.0)).stream()
