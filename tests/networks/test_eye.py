from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.errors import BadData
from bids_distclip.networks.eye import (
    EYE,
    PLACES,
    SIZE,
    TOLD,
    Eye,
    describe_places,
    load_eye,
    read_prompts,
    save_eye,
)
from bids_distclip.networks.inference import look_volume
from bids_distclip.networks.look import LOOK, describe_look
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.weights import load_trained
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.volumes import simulate_volumes


@pytest.fixture
def eye():
    torch.manual_seed(0)
    made = Eye().eval().requires_grad_(False)
    made.know(F.normalize(torch.randn(40, SIZE), dim=1), ['T1w', 'T2w'] * 20)
    return made


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


def test_a_place_is_of_the_family_of_those_around_it(eye):
    eye.know(F.normalize(torch.randn(1, SIZE) + 0.1 * torch.randn(40, SIZE), dim=1), ['T1w'] * 20 + ['T2w'] * 20)
    eye.known[20:] *= -1
    assert eye.votes(eye.known[:1]) == {'T1w': 1.0}
    found = describe_places(
        eye, pictures=(eye.known[:1], eye.known[20:21]), target=eye.known[21:22], families=('T1w', 'T1w')
    )
    assert found['source_family'] == 1.0
    assert found['output_family'] == 0.0
    assert set(found['map']) == {'source', 'output', 'target'}
    assert found['map']['source'] == list(eye.on_map(eye.known[:1])[0])


def test_an_eye_survives_its_file(eye, tmp_path):
    save_eye(tmp_path / 'e' / EYE, eye)
    again = load_eye(tmp_path / 'e' / EYE)
    assert again.families == eye.families
    looks = torch.rand(4, LOOK)
    assert (again.see(looks) * eye.see(looks)).sum(1).min() > 0.999
    assert len((tmp_path / 'e' / PLACES).read_text().splitlines()) == 41
    assert load_eye(tmp_path / EYE) is None


@pytest.mark.parametrize('spoil', ['nothing', 'bytes', 'shape', 'families'])
def test_another_file_is_refused(eye, tmp_path, spoil):
    path = tmp_path / EYE
    save_eye(path, eye)
    tensors, families = load_file(path), '["T1w"]'
    if spoil in ('nothing', 'bytes'):
        path.write_bytes(b'' if spoil == 'nothing' else b'no tensors at all')
    else:
        tensors |= {'told_mean': torch.zeros(7)} if spoil == 'shape' else {}
        save_file(tensors, path, metadata={'families': families})
    with pytest.raises(BadData, match='Not an eye'):
        load_eye(path)


def test_the_shipped_one_finds_contrasts_of_heads_that_nobody_has():
    trained = load_trained()
    assert set(trained.eye.families) == set(FAMILIES)
    rng = np.random.default_rng(3)
    some = [draw_protocol(rng, family=family) for family in ('T1w', 'T2w', 'FLAIR') for _ in range(3)]
    grid = {'size': (160, 192, 6), 'spacing': (1, 1, 8)}
    volumes = simulate_volumes(Head(phantom(seed=1), seed=1), some, **grid, seed=1, strip=2.0)
    seen = torch.cat([
        trained.eye.see_picture(look_volume(v.image, spacing=grid['spacing'], brain=v.brain > 0.5)) for v in volumes
    ])
    told = trained.eye.tell(read_prompts(trained.clip, [whole_prompt(p.acquisition, p.family) for p in some]))
    families = np.array([p.family for p in some])
    found = families[(seen @ told.T).argmax(1).numpy()]
    assert (found == families).mean() > 0.6
