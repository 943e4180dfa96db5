"""Acquisition protocols: drawn from ``scanners.json``, rendered by the signal equations, written as sidecars."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.acquisition.sidecar import from_sidecar
from bids_distclip.simulation import signal
from bids_distclip.simulation.signal import Tissue

#: Share of T2-FLAIR protocols whose inversion time follows from the repetition time, as vendors set it to darken fluid
#: (2D: TR 9 s, TI 2.5 s; 3D: TR 5 s, TI 1.8 s); the others draw both freely.
NULLED = 0.85

#: Flip angles up to this many degrees are of the excitation, larger ones of the refocusing pulses.
EXCITATION = 95.0

#: Mean refocusing angle over a slice's profile, as a share of the nominal one.
PROFILE = (0.75, 0.95)

#: T1 of cerebrospinal fluid in seconds that those pairs of times imply.
FLUID_T1 = 4.45

#: Share of the 3-D FLAIR protocols with a T2 preparation before the inversion, its duration in seconds, and what fluid
#: keeps of its magnetization through one. All three vendors sell it, and no converter writes it.
PREPARED = 0.7
PREPARATION = (0.06, 0.13)
FLUID_PREPARED = 0.94

#: Standard deviation of the exponents of what no closed form and no sidecar tells of a scanner (see :class:`Protocol`):
#: gray and white matter lie 5 % nearer or further apart.
DEPARTURE = 0.1
#: Times in seconds about which those exponents turn, and how far from them, in natural logarithms, they reach.
_TURN, _REACH = (1.1, 0.08), 0.7
#: Exponents of T2 by which turbo spin echoes of a family differ from the closed form on every scanner, and how far from
#: the turning point they reach, so that tissue moves and fluid hardly does. With the tissues' published times gray
#: matter of T2w has 1.5 of white and that of FLAIR 1.12; on three real heads (openms04, openms12, tcga6692) it had 1.30
#: to 1.40 and 1.07 to 1.34 where shading was not corrected. With N4 six heads have medians of 1.45 and 1.12: this mends
#: what was shading, and stays as long as weights that were trained with it.
USUAL = {'T2w': -0.45, 'FLAIR': 0.45}
_USUAL_REACH = 0.15


@dataclass(frozen=True)
class Protocol:
    """One acquisition with the physical truth of its timing.

    Times in seconds, ``flip_angle`` in degrees, ``field_strength`` in tesla. ``repetition`` is what the physics
    uses (for MPRAGE the inversion cycle), ``echo`` the effective echo time, ``inversion_time`` ends at the centre of
    k-space; ``preparation`` is the duration of a T2 preparation before the inversion (0: none), ``refocusing`` the
    mean angle over a slice's profile; ``sidecar`` is what the vendor's converter would
    have written, in that vendor's dialect: GE's prepared SPGR counts its inversion time up to the first excitation of
    the train. ``departure`` are the exponents of T1 and T2 by which this scanner's contrast departs from the closed
    form: magnetization transfer, slice profiles, calibration of the pulses, the vendor's filters.
    """

    scanner: str
    family: str
    sequence: str
    field_strength: float
    echo: float
    repetition: float
    inversion_time: float | None
    flip_angle: float
    echo_spacing: float
    echoes: int
    train: float
    inversion: float
    preparation: float
    refocusing: float
    mt_weight: float
    pedestal: float | None
    departure: tuple[float, float]
    sidecar: Mapping[str, Any]

    @property
    def acquisition(self) -> Acquisition:
        """Return the sidecar as the rest of the package reads it."""
        return from_sidecar(self.sidecar, suffix=None, origin='simulated')

    def render(self, tissue: Tissue, *, b1: Tensor | float = 1.0) -> Tensor:
        """Return the noise-free magnitude signal of parameter maps, in the maps' shape."""
        flow = signal.flow_left(tissue, te=self.echo)
        plain = self._relaxed(tissue, b1) * flow * self._departed(tissue)
        if tissue.mixture is None:
            return plain
        both = tissue.mixture
        fluid, other = (self._relaxed(t, b1) * self._departed(t) for t in (both.fluid, both.other))
        return torch.where(both.where, both.share * fluid * flow + (1 - both.share) * other, plain)

    def usual(self) -> Protocol:
        """Return the protocol without the departure of one scanner: what its sidecar tells."""
        return replace(self, departure=(0.0, 0.0))

    def _departed(self, tissue: Tissue) -> Tensor:
        away = [
            (times / turn).log().clamp(-_REACH, _REACH) * exponent
            for times, turn, exponent in zip((tissue.t1, tissue.t2), _TURN, self.departure, strict=True)
        ]
        usual = (tissue.t2 / _TURN[1]).log().clamp(-_USUAL_REACH, _USUAL_REACH) * USUAL.get(self.family, 0.0)
        return (away[0] + away[1] + usual).exp()

    def _relaxed(self, tissue: Tissue, b1: Tensor | float) -> Tensor:
        if self.sequence == 'mprage':
            return signal.mprage(
                tissue,
                cycle=self.repetition,
                ti=self.inversion_time or 0.0,
                te=self.echo,
                flip_angle=self.flip_angle,
                echo_spacing=self.echo_spacing,
                echoes=self.echoes,
                inversion=self.inversion,
                b1=b1,
            )
        if self.sequence in ('spgr', 'gre'):
            return signal.spoiled_gradient_echo(
                tissue, tr=self.repetition, te=self.echo, flip_angle=self.flip_angle, b1=b1
            )
        if self.sequence == 'se':
            return signal.spin_echo(tissue, tr=self.repetition, te=self.echo, mt_weight=self.mt_weight)
        if self.sequence == 'tse':
            return signal.fast_spin_echo(
                tissue,
                tr=self.repetition,
                te=self.echo,
                train=self.train,
                refocusing=self.refocusing,
                b1=b1,
                mt_weight=self.mt_weight,
            )
        return signal.inversion_recovery(
            tissue,
            tr=self.repetition,
            te=self.echo,
            ti=self.inversion_time or 0.0,
            train=self.train,
            inversion=self.inversion,
            preparation=self.preparation,
            refocusing=self.refocusing,
            b1=b1,
            mt_weight=self.mt_weight,
            pedestal=self.pedestal,
        )


@functools.cache
def scanner_rows() -> tuple[dict[str, Any], ...]:
    """Return the table of scanners and their protocol ranges."""
    return tuple(json.loads((Path(__file__).parent / 'scanners.json').read_text(encoding='utf-8')))


def draw_protocol(rng: np.random.Generator, *, family: str | None = None, scanner: str | None = None) -> Protocol:
    """Draw one protocol, of a contrast family or of one row of the table if asked.

    Families are equally likely when none is named; within a family the rows count by their weight.
    """
    rows = [r for r in scanner_rows() if scanner in (None, r['name'])]
    family = family or str(rng.choice(sorted({r['family'] for r in rows})))
    rows = [r for r in rows if r['family'] == family]
    weights = np.array([r['weight'] for r in rows], dtype=float)
    return _from_row(rows[rng.choice(len(rows), p=weights / weights.sum())], rng)


def _from_row(row: Mapping[str, Any], rng: np.random.Generator) -> Protocol:
    def uniform(name: str, default: float = 0.0) -> float:
        return float(rng.uniform(*row[name])) if name in row else default

    nominal_te, cycle, fa = uniform('TE'), uniform('TR'), uniform('FA')
    ti = uniform('TI') if 'TI' in row else None
    spacing, echoes, train = uniform('echo_spacing'), int(uniform('echoes')), uniform('train')
    preparation = 0.0
    if row['family'] == 'FLAIR' and row['MRAcquisitionType'] == '3D' and rng.random() < PREPARED:
        preparation = float(rng.uniform(*PREPARATION))
    if row['family'] == 'FLAIR' and ti is not None and rng.random() < NULLED:
        inversion = 0.97 * (FLUID_PREPARED if preparation else 1)
        ti = signal.nulling_time(FLUID_T1, tr=cycle, train=train, inversion=inversion) * float(rng.normal(1, 0.03))
    center = ti
    if row['sequence'] == 'mprage' and ti is not None:
        if row.get('ti_until') == 'train':
            center = ti + 0.5 * echoes * spacing
        else:
            center, echoes = ti, min(echoes, int(2 * (ti - 0.02) / spacing))
        cycle = max(cycle, center + 0.5 * echoes * spacing + 0.1)
    effective = (
        nominal_te * float(row.get('effective', 1.0)) * float(rng.uniform(0.9, 1.1) if 'effective' in row else 1)
    )
    written_tr = spacing if row['tr_meaning'] == 'readout' and row['sequence'] == 'mprage' else cycle
    sidecar = _sidecar(row, rng, te=nominal_te, tr=written_tr, ti=ti, fa=fa)
    mt = rng.uniform(0.0, 1.0) if row['MRAcquisitionType'] == '2D' else rng.uniform(0.0, 0.4)
    refocusing = _refocusing(row, rng, written=fa)
    return Protocol(
        scanner=row['name'],
        family=row['family'],
        sequence=row['sequence'],
        field_strength=float(row['B0']),
        echo=effective,
        repetition=cycle,
        inversion_time=center,
        flip_angle=fa,
        echo_spacing=spacing,
        echoes=echoes,
        train=train,
        inversion=float(rng.uniform(0.92, 1.0)),
        preparation=preparation,
        refocusing=refocusing,
        mt_weight=float(mt),
        pedestal=float(rng.uniform(0.0, 0.08)) if row['sequence'] == 'ir_tse' and row['family'] == 'T1w' else None,
        departure=(float(rng.normal(0, DEPARTURE)), float(rng.normal(0, DEPARTURE))),
        sidecar=sidecar,
    )


def _refocusing(row: Mapping[str, Any], rng: np.random.Generator, *, written: float) -> float:
    """Return the mean refocusing angle in degrees.

    Echo times of 3D trains of varying angle are given as what a train of 180 degrees would show. Where the sidecar
    holds the excitation's angle (90) the other is unknown. Slice profiles take a part of it.
    """
    if row['MRAcquisitionType'] != '2D':
        return 180.0
    nominal = written if written > EXCITATION else rng.uniform(110, 180)
    return float(nominal * rng.uniform(*PROFILE))


def _sidecar(
    row: Mapping[str, Any], rng: np.random.Generator, *, te: float, tr: float, ti: float | None, fa: float
) -> dict[str, Any]:
    field = float(row['B0'])
    raw = {
        'Manufacturer': row.get('Spelling', row['Manufacturer']),
        'ManufacturersModelName': str(rng.choice(row['Models'])),
        'MagneticFieldStrength': 2.89362
        if row['Manufacturer'] == 'Siemens' and field == 3 and rng.random() < 0.2
        else field,
        'MRAcquisitionType': row['MRAcquisitionType'],
        'SeriesDescription': str(rng.choice(row['Descriptions'])),
        'ScanningSequence': row['ScanningSequence'],
        'SequenceVariant': str(rng.choice(row['SequenceVariant'])),
        'EchoTime': float(f'{te:.4g}'),
        'RepetitionTime': float(f'{tr:.4g}'),
        'FlipAngle': float(round(fa)),
    }
    if ti is not None and rng.random() < row['writes_ti']:
        raw['InversionTime'] = float(f'{ti:.3g}')
    return raw
