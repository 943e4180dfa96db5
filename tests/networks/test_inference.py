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
    given = {'axis': 2, 'spacing': (1, 1, 1), 'source': STYLE, 'residual': True}
    assert np.allclose(run_plane(generator, volume, **given, target=STYLE), 0, atol=1e-6)
    assert not np.allclose(run_plane(generator, volume, **given, target=other), 0, atol=1e-6)
