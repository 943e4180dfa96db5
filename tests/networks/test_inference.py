from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bids_distclip.networks.generator import AS_IT_IS, Generator, GeneratorOptions, Line
from bids_distclip.networks.inference import fit_line, run_plane

STYLE = torch.nn.functional.normalize(torch.ones(1, 512), dim=1)


class Faded:
    """Renders everything at half its contrast, and a tenth too bright."""

    options = SimpleNamespace(mapper=(8, 8))

    def anatomy(self, x, source):
        return x

    def render(self, beta, target):
        return 0.5 * beta + 0.1


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    brain = np.zeros((24, 24, 20), dtype=bool)
    brain[4:20, 4:20, 3:17] = True
    return (brain * rng.uniform(0.1, 1.0, brain.shape)).astype(np.float32), brain


@pytest.mark.parametrize('share', [1.0, 0.5, 0.0])
def test_the_line_undoes_what_the_rendering_does_to_a_picture_in_its_own_style(picture, share):
    volume, brain = picture
    line = fit_line(Faded(), volume, theta=STYLE, spacing=(1, 1, 1), brain=brain, share=share)
    assert line.gain == pytest.approx(1 + share, abs=1e-3)
    assert line.offset == pytest.approx(-0.2 * share, abs=1e-3)


def test_a_lesion_or_two_do_not_bend_the_line(picture):
    volume, brain = picture

    class Lesioned(Faded):
        def render(self, beta, target):
            made = super().render(beta, target)
            made[..., 6:9, 6:9] = 0.0
            return made

    line = fit_line(Lesioned(), volume, theta=STYLE, spacing=(1, 1, 1), brain=brain)
    assert line.gain == pytest.approx(2.0, abs=0.1)


def test_without_a_brain_nothing_is_corrected(picture):
    volume, brain = picture
    assert fit_line(Faded(), volume, theta=STYLE, spacing=(1, 1, 1), brain=brain & False) == AS_IT_IS


def test_lines_correct_both_renderings():
    torch.manual_seed(0)
    generator = Generator(GeneratorOptions(mapper=(8, 8), decoder=(8, 8))).eval()
    volume = np.random.default_rng(0).random((16, 16, 3)).astype(np.float32)
    other = torch.nn.functional.normalize(torch.randn(1, 512), dim=1)
    given = {'axis': 2, 'spacing': (1, 1, 1), 'source': STYLE, 'target': other, 'residual': True}
    plain = run_plane(generator, volume, **given)
    moved = run_plane(generator, volume, **given, own=Line(0.1, 1.0), wanted=Line(0.4, 1.0))
    assert np.allclose(moved, plain + 0.3, atol=1e-5)
    assert np.allclose(run_plane(generator, volume, **{**given, 'target': STYLE}), 0, atol=1e-6)
