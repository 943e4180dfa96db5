from __future__ import annotations

import pytest
import torch

from bids_distclip.networks.mrclip import MRCLIP, fit_slices


@pytest.fixture(scope='module')
def clip():
    torch.manual_seed(0)
    return MRCLIP().eval()


def test_both_towers_give_unit_vectors_of_512(clip):
    with torch.no_grad():
        seen = clip.encode_image(torch.rand(2, 1, clip.image_size, clip.image_size))
        told = clip.encode_text(['Contrast T1w te ah', 'Contrast T2w te bz'])
    for theta in (seen, told):
        assert theta.shape == (2, 512)
        torch.testing.assert_close(theta.norm(dim=1), torch.ones(2))


def test_a_prompt_of_the_longest_real_kind_fits_the_context(clip):
    from bids_distclip.training.vocabulary import sample_prompts

    lengths = (clip.tokenize(sample_prompts(200)) != 0).sum(1)
    assert lengths.max() < clip.config['text_cfg']['context_length']


def test_numbers_are_told_apart_by_the_tokenizer(clip):
    tokens = clip.tokenize(['te 0.0031', 'te 0.0032'])
    assert not torch.equal(tokens[0], tokens[1])


def test_slices_of_any_size_are_fitted_with_the_head_in_the_middle():
    slices = torch.zeros(1, 300, 200)
    slices[:, 200:260, 20:80] = 1.0
    fitted = fit_slices(slices, pixel=(1.0, 1.0), size=128)
    assert fitted.shape == (1, 1, 128, 128)
    middle = fitted[0, 0].nonzero().float().mean(0)
    assert (middle - 63.5).abs().max() < 2


def test_the_released_shape_has_its_own_configuration():
    import json

    from bids_distclip.networks.mrclip import CONFIGS

    shape = json.loads((CONFIGS / 'mrclip-vit-b-16.json').read_text())
    assert shape['text_cfg']['context_length'] == 98
    assert shape['vision_cfg']['image_size'] == 224
