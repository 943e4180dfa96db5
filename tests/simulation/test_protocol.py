from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.signal import Mixture, Tissue
from bids_distclip.simulation.tissue import tissue_table


def brightness(protocol, *names: str) -> list[float]:
    table = tissue_table(protocol.field_strength)
    rows = [table.index(name) for name in names]
    maps = (torch.as_tensor(getattr(table, n)[rows], dtype=torch.float32) for n in ('t1', 't2', 't2star', 'pd', 'mt'))
    return protocol.render(Tissue(*maps)).tolist()


@pytest.mark.parametrize(
    ('scanner', 'cycle', 'inversion'),
    [
        # Pairs of TR and TI in the sidecars of ON-Harmony (ds004712, CC0), one per vendor and model.
        ('siemens-flair3d-3t', 5.0, 1.8),
        ('philips-flair3d-3t', 5.0, 1.65),
        ('ge-flair3d-3t', 5.0, 1.6),
        ('ge-flair3d-3t', 6.3, 1.84),
        ('ge-flair2d-3t', 12.0, 2.71),
    ],
)
def test_inversion_times_that_vendors_choose_are_drawn_and_darken_fluid(scanner, cycle, inversion):
    rng = np.random.default_rng(0)
    drawn = [draw_protocol(rng, family='FLAIR', scanner=scanner) for _ in range(800)]
    # About the vendor's cycle; the row may end there.
    alike = [p for p in drawn if abs(p.repetition - cycle) < 0.06 * cycle]
    times = np.array([p.inversion_time for p in alike])
    assert len(alike) > 20
    assert np.quantile(times, 0.03) < inversion < np.quantile(times, 0.97)
    near = [p for p in alike if abs(p.inversion_time - inversion) < 0.03 * inversion]
    dark = [fluid / gray for fluid, gray in (brightness(p, 'csf', 'cortical_gray') for p in near)]
    # On real scans fluid has a fifth of gray matter's signal, on the 3-D ones of Siemens up to twice as much.
    assert np.median(dark) < 0.25


def test_a_preparation_of_3d_flair_raises_gray_above_white_and_leaves_fluid_dark():
    rng = np.random.default_rng(2)
    drawn = [draw_protocol(rng, family='FLAIR', scanner='siemens-flair3d-3t') for _ in range(200)]
    seen = {}
    for name, some in (
        ('plain', [p for p in drawn if p.preparation == 0]),
        ('prepared', [p for p in drawn if p.preparation]),
    ):
        values = np.array([brightness(p, 'white_matter', 'cortical_gray', 'csf') for p in some])
        seen[name] = np.median(values[:, 1:] / values[:, :1], axis=0)
    assert seen['prepared'][0] > 1.08 * seen['plain'][0]
    # Between the two lie the scans of ../shared/data/brains (1.19), whose headers do not say which they are.
    assert seen['plain'][0] < 1.19 < seen['prepared'][0] + 0.05
    assert seen['prepared'][1] < 0.35
    flat = draw_protocol(rng, family='FLAIR', scanner='siemens-flair2d-3t')
    assert flat.preparation == 0


def test_two_scanners_with_one_sidecar_differ_by_what_no_sidecar_tells():
    rng = np.random.default_rng(4)
    drawn = [draw_protocol(rng, family='T1w', scanner='siemens-mprage-3t') for _ in range(300)]
    told = np.array([g / w for w, g in (brightness(p.usual(), 'white_matter', 'cortical_gray') for p in drawn)])
    seen = np.array([g / w for w, g in (brightness(p, 'white_matter', 'cortical_gray') for p in drawn)])
    apart = np.log(seen / told)
    # Of log(T1) times the first exponent and log(T2) times the second.
    assert abs(apart.mean()) < 0.01
    assert 0.03 < apart.std() < 0.07
    assert drawn[0].usual().sidecar == drawn[0].sidecar
    fluid, _ = brightness(drawn[0], 'csf', 'white_matter')
    plain, _ = brightness(drawn[0].usual(), 'csf', 'white_matter')
    assert 0.6 < fluid / plain < 1.6


def test_fluid_and_cortex_in_one_voxel_never_outshine_both():
    table = tissue_table(3.0)
    names = ('t1', 't2', 't2star', 'pd', 'mt')
    gray, fluid = (
        Tissue(*(torch.tensor(getattr(table, n)[table.index(name)], dtype=torch.float32) for n in names))
        for name in ('cortical_gray', 'subarachnoid')
    )
    share = torch.linspace(0, 1, 21)
    mean = [
        torch.exp(share * getattr(fluid, n).clamp(min=1e-6).log() + (1 - share) * getattr(gray, n).log()) for n in names
    ]
    whole = Tissue(*(m.expand(21) for m in (gray.t1, gray.t2, gray.t2star, gray.pd, gray.mt)))
    shared = Tissue(*mean, mixture=Mixture(torch.ones(21, dtype=torch.bool), share, fluid, whole))
    for seed in range(20):
        protocol = draw_protocol(np.random.default_rng(seed), family='FLAIR')
        ends = [protocol.render(t).item() for t in (gray, fluid)]
        seen = protocol.render(shared)
        torch.testing.assert_close(seen, ends[0] + share * (ends[1] - ends[0]), rtol=1e-4, atol=1e-5)
    # The mean of their parameters would, on a FLAIR that darkens fluid.
    dark = draw_protocol(np.random.default_rng(0), family='FLAIR', scanner='siemens-flair3d-3t').usual()
    assert dark.render(Tissue(*mean)).max() > 1.1 * dark.render(gray)
    half = shared[torch.arange(21) > 9]
    torch.testing.assert_close(dark.render(half), dark.render(shared)[10:])


def test_what_is_drawn_depends_on_the_seed_alone():
    first, again = (draw_protocol(np.random.default_rng(7)) for _ in range(2))
    assert first == again
    assert first != draw_protocol(np.random.default_rng(8))
