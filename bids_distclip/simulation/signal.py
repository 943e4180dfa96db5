"""Signal equations: what a voxel with given T1, T2, T2* and proton density looks like under a pulse sequence.

All functions are elementwise on torch tensors, times in seconds, angles in degrees, signals in units of the
fully relaxed magnetization. ``b1`` scales the flip angle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Echo time in seconds at which moving fluid has lost most of what it can lose.
FLOW_ECHO = 0.03


@dataclass(frozen=True)
class Tissue:
    """Parameter maps of one shape: ``t1``, ``t2``, ``t2star`` in seconds, ``pd`` and ``mt`` as fractions.

    ``flow`` is how much a long echo loses to fluid that moves, the negative logarithm of what is left; None: nothing.
    Where two tissues share a voxel the maps hold their mean (of logarithms), and ``mixture`` what they are.
    """

    t1: Tensor
    t2: Tensor
    t2star: Tensor
    pd: Tensor
    mt: Tensor
    flow: Tensor | None = None
    mixture: Mixture | None = None

    def __getitem__(self, chosen: Tensor) -> Tissue:
        t1, t2, t2star, pd, mt = (m[chosen] for m in (self.t1, self.t2, self.t2star, self.pd, self.mt))
        flow = None if self.flow is None else self.flow[chosen]
        return Tissue(t1, t2, t2star, pd, mt, flow, None if self.mixture is None else self.mixture[chosen])


@dataclass(frozen=True)
class Mixture:
    """Fluid and another tissue in one voxel: ``where`` ``(N,)`` they are, the fluid's ``share`` ``(N,)``, and both,
    the fluid with parameters of no dimension, the other ``(N,)``. Their *signals* add up, as their parameters do not: a
    mean T2 with a mean T1 would shine on FLAIR, where fluid is dark and tissue not bright.
    """

    where: Tensor
    share: Tensor
    fluid: Tissue
    other: Tissue

    def __getitem__(self, chosen: Tensor) -> Mixture:
        return Mixture(self.where[chosen], self.share[chosen], self.fluid, self.other[chosen])


def spoiled_gradient_echo(
    tissue: Tissue, *, tr: float, te: float, flip_angle: float, b1: Tensor | float = 1.0
) -> Tensor:
    """Return the steady-state FLASH/SPGR signal (Ernst and Anderson 1966; Haase 1986)."""
    alpha = _radians(flip_angle, b1)
    e1 = torch.exp(-tr / tissue.t1)
    return tissue.pd * torch.sin(alpha) * (1 - e1) / (1 - torch.cos(alpha) * e1) * torch.exp(-te / tissue.t2star)


def mprage(
    tissue: Tissue,
    *,
    cycle: float,
    ti: float,
    te: float,
    flip_angle: float,
    echo_spacing: float,
    echoes: int,
    inversion: float = 0.96,
    b1: Tensor | float = 1.0,
) -> Tensor:
    """Return the magnetization-prepared gradient-echo signal in its steady state.

    ``cycle`` is the time from inversion to inversion, ``ti`` from inversion to the centre of k-space, ``echoes``
    the number of excitations ``echo_spacing`` apart in one train, ``inversion`` the pulse's efficiency
    (Mugler and Brookeman 1990; steady state as in Deichmann 2000, with relaxation during the train).
    """
    alpha = _radians(flip_angle, b1)
    before = max(ti - 0.5 * echoes * echo_spacing, 1e-3)
    after = max(cycle - before - echoes * echo_spacing, 1e-3)
    e_before, e_after = torch.exp(-before / tissue.t1), torch.exp(-after / tissue.t1)
    e_echo = torch.exp(-echo_spacing / tissue.t1)
    decay = torch.cos(alpha) * e_echo
    driven = (1 - e_echo) / (1 - decay)
    train = decay**echoes
    # M before inversion solves m = 1 + (train(start(m)) - 1) e_after, start(m) = 1 - (1 + inversion m) e_before.
    offset = driven + (1 - e_before - driven) * train
    slope = -inversion * e_before * train
    equilibrium = (1 + (offset - 1) * e_after) / (1 - slope * e_after)
    start = 1 - (1 + inversion * equilibrium) * e_before
    center = driven + (start - driven) * decay ** (0.5 * echoes)
    return tissue.pd * torch.sin(alpha) * center.abs() * torch.exp(-te / tissue.t2star)


def spin_echo(tissue: Tissue, *, tr: float, te: float, mt_weight: float = 0.0) -> Tensor:
    """Return the spin-echo signal with a 90°–180° pair (Hendrick 1994)."""
    recovery = 1 - 2 * torch.exp(-(tr - te / 2) / tissue.t1) + torch.exp(-tr / tissue.t1)
    return _transfer(tissue, mt_weight) * recovery.abs() * torch.exp(-te / tissue.t2)


def fast_spin_echo(
    tissue: Tissue,
    *,
    tr: float,
    te: float,
    train: float,
    refocusing: float = 180.0,
    b1: Tensor | float = 1.0,
    mt_weight: float = 0.0,
) -> Tensor:
    """Return the turbo spin-echo signal: recovery starts after the echo train of duration ``train``.

    ``te`` is the effective echo time (Hennig 1986; Constable 1992), ``refocusing`` the angle of the refocusing pulses;
    see :func:`echo_decay`.
    """
    recovery = 1 - torch.exp(-max(tr - train, 1e-2) / tissue.t1)
    return _transfer(tissue, mt_weight) * recovery * echo_decay(tissue, te=te, refocusing=refocusing, b1=b1)


def echo_decay(tissue: Tissue, *, te: float, refocusing: float, b1: Tensor | float = 1.0) -> Tensor:
    """Return what relaxation leaves of the echo at ``te`` of a train of refocusing pulses.

    Pulses of less than 180 degrees keep part of the magnetization along the field for part of the time, where it decays
    with T1 instead of T2 (stimulated echoes; Hennig 1988). The share of time across the field is sin(angle / 2), to
    within 0.02 of an extended phase graph from 90 degrees on, whatever the tissue.
    """
    across = torch.sin(0.5 * _radians(refocusing, b1))
    return torch.exp(-te * (across / tissue.t2 + (1 - across) / tissue.t1))


def flow_left(tissue: Tissue, *, te: float) -> Tensor | float:
    """Return what moving fluid keeps of its signal at an echo time: short echoes lose little (:data:`FLOW_ECHO`)."""
    return 1.0 if tissue.flow is None else torch.exp(-tissue.flow * (1 - math.exp(-te / FLOW_ECHO)))


def inversion_recovery(
    tissue: Tissue,
    *,
    tr: float,
    te: float,
    ti: float,
    train: float,
    inversion: float = 0.98,
    preparation: float = 0.0,
    refocusing: float = 180.0,
    b1: Tensor | float = 1.0,
    mt_weight: float = 0.0,
    pedestal: float | None = None,
) -> Tensor:
    """Return the magnitude of an inversion-recovery turbo spin echo, as T2-FLAIR (Hajnal 1992; Rydberg 1994).

    ``tr`` runs from inversion to inversion; what the echo train saturated recovers from its end to the next inversion,
    for ``tr - ti - train``. A T2 ``preparation`` of that many seconds before the inversion leaves tissue little to
    invert, so that fluid alone is nulled and T1 weights the tissue less (Mugler 2003; Visser 2010).

    With a ``pedestal`` the reconstruction is phase-sensitive, as of T1-weighted inversion recovery: what is still
    inverted stays dark, and the pedestal lifts it above zero (Borrello 1990).
    """
    recovered = 1 - torch.exp(-max(tr - ti - train, 1e-2) / tissue.t1)
    prepared = recovered * torch.exp(-preparation / tissue.t2)
    longitudinal = 1 - (1 + inversion * prepared) * torch.exp(-ti / tissue.t1)
    seen = longitudinal.abs() if pedestal is None else (longitudinal + pedestal).clamp(min=0)
    return _transfer(tissue, mt_weight) * seen * echo_decay(tissue, te=te, refocusing=refocusing, b1=b1)


def nulling_time(t1: float, *, tr: float, train: float = 0.0, inversion: float = 1.0) -> float:
    """Return the inversion time in seconds at which a tissue with this T1 gives no signal (Rydberg 1994)."""
    return t1 * math.log((1 + inversion) / (1 + inversion * math.exp(-max(tr - train, 1e-2) / t1)))


def ernst_angle(t1: float, *, tr: float) -> float:
    """Return the flip angle in degrees that maximizes the spoiled gradient-echo signal."""
    return math.degrees(math.acos(math.exp(-tr / t1)))


def _radians(flip_angle: float, b1: Tensor | float) -> Tensor:
    return torch.as_tensor(b1) * math.radians(flip_angle)


def _transfer(tissue: Tissue, weight: float) -> Tensor:
    return tissue.pd * (1 - weight * tissue.mt)
