"""Traveling heads: what is left of the scanners once every engine has brought all scans of a contrast to one target.

Each head is scanned by every scanner, with tissues known. Asked is how far a tissue's brightness still depends on the
scanner, whether a probe trained anew on the results still tells the scanner, and how near the truth they are: an
engine that made everything equal and wrong would do well in the first two alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from bids_distclip.acquisition.protocols import default_protocol
from bids_distclip.benchmark.cases import as_prepared
from bids_distclip.benchmark.intervals import half_width
from bids_distclip.harmonizers.base import Harmonizer, Target
from bids_distclip.harmonizers.tissue import with_tissue
from bids_distclip.quality.metrics import psnr
from bids_distclip.quality.profile import look
from bids_distclip.quality.site import PEOPLE, probe
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import Protocol, draw_protocol, scanner_rows
from bids_distclip.simulation.slices import SliceGeometry, slice_points
from bids_distclip.simulation.tissue import tissue_table
from bids_distclip.simulation.volumes import SimulatedVolume, simulate_volumes
from bids_distclip.volume.intensity import brain_scale
from bids_distclip.volume.prepared import Prepared
from bids_distclip.volume.tissue import Segment

#: Tissues whose brightness should no longer depend on the scanner.
TISSUES = ('white_matter', 'cortical_gray', 'csf', 'thalamus', 'putamen')

#: Columns of ``travelers.tsv``: ``spread`` is the standard deviation over scanners of a tissue's median in one head,
#: in units of the intensity scale, the mean over tissues and heads; ``off`` the mean absolute difference of those
#: medians to the truth; ``wasserstein`` the distance of the brain's intensities to the true ones, in those units;
#: ``told`` the balanced accuracy of the probe, ``chance`` and ``limit`` of permuted scanners. ``_ci`` are half the
#: widths of 95 % confidence intervals over heads.
COLUMNS = ('family', 'engine', 'heads', 'scanners', 'spread', 'spread_ci', 'times_less', 'off', 'psnr_brain',
           'psnr_brain_ci', 'wasserstein', 'told', 'chance', 'limit', 'p')


@dataclass(frozen=True)
class Traveler:
    """One head on S scanners: ``scans`` by the scanner's name, ``truth`` ``(X, Y, Z)`` on the target's scanner, and
    where each tissue lies unmixed. ``image_target`` is another head on that scanner."""

    head: str
    family: str
    scans: Mapping[str, Prepared]
    truth: np.ndarray
    tissues: Mapping[str, np.ndarray]
    image_target: Target
    metadata_target: Target


def travelers(
    anatomies: Sequence[Anatomy],
    family: str,
    *,
    heads: int = 9,
    scanners: int = 4,
    seed: int = 11_000,
    size: tuple[int, int, int] = (160, 192, 144),
    every: int = 8,
    segment: Segment | None = None,
) -> Iterator[Traveler]:
    """Yield heads bent from the anatomies in turn, each under the same protocols, of as many kinds of scanner as there
    are.

    The target is a protocol of the kind of scanner that the app's default protocol of the family is of. Every
    ``every``-th axial slice alone is simulated. With ``segment`` the scans know their tissue, as in the app.
    """
    rng = np.random.default_rng([seed, len(family)])
    protocols = _fleet(rng, family, scanners + 1)
    (goal, _), fleet = protocols[0], protocols[1:]
    shown = None
    for number in range(heads + 1):
        anatomy = anatomies[number % len(anatomies)]
        head = Head(anatomy, seed=seed + number, deform_mm=2.5, lesion_kinds=('ms',))
        made = simulate_volumes(
            head, [p for p, _ in protocols], size=size, seed=seed + number, strip=2.0, effect_strength=0.5, every=every
        )
        target, scans = made[0], made[1:]
        prepared = _prepared(target, goal, target.image)
        if shown is not None:
            yield Traveler(
                head=f'{anatomy.name} {number}',
                family=family,
                scans={
                    name: _told(_prepared(s, p, s.image), segment) for s, (p, name) in zip(scans, fleet, strict=True)
                },
                truth=target.truth / brain_scale(target.truth, target.brain > 0.5),
                tissues=_tissues(head, size=size, every=every),
                image_target=Target('image', 'other head', family, goal.acquisition, shown, shown.scale),
                metadata_target=Target('metadata', goal.scanner, family, goal.acquisition),
            )
        shown = prepared


def _fleet(rng: np.random.Generator, family: str, count: int) -> list[tuple[Protocol, str]]:
    """Return protocols and their names, the target's first, which stands for its protocol and not for one scanner that
    departs from it.
    """
    usual = default_protocol(family).acquisition
    rows = [r for r in scanner_rows() if r['family'] == family]
    alike = [r for r in rows if (r['Manufacturer'], r['B0'], r['MRAcquisitionType'])
             == (usual.manufacturer, round(usual.field_strength or 0), usual.acquisition_type)]
    goal = (alike or rows)[0]['name']
    others = [str(n) for n in rng.permutation([r['name'] for r in rows if r['name'] != goal])] or [goal]
    order = [goal, *(others[i % len(others)] for i in range(count - 1))]
    drawn = [draw_protocol(rng, family=family, scanner=n) for n in order]
    return [(p if i else p.usual(), f'{i} {n}') for i, (p, n) in enumerate(zip(drawn, order, strict=True))]


def _prepared(volume: SimulatedVolume, protocol: Protocol, data: np.ndarray) -> Prepared:
    return as_prepared(
        data, volume.brain > 0.5, volume.affine, acquisition=protocol.acquisition, family=protocol.family
    )


def _told(scan: Prepared, segment: Segment | None) -> Prepared:
    return with_tissue(scan, segment) if segment else scan


def _tissues(head: Head, *, size: tuple[int, int, int], every: int) -> dict[str, np.ndarray]:
    """Return a mask ``(X, Y, Z)`` per tissue of the voxels that hold nothing else."""
    names = tissue_table(3.0).names
    masks: dict[str, list[np.ndarray]] = defaultdict(list)
    for index in range(every // 2, size[2], every):
        geometry = SliceGeometry(axis=2, offset=index - (size[2] - 1) / 2, size=size[:2])
        sampled = head.at(slice_points(geometry, oversample=3).reshape(-1, 3), field_strength=3.0)
        label = sampled.label.reshape(size[0], 3, size[1], 3)
        sick = (sampled.lesion > 0.05).reshape(size[0], 3, size[1], 3)
        for tissue in TISSUES:
            pure = ((label == names.index(tissue)) & ~sick).float().mean((1, 3)) > 0.99
            masks[tissue].append(pure.numpy())
    return {tissue: np.stack(found, -1) for tissue, found in masks.items()}


@dataclass
class _Found:
    """What one engine made: per image its head, scanner and look, and the distance of intensities to the true ones; per
    head nearness to the truth by scanner, the brightness ``(S, tissues)`` and how far it is off."""

    looks: list[tuple[str, str, list[float]]] = field(default_factory=list)
    near: list[list[float]] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)
    levels: list[np.ndarray] = field(default_factory=list)
    off: list[float] = field(default_factory=list)


def send(
    people: Iterable[Traveler],
    engines: Mapping[str, tuple[Harmonizer, str]],
    *,
    on_result: Callable[[list[dict[str, Any]]], object] | None = None,
) -> list[dict[str, Any]]:
    """Return one row of :data:`COLUMNS` per engine; ``engines`` maps a name to a harmonizer and its kind of target.

    ``times_less`` is the first engine's spread over this one's: put ``identity`` first. ``on_result`` gets the rows
    after every head from the third on. All people are of one contrast family.
    """
    found: dict[str, _Found] = defaultdict(_Found)
    rows: list[dict[str, Any]] = []
    for person in people:
        right = _medians(person.truth, person.tissues)
        for name, (engine, kind) in engines.items():
            one, levels = found[name], []
            one.near.append([])
            target = person.image_target if kind == 'image' else person.metadata_target
            for scanner, scan in person.scans.items():
                made = engine.harmonize(scan, target).data / target.scale
                kept: Any = look(made, brain=scan.brain)
                one.looks.append((person.head, scanner, [*kept['quantiles'], kept['sharpness']]))
                one.near[-1].append(psnr(np.clip(made, 0, 1), np.clip(person.truth, 0, 1), mask=scan.brain))
                one.apart.append(float(wasserstein_distance(made[scan.brain], person.truth[scan.brain])))
                levels.append(_medians(made, person.tissues))
            one.levels.append(np.array(levels))
            one.off.append(float(np.nanmean(np.abs(one.levels[-1] - right))))
        if len(one.levels) >= PEOPLE:
            rows = [_row(person, name, one, first=next(iter(found.values()))) for name, one in found.items()]
            if on_result:
                on_result(rows)
    return rows


def _medians(data: np.ndarray, tissues: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.array([np.median(data[m]) if m.sum() > 30 else np.nan for m in tissues.values()])


def _row(person: Traveler, name: str, one: _Found, *, first: _Found) -> dict[str, Any]:
    heads, scanners, features = zip(*one.looks, strict=True)
    told = probe(np.array(features), scanners, people=heads)
    spread = float(np.nanmean(_spreads(one)))
    return {
        'family': person.family,
        'engine': name,
        'heads': len(one.levels),
        'scanners': len(person.scans),
        'spread': spread,
        'spread_ci': half_width(_spreads(one)),
        'times_less': float(np.nanmean(_spreads(first))) / max(spread, 1e-9),
        'off': float(np.mean(one.off)),
        'psnr_brain': float(np.mean(one.near)),
        'psnr_brain_ci': half_width(np.mean(one.near, 1)),
        'wasserstein': float(np.mean(one.apart)),
        'told': told.score,
        'chance': told.chance,
        'limit': told.limit,
        'p': told.p,
    }


def _spreads(one: _Found) -> np.ndarray:
    """Return the mean over tissues of the standard deviation over scanners, one per head."""
    return np.array([np.nanmean(np.std(levels, axis=0, ddof=1)) for levels in one.levels])
