from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.errors import BadData
from bids_distclip.networks.eye import (
    EYE,
    SIZE,
    TOLD,
    Eye,
    load_eye,
    read_prompts,
    save_eye,
)
from bids_distclip.networks.inference import look_volume
from bids_distclip.networks.look import LOOK, describe_look
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.weights import DEFAULT, load_trained
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.volumes import simulate_volumes


@pytest.fixture
def eye():
    torch.manual_seed(0)
    return Eye().eval().requires_grad_(False)


@pytest.fixture
def disc():
    rows, columns = np.ogrid[:128, :128]
    inside = torch.as_tensor((rows - 64) ** 2 + (columns - 60) ** 2 < 40**2)[None]
    return torch.rand(1, 128, 128, generator=torch.Generator().manual_seed(0)) + 0.2, inside


def test_a_look_is_of_the_brain_alone(disc):
    slices, inside = disc
    look = describe_look(slices, inside)
    assert look.shape == (1, LOOK)
    torch.testing.assert_close(look, describe_look(torch.where(inside, slices, 2 - slices), inside))
    assert not torch.allclose(look, describe_look(2 - slices, inside))


def test_a_look_does_not_know_where_the_head_lies(disc):
    slices, inside = disc
    levels = describe_look(slices, inside)[:, :-16]
    moved = describe_look(slices.flip(2), inside.flip(2))[:, :-16]
    torch.testing.assert_close(levels, moved, atol=1e-4, rtol=0)


def test_a_picture_without_brain_has_a_look_all_the_same(disc):
    slices, inside = disc
    assert describe_look(slices, inside & False).isfinite().all()


def test_pictures_and_prompts_have_places_on_one_sphere(eye):
    seen, told = eye.see(torch.rand(3, LOOK)), eye.tell(torch.rand(2, TOLD))
    assert seen.shape == (3, SIZE)
    assert told.shape == (2, SIZE)
    torch.testing.assert_close(torch.cat([seen, told]).norm(dim=1), torch.ones(5))
    assert eye.see_picture(torch.rand(3, LOOK)).shape == (1, SIZE)


def test_prompts_are_told_by_words_and_by_the_style_with_numbers():
    clip = MRCLIP().eval()
    torch.nn.init.normal_(clip.numbers.layers[-1].weight)
    prompts = [whole_prompt(draw_protocol(np.random.default_rng(i)).acquisition, 'T1w') for i in range(3)]
    told = read_prompts(clip, prompts)
    with torch.inference_mode():
        torch.testing.assert_close(told[:, :512], clip.encode_words(prompts))
        torch.testing.assert_close(told[:, 512:], clip.encode_text(prompts))


def test_an_eye_survives_its_file(eye, tmp_path):
    save_eye(tmp_path / 'e' / EYE, eye)
    again = load_eye(tmp_path / 'e' / EYE)
    looks = torch.rand(4, LOOK)
    assert (again.see(looks) * eye.see(looks)).sum(1).min() > 0.999
    assert load_eye(tmp_path / EYE) is None


@pytest.mark.parametrize('spoil', ['nothing', 'bytes', 'shape', 'missing'])
def test_another_file_is_refused(eye, tmp_path, spoil):
    path = tmp_path / EYE
    save_eye(path, eye)
    tensors = load_file(path)
    if spoil in ('nothing', 'bytes'):
        path.write_bytes(b'' if spoil == 'nothing' else b'no tensors at all')
    else:
        tensors['told_mean'] = torch.zeros(7)
        if spoil == 'missing':
            del tensors['told_mean']
        save_file(tensors, path, metadata={'families': '[]'})
    with pytest.raises(BadData, match='Not an eye'):
        load_eye(path)


def test_the_shipped_one_finds_contrasts_of_heads_that_nobody_has():
    clip, eye = load_trained().clip, load_eye(DEFAULT / EYE)
    rng = np.random.default_rng(3)
    some = [draw_protocol(rng, family=family) for family in ('T1w', 'T2w', 'FLAIR') for _ in range(3)]
    grid = {'size': (160, 192, 6), 'spacing': (1, 1, 8)}
    volumes = simulate_volumes(Head(phantom(seed=1), seed=1), some, **grid, seed=1, strip=2.0)
    seen = torch.cat([
        eye.see_picture(look_volume(v.image, spacing=grid['spacing'], brain=v.brain > 0.5)) for v in volumes
    ])
    told = eye.tell(read_prompts(clip, [whole_prompt(p.acquisition, p.family) for p in some]))
    families = np.array([p.family for p in some])
    found = families[(seen @ told.T).argmax(1).numpy()]
    assert (found == families).mean() > 0.6
