from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.inference import run_plane
from bids_distclip.networks.lean import LeanUNet, normalized
from bids_distclip.networks.lean_generator import LeanGenerator
from bids_distclip.networks.unet import UNet

#: Heads of the style transfer have two, three and four channels: pairs are weighed in a way of their own.
OPTIONS = {
    'as shipped': GeneratorOptions(mapper=(8, 16, 24), decoder=(16, 24, 32)),
    'released form': GeneratorOptions(mapper=(8, 16), decoder=(16, 24), channels=1, physical=False),
    'mapper without style': GeneratorOptions(mapper=(8, 16), decoder=(24, 16), channels=4, mapper_style=False),
}


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter a value: those that begin at zero would hide what is done with them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def styles() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    first, second = torch.nn.functional.normalize(torch.randn(2, 1, 512), dim=-1)
    return first, second


@pytest.mark.parametrize('name', OPTIONS)
@pytest.mark.parametrize('size', [(16, 24), (32, 36), (48, 40), (64, 80)])
def test_a_lean_generator_makes_what_its_modules_make(name, size):
    # In float64 nothing but another arithmetic could make a difference.
    generator, (source, target) = awake(Generator(OPTIONS[name])).double(), (style.double() for style in styles())
    slices = torch.rand(3, 1, *size, dtype=torch.float64)
    many = [style.expand(3, -1) for style in (source, target)]
    with torch.inference_mode():
        lean = LeanGenerator(generator, source=source, target=target, dtype=torch.float64)
        change, picture = generator.change(slices, *many), generator.render(generator.anatomy(slices, many[0]), many[1])
        assert torch.allclose(lean.change(slices), change, atol=1e-9)
        assert torch.allclose(lean.render(slices), picture, atol=1e-9)


def test_a_lean_generator_in_bfloat16_is_no_further_from_float32_than_autocast():
    generator, (source, target) = awake(Generator(OPTIONS['as shipped'])), styles()
    slices = torch.rand(2, 1, 64, 64)
    many = [style.expand(2, -1) for style in (source, target)]
    with torch.inference_mode():
        exact = generator.change(slices, *many)
        with torch.autocast('cpu', torch.bfloat16):
            cast = generator.change(slices, *many).float()
        lean = LeanGenerator(generator, source=source, target=target, dtype=torch.bfloat16).change(slices).float()
    assert float((lean - exact).square().mean()) <= 1.5 * float((cast - exact).square().mean())


@pytest.mark.parametrize('variant', ['adain', 'constant-query'])
def test_an_ablation_is_run_by_its_modules(variant):
    generator = awake(Generator(GeneratorOptions(mapper=(8, 8), decoder=(8, 8), variant=variant)))
    source, target = styles()
    volume = np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    assert not LeanGenerator.knows(generator)
    given = {'head': volume > 0, 'axis': 0, 'spacing': (1, 1, 1)}
    made = run_plane(generator, volume, **given, source=source, target=target, residual=True)
    with torch.inference_mode():
        change = generator.change(torch.as_tensor(volume)[:, None], source.expand(2, -1), target.expand(2, -1))
    assert np.allclose(made, change[:, 0].numpy(), atol=1e-5)


def test_a_lean_unet_finds_the_features_of_its_modules():
    unet = awake(UNet((8, 16, 24)))
    slices = torch.rand(2, 1, 40, 48)
    with torch.inference_mode():
        assert torch.allclose(LeanUNet(unet, dtype=torch.float32).features(slices), unet.features(slices), atol=1e-4)


@pytest.mark.parametrize('size', [(8, 12), (40, 40)])
@pytest.mark.parametrize('affine', [True, False])
def test_maps_small_and_large_are_normalized_alike(size, affine):
    x = torch.rand(2, 24, *size).contiguous(memory_format=torch.channels_last)
    given = (torch.rand(24), torch.rand(24)) if affine else (None, None)
    found = normalized(x, *given)
    plain = torch.nn.functional.instance_norm(x, weight=given[0], bias=given[1])
    assert torch.allclose(found, plain, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
