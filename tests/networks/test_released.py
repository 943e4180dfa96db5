"""A user's own MR-CLIP: a synthetic checkpoint of the released shape, full size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from bids_distclip.acquisition.prompt import prompt, released_prompt
from bids_distclip.acquisition.record import Acquisition
from bids_distclip.errors import BadData
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.released import RELEASED
from bids_distclip.networks.weights import load_clip

KNOWN = Acquisition(manufacturer='GE', model='Signa', field_strength=3.0, echo_time=0.003, repetition_time=2.0)


@pytest.fixture(scope='module')
def made() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = {f'module.{k}': v.half() for k, v in MRCLIP(RELEASED).towers.state_dict().items()}
    first = state['module.visual.conv1.weight']
    state['module.visual.conv1.weight'] = (first / 3).repeat(1, 3, 1, 1)
    return state


def test_a_checkpoint_of_the_released_shape_loads_by_path(made, tmp_path):
    path = tmp_path / 'own.safetensors'
    save_file(made, path)
    clip = load_clip(path).eval()
    assert clip.config_name == RELEASED
    assert clip.numbers is None
    kept = clip.towers.state_dict()
    torch.testing.assert_close(
        kept['visual.conv1.weight'], 3 * made['module.visual.conv1.weight'][:, :1].float(), atol=1e-3, rtol=1e-2
    )
    torch.testing.assert_close(kept['text_projection'], made['module.text_projection'].float())
    with torch.inference_mode():
        seen = clip.encode_image(torch.rand(1, 1, 224, 224))
        ours, theirs = clip.encode_text([prompt(KNOWN), released_prompt(KNOWN, plane='axial')])
    assert seen.shape == (1, 512)
    # It has learnt the released wording: our derived block is left out.
    torch.testing.assert_close(ours, theirs)
    # A long description would push the flip angle out of the context: it is left out, not the numbers.
    long = replace(KNOWN, series_description=', '.join(['t1 mprage sag p2 iso'] * 12), flip_angle=9.0)
    with torch.inference_mode():
        kept, plain = clip.encode_text([prompt(long), prompt(replace(long, series_description=None))])
    torch.testing.assert_close(kept, plain)


@pytest.mark.parametrize('spoil', ['missing', 'shape', 'flat'])
def test_another_model_is_refused_with_the_name_of_what_is_wrong(made, tmp_path, spoil):
    state = dict(made)
    if spoil == 'missing':
        del state['module.token_embedding.weight']
    elif spoil == 'flat':
        state['module.token_embedding.weight'] = torch.zeros(4)
    else:
        state['module.token_embedding.weight'] = torch.zeros(10, 512)
    path = tmp_path / 'other.safetensors'
    save_file(state, path)
    with pytest.raises(BadData, match=r'token_embedding\.weight') as caught:
        load_clip(path)
    assert '1 of ' in str(caught.value)
