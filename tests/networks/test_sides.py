"""The sides of slices."""

from __future__ import annotations

import torch

from bids_distclip.networks.sides import at_size


def test_what_fits_goes_through_as_it_is():
    x = torch.rand(2, 1, 32, 48)
    assert torch.equal(at_size(lambda y: y, x, size=(32, 48), multiple=16), x)


def test_the_network_sees_the_asked_size_padded_with_zeros_and_its_answer_comes_back():
    seen = []

    def network(y):
        seen.append(y)
        return torch.cat([y, 2 * y], 1)

    x = torch.linspace(0, 1, 40).expand(1, 1, 30, 40)
    out = at_size(network, x, size=(60, 50), multiple=16)
    assert seen[0].shape == (1, 1, 64, 64)
    assert float(seen[0][..., 60:, :].abs().max()) == float(seen[0][..., 50:].abs().max()) == 0
    assert out.shape == (1, 2, 30, 40)
    assert torch.allclose(out[:, :1], x, atol=0.02)


def test_only_a_sharp_answer_overshoots():
    x = torch.zeros(1, 1, 32, 32)
    x[..., 16:] = 1
    assert float(at_size(lambda y: y, x, size=(16, 16), multiple=16).max()) <= 1 + 1e-6
    assert float(at_size(lambda y: y, x, size=(16, 16), multiple=16, sharp=True).max()) > 1.01
