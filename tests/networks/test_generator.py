from __future__ import annotations

import math

import pytest
import torch

from bids_distclip.networks.analytic import SignalDecoder
from bids_distclip.networks.ast import AdaptiveStyleTransfer
from bids_distclip.networks.generator import PRESETS, VARIANTS, Generator, GeneratorOptions
from bids_distclip.quality.physical import PHYSICAL

SMALL = {'mapper': (8, 16, 16), 'decoder': (8, 16, 16)}


def styles(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 512, generator=generator), torch.randn(count, 512, generator=generator)


@pytest.mark.parametrize('variant', VARIANTS)
def test_every_variant_gives_a_picture_of_the_same_size(variant):
    model = Generator(GeneratorOptions(**SMALL, variant=variant))
    source, target = styles(2)
    assert model.harmonize(torch.rand(2, 1, 48, 64), source, target, residual=True).shape == (2, 1, 48, 64)


def test_equal_styles_leave_the_source_exactly_as_it_is():
    model = Generator(GeneratorOptions(**SMALL)).eval()
    x, (style, _) = torch.rand(2, 1, 32, 32), styles(2)
    torch.testing.assert_close(model.harmonize(x, style, style, residual=True), x, atol=1e-6, rtol=0)


def test_a_style_reaches_every_pixel_with_content_aware_queries():
    torch.manual_seed(0)
    module = AdaptiveStyleTransfer(16, style=512)
    torch.nn.init.normal_(module.mix.weight, std=0.1)
    torch.nn.init.normal_(module.modulate.weight, std=0.1)
    x, (one, two) = torch.randn(1, 16, 40, 40), styles(1)
    change = (module(x, one) - module(x, two)).abs().amax(1)
    assert (change > 0).all()
    assert change.std() > 0


def test_softmax_and_linear_attention_take_over_at_the_limit(monkeypatch):
    module = AdaptiveStyleTransfer(16, style=512)
    used = []
    original = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        'scaled_dot_product_attention',
        lambda *a: used.append(a[0].shape) or original(*a),
    )
    style, _ = styles(1)
    module(torch.randn(1, 16, 28, 28), style)
    module(torch.randn(1, 16, 30, 30), style)
    assert len(used) == 1


def test_the_released_form_has_one_free_channel_between_0_and_1():
    model = Generator(GeneratorOptions(**SMALL, channels=1, physical=False, mapper_style=False))
    beta = model.anatomy(torch.rand(1, 1, 32, 32), styles(1)[0])
    assert beta.shape == (1, 1, 32, 32)
    assert beta.min() >= 0
    assert beta.max() <= 1


def test_options_survive_their_dictionary():
    for options in PRESETS.values():
        assert GeneratorOptions.from_dict(options.to_dict()) == options


def test_an_unknown_style_transfer_is_refused():
    with pytest.raises(ValueError, match='unknown style transfer'):
        AdaptiveStyleTransfer(16, style=512, variant='magic')


def test_a_signal_equation_renders_fluid_and_tissue_as_a_spin_echo_does():
    decoder = SignalDecoder(style=512)
    theta = torch.zeros(1, 512)
    tr, te = 0.6, 0.1
    with torch.no_grad():
        decoder.sequence[-1].weight.zero_()
        decoder.sequence[-1].bias.copy_(torch.tensor([0.0, 1.0, math.log(tr), 0.0, 0.0, math.log(te)]))
    tissue = torch.tensor([[0.8, 0.08, 0.7], [4.0, 2.0, 1.0]])
    beta = torch.stack([(v - m) / s for v, (m, s) in zip((tissue[:, 0].log(), tissue[:, 1].log(), tissue[:, 2]),
                                                         PHYSICAL, strict=True)])[None, :, :, None]
    shown = decoder(beta, theta)[0, 0, :, 0]
    expected = tissue[:, 2] * (1 - torch.exp(-tr / tissue[:, 0])) * torch.exp(-te / tissue[:, 1])
    torch.testing.assert_close(shown, expected)


def test_a_signal_equation_shows_nothing_where_there_are_no_protons():
    air = torch.tensor([(0 - m) / s for m, s in PHYSICAL])[None, :, None, None]
    assert SignalDecoder(style=512)(air, styles(1)[0]).item() == 0


def test_a_signal_equation_needs_the_physical_maps():
    with pytest.raises(ValueError, match='physical maps'):
        Generator(GeneratorOptions(**SMALL, variant='analytic', channels=1, physical=False))
