from __future__ import annotations

import numpy as np
import torch

from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.inference import run_plane

STYLE = torch.nn.functional.normalize(torch.ones(1, 512), dim=1)


def test_one_and_the_same_style_changes_nothing():
    torch.manual_seed(0)
    generator = Generator(GeneratorOptions(mapper=(8, 8), decoder=(8, 8))).eval()
    volume = np.random.default_rng(0).random((16, 16, 3)).astype(np.float32)
    other = torch.nn.functional.normalize(torch.randn(1, 512), dim=1)
    given = {'head': volume > 0, 'axis': 2, 'spacing': (1, 1, 1), 'source': STYLE, 'residual': True}
    assert np.allclose(run_plane(generator, volume, **given, target=STYLE), 0, atol=1e-6)
    assert not np.allclose(run_plane(generator, volume, **given, target=other), 0, atol=1e-6)


def test_batches_change_nothing_and_beyond_the_windows_all_is_zero():
    torch.manual_seed(0)
    generator = Generator(GeneratorOptions(mapper=(8, 8), decoder=(8, 8))).eval()
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, y, z = np.indices((200, 180, 12))
    head = (x - 100) ** 2 + (y - 40) ** 2 < (30 + 4 * z) ** 2
    head[..., 0] = False
    volume = np.random.default_rng(0).random(head.shape).astype(np.float32)
    given = {'axis': 2, 'spacing': (1, 1, 1), 'source': STYLE, 'target': -STYLE, 'residual': True}
    one, many = (run_plane(generator, volume, head=head, **given, batch=size) for size in (1, 8))
    np.testing.assert_allclose(one, many, atol=1e-3)
    assert np.abs(one[head]).mean() > 0.1
    assert np.all(one[:, 128:] == 0)
    assert np.all(one[..., 0] == 0)
    assert np.all(one[..., 1:][head[..., 1:]] != 0)
    whole = run_plane(generator, volume, head=np.ones_like(head), **given)
    assert np.all(whole[..., 0] != 0)
