"""How far the brightness of tissue is off after harmonizing, as the network leaves it and held by one share or another.

What stands in ``harmonizers/tone.yaml`` comes from here: people bent from label maps are seen under several protocols
of a family, or of two, the first of which departs from nothing, and every scan is brought to every other's by metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from bids_distclip.benchmark.cases import as_prepared
from bids_distclip.harmonizers.base import Target
from bids_distclip.harmonizers.distclip import DistClip
from bids_distclip.harmonizers.styles import find_styles
from bids_distclip.harmonizers.tissue import with_tissue
from bids_distclip.harmonizers.tone import held_tissues, pair_name
from bids_distclip.networks.weights import load_trained
from bids_distclip.quality.tissue import channel
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import draw_protocol
from bids_distclip.simulation.volumes import simulate_volumes
from bids_distclip.volume.intensity import brain_scale
from bids_distclip.volume.prepared import Prepared
from bids_distclip.volume.tissue import Segment

#: Families whose tissues are held, within each and from each to every other.
HELD = ('T1w', 'T2w', 'FLAIR', 'PDw')
#: Tissues asked about, and how many pure ones, the first of a photometer's, they are mixtures of.
TOLD, PURE = ('WM', 'CGM', 'CSF'), 5
#: Shares tried; and the weight in the fit of a mixture's sum being one.
SHARES, SUM = (0.0, 0.25, 0.5, 0.75, 1.0), 100.0
#: Fewer voxels of a tissue say too little.
LEAST = 60

COLUMNS = ('pair', 'tissue', 'target', 'pairs', 'holds', 'source', *(f'share_{share:g}' for share in SHARES))


@dataclass(frozen=True)
class Pair:
    """Medians of :data:`TOLD` in a source, in what the network made of it and in the truth, ``(3,)`` each; what its
    style and the target's let expect of pure tissues ``(PURE,)``. ``usual``: the target departs from nothing."""

    usual: bool
    source: np.ndarray
    made: np.ndarray
    truth: np.ndarray
    before: np.ndarray
    after: np.ndarray


def gather_pairs(
    engine: DistClip,
    anatomies: Sequence[Anatomy],
    families: tuple[str, str],
    *,
    people: int,
    segment: Segment,
    every: int,
    protocols: int = 5,
    size: tuple[int, int, int] = (160, 192, 144),
    seed: int = 50_000,
) -> Iterator[Pair]:
    """Yield what becomes of the tissues of ``people``, each seen under ``protocols`` of the first of two families and
    brought to as many of the second, or to each other where both are the same; every ``every``-th axial slice.

    ``engine`` must not hold tissues itself. Scans whose tissue cannot be told are left out.
    """
    trained = load_trained(engine.weights, device=engine.device)
    first, second = families
    rng = np.random.default_rng([seed, len(first)])
    for person in range(people):
        drawn = [draw_protocol(rng, family=first) for _ in range(protocols)]
        goals = drawn if first == second else [draw_protocol(rng, family=second) for _ in range(protocols)]
        drawn[0], goals[0] = drawn[0].usual(), goals[0].usual()
        ventricles = float(rng.uniform(-1.0, 5.0)) if rng.random() < 0.4 else 0.0
        anatomy = anatomies[person % len(anatomies)]
        head = Head(anatomy, seed=seed + person, deform_mm=2.5, lesion_kinds=('ms',), ventricles_mm=ventricles)
        made = simulate_volumes(
            head, drawn if first == second else [*drawn, *goals], size=size, seed=seed + person, strip=2.0,
            effect_strength=0.5, every=every,
        )
        truths = [one.truth / brain_scale(one.truth, one.brain > 0.5) for one in made[-protocols:]]
        for i, (scan, protocol) in enumerate(zip(made, drawn, strict=False)):
            source = as_prepared(
                scan.image, scan.brain > 0.5, scan.affine, acquisition=protocol.acquisition, family=first
            )
            source = with_tissue(source, segment)
            if source.tissue is None:
                continue
            for j, goal in enumerate(goals):
                if first != second or i != j:
                    target = Target('metadata', goal.scanner, second, goal.acquisition)
                    yield _pair(engine, trained, source, target, truths[j], usual=j == 0)


def _pair(engine: DistClip, trained: Any, source: Prepared, target: Target, truth: np.ndarray, *, usual: bool) -> Pair:
    synthesize = source.family != target.family
    styles = find_styles(trained, source, target, synthesize=synthesize)
    before, after = (
        trained.photometer.expected(theta, family=family).numpy()[:PURE]
        for theta, family in ((styles.source, source.family), (styles.target, target.family))
    )
    made = engine.harmonize(source, target, synthesize=synthesize).data / target.scale
    images = (source.volume.data / source.scale, made, truth)
    assert source.tissue is not None
    seen, shown, right = (_medians(image, source.tissue) for image in images)
    return Pair(usual, seen, shown, right, before, after)


def _medians(image: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    masks = [tissue == channel(name) for name in TOLD]
    return np.array([np.median(image[mask]) if mask.sum() >= LEAST else np.nan for mask in masks])


def compare_shares(pairs: Sequence[Pair], families: tuple[str, str]) -> list[dict[str, Any]]:
    """Return one row of :data:`COLUMNS` per tissue and kind of target: root mean square errors of medians.

    The tissue that sets the scale is held by what the source's departs from its style, the others, which follow its
    factor, by what the network made of them, as the app does. Pairs in which another tissue is brighter than the first
    do not count; without any pair there is no row.
    """
    if not pairs:
        return []
    asked = pair_name(*families)
    scale = held_tissues().get(asked, {}).get('scale')
    fields = ('usual', 'source', 'made', 'truth', 'before', 'after')
    usual, source, made, truth, before, after = (np.array([getattr(p, name) for p in pairs]) for name in fields)
    used = np.isfinite(np.c_[source, made, truth]).all(1)
    if scale:
        used &= source.argmax(1) == TOLD.index(scale)
    if not used.any():
        return []
    factor: Any = 1.0
    if scale:
        first = TOLD.index(scale)
        holds = mixture(after[used], truth[used, first])
        kept = 1 - held_tissues()[asked]['tissues'][scale]['share']
        factor = after @ holds * (source[:, first] / (before @ holds)) ** kept / made[:, first]
    rows = []
    for k, name in enumerate(TOLD):
        holds = mixture(after[used], truth[used, k])
        goal, told = after @ holds, before @ holds
        for label, chosen in (('departs from nothing', used & usual), ('any', used)):
            errors = [_off(source[:, k], truth[:, k], chosen)]
            for share in SHARES:
                held = (1 - share) * factor * made[:, k] + share * goal
                if name == scale:
                    held = goal * (source[:, k] / told) ** (1 - share) if share else made[:, k]
                errors.append(_off(held, truth[:, k], chosen))
            found = [asked, name, label, int(chosen.sum()), ' '.join(f'{v:.2f}' for v in holds), *errors]
            rows.append(dict(zip(COLUMNS, found, strict=True)))
    return rows


def mixture(pure: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the shares ``(P,)`` of pure tissues ``(N, P)`` in what is shown ``(N,)``: none negative, one in sum."""
    count = pure.shape[1]
    found, _ = nnls(np.r_[pure, np.full((1, count), SUM)], np.r_[shown, SUM])
    return found


def _off(held: np.ndarray, truth: np.ndarray, chosen: np.ndarray) -> float:
    return float(np.sqrt(np.mean((held - truth)[chosen] ** 2))) if chosen.any() else float('nan')
