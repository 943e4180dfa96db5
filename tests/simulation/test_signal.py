from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bids_distclip.simulation import signal
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.signal import Tissue
from bids_distclip.simulation.tissue import tissue_table


def one(t1: float, t2: float = 0.1, t2star: float = 0.05, pd: float = 1.0) -> Tissue:
    return Tissue(*(torch.tensor([v]) for v in (t1, t2, t2star, pd, 0.0)))


def brain(field: float = 3.0) -> Tissue:
    table = tissue_table(field)
    rows = [table.index(n) for n in ('white_matter', 'cortical_gray', 'csf')]
    return Tissue(*(torch.tensor(getattr(table, n)[rows]) for n in ('t1', 't2', 't2star', 'pd', 'mt')))


def bloch_mprage(
    t1: float, *, cycle: float, ti: float, fa: float, spacing: float, echoes: int, inversion: float
) -> float:
    """Step through many inversion cycles pulse by pulse."""
    m, alpha = 1.0, math.radians(fa)
    before = ti - 0.5 * echoes * spacing
    after = cycle - before - echoes * spacing
    seen = 0.0
    for _ in range(60):
        m = 1 - (1 + inversion * m) * math.exp(-before / t1)
        for n in range(echoes):
            if n == echoes // 2:
                seen = abs(m) * math.sin(alpha)
            m = 1 + (m * math.cos(alpha) - 1) * math.exp(-spacing / t1)
        m = 1 + (m - 1) * math.exp(-after / t1)
    return seen


@pytest.mark.parametrize('t1', [0.35, 0.85, 1.4, 4.3])
def test_mprage_agrees_with_a_pulse_by_pulse_bloch_simulation(t1):
    timing = {'cycle': 2.3, 'ti': 0.9, 'echoes': 176, 'inversion': 0.96}
    closed = signal.mprage(one(t1, t2star=1e9), te=0.0, flip_angle=9, echo_spacing=0.0078, **dict(timing.items()))
    stepped = bloch_mprage(t1, cycle=2.3, ti=0.9, fa=9, spacing=0.0078, echoes=176, inversion=0.96)
    assert closed.item() == pytest.approx(stepped, rel=1e-3, abs=1e-4)


def test_the_spoiled_gradient_echo_is_largest_at_the_ernst_angle():
    angles = torch.arange(1.0, 60.0, 0.25)
    values = torch.stack([signal.spoiled_gradient_echo(one(1.0), tr=0.02, te=0.0, flip_angle=float(a)) for a in angles])
    assert float(angles[values.argmax()]) == pytest.approx(signal.ernst_angle(1.0, tr=0.02), abs=0.25)


def test_fluid_is_nulled_at_its_nulling_time():
    assert signal.nulling_time(4.3, tr=1e3) == pytest.approx(4.3 * math.log(2))
    ti = signal.nulling_time(4.3, tr=9.0)
    null = signal.inversion_recovery(one(4.3, t2=1.6), tr=9.0, te=0.1, ti=ti, train=0.0, inversion=1.0)
    assert null.item() < 1e-5


def bloch_inversion_recovery(t1: float, *, tr: float, ti: float, train: float, inversion: float) -> float:
    """Step through many cycles from inversion to inversion in steps of a millisecond."""
    m, seen, step = 1.0, 0.0, 1e-3
    for _ in range(20):
        m = -inversion * m
        for tick in range(round(tr / step)):
            if tick == round(ti / step):
                seen = abs(m)
            saturated = round(ti / step) <= tick < round((ti + train) / step)
            m = 0.0 if saturated else 1 + (m - 1) * math.exp(-step / t1)
    return seen


@pytest.mark.parametrize('t1', [0.85, 1.4, 4.3])
def test_inversion_recovery_agrees_with_a_stepped_bloch_simulation(t1):
    closed = signal.inversion_recovery(one(t1, t2=1e9), tr=5.0, te=0.0, ti=1.65, train=0.3, inversion=0.97)
    stepped = bloch_inversion_recovery(t1, tr=5.0, ti=1.65, train=0.3, inversion=0.97)
    assert closed.item() == pytest.approx(stepped, abs=2e-3)


def test_a_t2_preparation_leaves_tissue_little_to_invert():
    # After an endless preparation there is nothing to invert: saturation recovery, whatever the pulse.
    endless = signal.inversion_recovery(brain(), tr=5.0, te=0.0, ti=1.6, train=0.3, preparation=60.0)
    tissue = brain()
    assert torch.allclose(endless, tissue.pd * (1 - torch.exp(-1.6 / tissue.t1)), atol=1e-6)
    plain, prepared = (
        signal.inversion_recovery(brain(), tr=5.0, te=0.12, ti=1.7, train=0.3, preparation=p) for p in (0.0, 0.12)
    )
    assert prepared[1] / prepared[0] > 1.15 * plain[1] / plain[0]


@pytest.mark.parametrize(('tr', 'ti'), [(9.0, 2.5), (5.0, 1.8), (11.0, 2.8), (8.0, 2.37)])
def test_vendors_pairs_of_repetition_and_inversion_time_darken_fluid(tr, ti):
    white, gray, fluid = signal.inversion_recovery(brain(), tr=tr, te=0.11, ti=ti, train=0.1).tolist()
    assert fluid < 0.35 * white < gray


@pytest.mark.parametrize(
    ('name', 'values', 'order'),
    [
        (
            'mprage',
            signal.mprage(brain(), cycle=2.3, ti=0.9, te=0.003, flip_angle=9, echo_spacing=0.0075, echoes=176),
            'wgc',
        ),
        ('spgr', signal.spoiled_gradient_echo(brain(), tr=0.02, te=0.004, flip_angle=25), 'wgc'),
        ('t2 tse', signal.fast_spin_echo(brain(), tr=6.0, te=0.1, train=0.15), 'cgw'),
        ('pd tse', signal.fast_spin_echo(brain(), tr=5.0, te=0.012, train=0.1), 'gw'),
        ('t1 tirm', signal.inversion_recovery(brain(), tr=2.0, te=0.02, ti=0.8, train=0.1, pedestal=0.05), 'wgc'),
        ('flair', signal.inversion_recovery(brain(), tr=9.0, te=0.1, ti=2.4, train=0.2), 'gwc'),
    ],
)
def test_tissues_come_in_the_order_a_radiologist_knows(name, values, order):
    bright = dict(zip('wgc', values.tolist(), strict=False))
    assert [bright[t] for t in order] == sorted((bright[t] for t in order), reverse=True)


def test_between_the_tabulated_fields_relaxation_times_lie_between():
    low, middle, high = (tissue_table(f).t1 for f in (1.5, 2.0, 3.0))
    index = tissue_table(3.0).index('white_matter')
    assert low[index] < middle[index] < high[index]


def test_prepared_spgr_of_every_vendor_shows_gray_matter_between_fluid_and_white():
    rng = np.random.default_rng(3)
    for name in ('siemens-mprage-3t', 'ge-bravo-3t', 'ge-mprage-3t', 'philips-tfe-3t', 'uih-fsp-3t'):
        for _ in range(30):
            white, gray, fluid = draw_protocol(rng, family='T1w', scanner=name).usual().render(brain()).tolist()
            assert fluid < gray, name
            assert 0.5 < gray / white < 0.85, name


def test_ge_counts_the_inversion_time_of_prepared_spgr_up_to_its_train():
    made = draw_protocol(np.random.default_rng(0), family='T1w', scanner='ge-bravo-3t')
    told, half = made.sidecar['InversionTime'], 0.5 * made.echoes * made.echo_spacing
    assert 0.4 <= told <= 0.5
    assert made.inversion_time == pytest.approx(told + half, abs=1e-3)
    assert made.repetition > made.inversion_time + half


def extended_phase_graph(*, t1: float, t2: float, angle: float, spacing: float, echoes: int) -> list[float]:
    """Step a CPMG train through its configuration states (Hennig 1988; Weigel 2015); the magnitude of every echo.

    The first refocusing pulse is half-way between the angle and 90 degrees more, as vendors have it.
    """
    states = 2 * echoes + 4
    plus, minus, along = (np.zeros(states, complex) for _ in range(3))
    plus[0] = minus[0] = 1
    half_way = math.exp(-spacing / 2 / t2), math.exp(-spacing / 2 / t1)
    seen = []
    for number in range(echoes):
        for part in range(2):
            plus, minus, along = plus * half_way[0], minus * half_way[0], along * half_way[1]
            plus, minus = np.roll(plus, 1), np.roll(minus, -1)
            minus[-1] = 0
            plus[0] = np.conj(minus[0])
            if part == 0:
                turn = math.radians(angle if number else 90 + angle / 2)
                c2, s2, s = math.cos(turn / 2) ** 2, math.sin(turn / 2) ** 2, math.sin(turn)
                plus, minus, along = (
                    c2 * plus + s2 * minus - 1j * s * along,
                    s2 * plus + c2 * minus + 1j * s * along,
                    -0.5j * s * plus + 0.5j * s * minus + math.cos(turn) * along,
                )
        seen.append(abs(plus[0]))
    return seen


@pytest.mark.parametrize('angle', [90, 110, 130, 150, 180])
@pytest.mark.parametrize(('t1', 't2'), [(0.85, 0.071), (1.4, 0.089), (4.3, 1.6)])
def test_the_decay_of_an_echo_train_agrees_with_an_extended_phase_graph(angle, t1, t2):
    train = {'angle': angle, 'spacing': 0.01, 'echoes': 10}
    relaxed = extended_phase_graph(t1=t1, t2=t2, **train)[-1]
    free = extended_phase_graph(t1=1e9, t2=1e9, **train)[-1]
    closed = signal.echo_decay(one(t1, t2=t2), te=0.1, refocusing=angle)
    assert closed.item() == pytest.approx(relaxed / free, rel=0.03)


def test_moving_fluid_is_lost_in_late_echoes_only():
    still, moving = one(4.3, t2=1.6), one(4.3, t2=1.6)
    moving = Tissue(still.t1, still.t2, still.t2star, still.pd, still.mt, flow=torch.tensor([1.0]))
    early, late = (signal.flow_left(moving, te=te).item() for te in (0.003, 0.1))
    assert signal.flow_left(still, te=0.1) == 1.0
    assert early > 0.9
    assert late == pytest.approx(math.exp(-1), rel=0.05)


def test_t2w_gray_matter_of_real_scans_lies_among_the_simulated():
    """Six people's scans have a median of 1.45 times white matter (docs/benchmark_data/realism.tsv)."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(400):
        protocol = draw_protocol(rng, family='T2w')
        table = tissue_table(protocol.field_strength)
        rows = [table.index(n) for n in ('white_matter', 'cortical_gray')]
        person = [np.exp(share * rng.normal(size=2) * table.spread[rows]) for share in (1, 1, 1, 0.25, 0)]
        values = [
            getattr(table, n)[rows] * p for n, p in zip(('t1', 't2', 't2star', 'pd', 'mt'), person, strict=True)
        ]
        white, gray = protocol.render(Tissue(*(torch.tensor(v) for v in values))).tolist()
        ratios.append(gray / white)
    low, high = np.quantile(ratios, [0.1, 0.9])
    assert low < 1.45 < high, (low, high)
