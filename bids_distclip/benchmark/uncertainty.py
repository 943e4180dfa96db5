"""How the spread over planes goes with the true error on simulated heads, and the calibration that follows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize, stats

from bids_distclip.benchmark.cases import Case
from bids_distclip.harmonizers.distclip import DistClip

#: Share of errors that a calibrated uncertainty is to cover, as one standard deviation of a normal distribution does.
COVERED = 0.683
_SAMPLE = 40_000


@dataclass(frozen=True)
class Errors:
    """Spread over planes and absolute error at some voxels of the brain of one result, on normalized scales."""

    head: str
    pair: str
    mode: str
    guide: str
    spread: np.ndarray
    error: np.ndarray


def gather_errors(engine: DistClip, cases: Iterable[Case], *, seed: int = 0) -> Iterator[Errors]:
    """Yield spread and error of every case that has something to do; the engine's own calibration is taken out.

    The source's noise is in the result and not in the truth, so it is part of the error.
    """
    raw = DistClip(weights=engine.weights, device=engine.device, precision=engine.precision, calibrate=False)
    for index, case in enumerate(c for c in cases if not c.nothing_to_do):
        chosen = np.random.default_rng([seed, index]).permutation(np.flatnonzero(case.source.brain))[:_SAMPLE]
        for target, guide in ((case.metadata_target, 'metadata'), (case.image_target, 'image')):
            mode = 'residual' if case.source_family == case.target_family else 'synthesis'
            answer = raw.harmonize(case.source, target, synthesize=mode == 'synthesis')
            if answer.uncertainty is None:
                continue
            spread = answer.uncertainty.ravel()[chosen] / target.scale
            error = np.abs(answer.data.ravel()[chosen] / target.scale - case.truth.ravel()[chosen])
            yield Errors(case.head, case.pair, mode, guide, spread, error)


def calibrate(found: Sequence[Errors], *, bins: int = 20) -> dict[str, float]:
    """Return ``floor`` and ``gain``: uncertainty = √(floor² + (gain · spread)²) covers :data:`COVERED` of the errors.

    Fitted by non-negative least squares to the squared quantiles of the error in bins of the spread.
    """
    spread, error = (np.concatenate([getattr(f, name) for f in found]) for name in ('spread', 'error'))
    edges = np.quantile(spread, np.linspace(0, 1, bins + 1))
    where = np.clip(np.searchsorted(edges, spread, side='right') - 1, 0, bins - 1)
    filled = [b for b in range(bins) if (where == b).sum() > 50]
    wanted = np.array([np.quantile(error[where == b], COVERED) ** 2 for b in filled])
    given = np.array([[1.0, np.mean(spread[where == b] ** 2)] for b in filled])
    weight = 1 / np.maximum(wanted, 1e-8)
    answer, _ = optimize.nnls(given * weight[:, None], wanted * weight)
    return {'floor': round(float(np.sqrt(answer[0])), 5), 'gain': round(float(np.sqrt(answer[1])), 4)}


def report(found: Sequence[Errors], calibration: Mapping[str, Mapping[str, float]]) -> list[dict[str, object]]:
    """Return one row per pair and guide: rank correlation of uncertainty and error, and what 1 and 2 of it cover."""
    groups: dict[tuple[str, str, str], list[Errors]] = defaultdict(list)
    for one in found:
        groups[one.mode, one.pair, one.guide].append(one)
    rows = []
    for (mode, pair, guide), some in sorted(groups.items()):
        spread, error = (np.concatenate([getattr(f, name) for f in some]) for name in ('spread', 'error'))
        known = calibration[mode]
        expected = np.hypot(known['floor'], known['gain'] * spread)
        rows.append({
            'mode': mode, 'pair': pair, 'guide': guide, 'heads': len({f.head for f in some}),
            'spearman': float(stats.spearmanr(spread, error).statistic),
            'mean_error': float(error.mean()), 'mean_uncertainty': float(expected.mean()),
            'covered_1': float((error <= expected).mean()), 'covered_2': float((error <= 2 * expected).mean()),
        })
    return rows


def write_calibration(calibration: Mapping[str, Mapping[str, float]], path: Path) -> Path:
    """Write the calibration as the file that is looked for beside weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'uncertainty': calibration}, indent=2) + '\n', encoding='utf-8')
    return path
