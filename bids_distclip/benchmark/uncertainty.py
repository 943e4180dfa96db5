"""How what an uncertainty is made of goes with the true error on simulated heads, and the calibration that follows."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import optimize, stats

from bids_distclip.benchmark.cases import Case
from bids_distclip.harmonizers.distclip import DistClip
from bids_distclip.networks.weights import TERMS

#: Share of errors that a calibrated uncertainty is to cover, as one standard deviation of a normal distribution does.
COVERED = 0.683
_SAMPLE = 40_000
#: Rank correlations nearer than this are the same: heads differ by more.
_EQUAL = 0.02


@dataclass(frozen=True)
class Errors:
    """What the uncertainty is made of (``terms``, by name), and the absolute error, at some voxels of the brain of one
    result, on normalized scales; ``tissue`` is the true class of those voxels, where it is known."""

    head: str
    pair: str
    mode: str
    guide: str
    terms: Mapping[str, np.ndarray]
    error: np.ndarray
    tissue: np.ndarray | None = None


def gather_errors(engine: DistClip, cases: Iterable[Case], *, seed: int = 0) -> Iterator[Errors]:
    """Yield terms and error of every case that has something to do; no calibration enters.

    The source's noise is in the result and not in the truth, so it is part of the error.
    """
    for index, case in enumerate(c for c in cases if not c.nothing_to_do):
        chosen = np.random.default_rng([seed, index]).permutation(np.flatnonzero(case.source.brain))[:_SAMPLE]
        for target, guide in ((case.metadata_target, 'metadata'), (case.image_target, 'image')):
            mode = 'residual' if case.source_family == case.target_family else 'synthesis'
            answer, terms = engine.explain(case.source, target, synthesize=mode == 'synthesis')
            error = np.abs(answer.data.ravel()[chosen] / target.scale - case.truth.ravel()[chosen])
            told = {name: term.ravel()[chosen] for name, term in terms.items()}
            tissue = None if case.tissue is None else case.tissue.ravel()[chosen]
            yield Errors(case.head, case.pair, mode, guide, told, error, tissue)


def calibrate(found: Sequence[Errors]) -> dict[str, float]:
    """Return the weights of :data:`bids_distclip.networks.weights.TERMS` with which an uncertainty covers
    :data:`COVERED` of the errors.

    Terms go with each other, and few heads cannot tell which of them matters: weighed all at once they come out
    otherwise for every head. So every choice of terms is tried on heads that were left out. Of those that rank errors
    best within each result (to :data:`_EQUAL`) the likeliest is taken; terms that are not chosen get 0. With one head
    alone all are weighed.
    """
    heads = sorted({one.head for one in found})
    known = sorted({name for one in found for name in one.terms}, key=TERMS.index)
    choices = [some for n in range(1, len(known) + 1) for some in itertools.combinations(known, n)]
    if len(heads) == 1 or not choices:
        return fit(found)
    scores = {names: _left_out([_only(one, names) for one in found], heads=heads) for names in choices}
    top = max(rank for rank, _ in scores.values())
    best = max((likely, names) for names, (rank, likely) in scores.items() if rank > top - _EQUAL)[1]
    return fit([_only(one, best) for one in found])


def calibrate_each(found: Sequence[Errors]) -> dict[str, dict[str, dict[str, float]]]:
    """Return by head and mode the calibration of all other heads; of itself where there is one alone."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for head in sorted({one.head for one in found}):
        others = [one for one in found if one.head != head] or found
        out[head] = calibrate_modes(others)
    return out


def calibrate_modes(found: Sequence[Errors]) -> dict[str, dict[str, float]]:
    """Return a calibration for each mode."""
    return {mode: calibrate([one for one in found if one.mode == mode]) for mode in sorted({one.mode for one in found})}


def _only(one: Errors, names: Collection[str]) -> Errors:
    return replace(one, terms={name: term for name, term in one.terms.items() if name in names})


def _left_out(found: Sequence[Errors], *, heads: Sequence[str]) -> tuple[float, float]:
    """Return mean rank correlation and log likelihood within results of heads that were left out."""
    scores = []
    for head in heads:
        known = fit([one for one in found if one.head != head])
        for one in found:
            if one.head == head:
                told = np.maximum(expected(one.terms, known), 1e-6)
                scores.append((_rank(told, one.error), -float(np.mean(2 * np.log(told) + (one.error / told) ** 2))))
    rank, likely = np.mean(scores, axis=0)
    return float(rank), float(likely)


def _rank(told: np.ndarray, error: np.ndarray) -> float:
    """Return a rank correlation; 0 where nothing is told apart."""
    told = np.broadcast_to(told, error.shape)
    return float(stats.spearmanr(told, error).statistic) if np.ptp(told) > 0 else 0.0


def fit(found: Sequence[Errors], *, bins: int = 6) -> dict[str, float]:
    """Return the weights of all terms that these errors have; 0 for the others.

    The likeliest weights of normal errors, whose variance is the weighted sum of the terms' squares, from the mean
    squares in bins of the terms, every result counting the same; then all of them scaled until that share is covered.
    """
    rows: list[list[float]] = []
    for one in found:
        where = np.zeros(len(one.error), dtype=int)
        for term in one.terms.values():
            edges = np.unique(np.quantile(term, np.linspace(0, 1, bins + 1)[1:-1]))
            where = where * bins + np.searchsorted(edges, term, side='right')
        for group in np.unique(where):
            here = where == group
            squares = [float(np.mean(one.terms[n][here] ** 2)) if n in one.terms else 0.0 for n in TERMS[1:]]
            rows.append([here.mean(), float(np.mean(one.error[here] ** 2)), 1.0, *squares])
    share, goal, *given = np.array(rows).T
    terms = np.stack(given, 1)
    typical = terms.mean(0) + 1e-12

    def unlikely(logarithms: np.ndarray) -> float:
        variance = (terms / typical) @ np.exp(logarithms) + 1e-9
        return float((share * (np.log(variance) + goal / variance)).sum())

    start = np.full(len(TERMS), np.log(goal.mean() / len(TERMS)))
    answer = optimize.minimize(unlikely, start, method='L-BFGS-B', bounds=[(-25.0, 2.0)] * len(TERMS))
    weights = np.sqrt(np.exp(answer.x) / typical)
    weights[terms.max(0) <= 0] = 0.0
    made = dict(zip(TERMS, weights.tolist(), strict=True))
    reach = [one.error / np.maximum(expected(one.terms, made), 1e-9) for one in found]
    scale = float(np.quantile(np.concatenate(reach), COVERED))
    return {name: round(value * scale, 5) for name, value in made.items()}


def expected(terms: Mapping[str, np.ndarray], known: Mapping[str, float]) -> np.ndarray:
    """Return the uncertainty that calibrated terms make."""
    squares = sum((known[name] * term) ** 2 for name, term in terms.items())
    return np.sqrt(known['floor'] ** 2 + squares)


def report(
    found: Sequence[Errors], calibration: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> list[dict[str, object]]:
    """Return one row per pair and guide, and one per mode over all of them, with the calibration of each head.

    Rank correlation of uncertainty and error (of all voxels, and the mean of every result's own), what 1 and 2 of it
    cover, and the mean rank correlation of an oracle that knows how far every tissue of every result is off: how much
    such a correlation can be.
    """
    groups: dict[tuple[str, str, str], list[Errors]] = defaultdict(list)
    for one in found:
        groups[one.mode, one.pair, one.guide].append(one)
        groups[one.mode, 'all', 'both'].append(one)
    rows = []
    for (mode, pair, guide), some in sorted(groups.items()):
        told = [np.broadcast_to(expected(one.terms, calibration[one.head][mode]), one.error.shape) for one in some]
        each = [_rank(u, one.error) for u, one in zip(told, some, strict=True)]
        all_told, error = np.concatenate(told), np.concatenate([one.error for one in some])
        rows.append({
            'mode': mode, 'pair': pair, 'guide': guide, 'results': len(some),
            'spearman': float(stats.spearmanr(all_told, error).statistic), 'spearman_each': float(np.mean(each)),
            'mean_error': float(error.mean()), 'mean_uncertainty': float(all_told.mean()),
            'covered_1': float((error <= all_told).mean()), 'covered_2': float((error <= 2 * all_told).mean()),
            'spearman_oracle': float(np.mean([oracle_rank(one.error, one.tissue) for one in some])),
        })
    return rows


def oracle_rank(error: np.ndarray, tissue: np.ndarray | None) -> float:
    """Return the rank correlation of errors ``(N,)`` with the root of their mean square in each class ``(N,)``.

    NaN where there are not two classes.
    """
    if tissue is None or np.ptp(tissue) == 0:
        return float('nan')
    counts = np.maximum(np.bincount(tissue), 1)
    return float(stats.spearmanr(np.sqrt(np.bincount(tissue, error**2) / counts)[tissue], error).statistic)


def write_calibration(calibration: Mapping[str, Mapping[str, float]], path: Path) -> Path:
    """Write the calibration as the file that is looked for beside weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'uncertainty': calibration}, indent=2) + '\n', encoding='utf-8')
    return path
