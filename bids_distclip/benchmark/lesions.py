"""Lesions: how they stand out from the white matter around them, before and after, beside how they should.

Contrast is a lesion's median less that of the white matter around it, in units of the intensity scale. The same noise
given, the ratio of two contrasts is that of their contrast-to-noise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from bids_distclip.acquisition.protocols import default_protocol
from bids_distclip.benchmark.cases import Case, head_cases, real_cases
from bids_distclip.errors import NoInput
from bids_distclip.harmonizers.base import Harmonizer, Target
from bids_distclip.harmonizers.tissue import with_tissue
from bids_distclip.quality.tissue import channel
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.lesions import LESIONS, UNSEEN
from bids_distclip.volume.tissue import Segment

COLUMNS = ('data', 'head', 'kind', 'learnt', 'pair', 'engine', 'voxels', 'source', 'made', 'truth')
#: Fewest voxels of a lesion in a slice, and of white matter around it.
LEAST, AROUND = 12, 30
#: White matter around a lesion lies so many voxels from it.
NEAR, FAR = 2, 6
#: From this contrast on a lesion is seen; with less than half of what it should have it is lost.
SEEN, LOST = 0.05, 0.5
#: How near a contrast should be to the true one.
CLOSE = 0.15

#: Voxels as indices into ``(X, Y, Z)``.
Voxels = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Patient:
    """A case whose lesions are of one kind; ``truth`` of the case is all nan where nobody knows it."""

    case: Case
    kind: str

    @property
    def learnt(self) -> str:
        """Whether lesions of this kind were trained on: *yes*, *never*, or *real*."""
        return 'real' if self.case.data == 'real' else 'never' if self.kind in UNSEEN else 'yes'


def simulated_patients(
    anatomies: Sequence[Anatomy], *, draws: int = 1, every: int = 1, size: tuple[int, int, int] = (160, 192, 144),
    seed: int = 21_000,
) -> Iterator[Patient]:
    """Yield all cases of each anatomy with lesions of each kind; guides are the next anatomy's."""
    for draw in range(draws):
        for index, anatomy in enumerate(anatomies):
            pair = (anatomy, anatomies[(index + 1) % len(anatomies)])
            for number, kind in enumerate((*LESIONS, *UNSEEN)):
                chance = [seed, 100 * index + number, draw + 1]
                for case in head_cases(pair, chance, size=size, every=every, lesion_kinds=(kind,)):
                    if not case.nothing_to_do:
                        yield Patient(case, kind)


def real_patients(
    brains: Path, *, segment: Segment, subjects: Sequence[str] = ('openmsmni07', 'openmsmni26')
) -> Iterator[Patient]:
    """Yield the pairs of real heads whose lesions were outlined by hand, and each image on its way to the app's default
    target, whose truth nobody knows.

    Raises
    ------
    NoInput
        If a subject's lesions are not outlined.
    """
    for case in real_cases(brains, subjects=subjects):
        found = sorted(Path(brains).glob(f'sub-{case.head}/**/*_label-lesion_mask.nii.gz'))
        if not found:
            raise NoInput(f'There is no lesion mask of sub-{case.head}', file=brains)
        mask = np.asarray(nib.as_closest_canonical(nib.load(found[0])).dataobj) > 0
        source = with_tissue(case.source, segment)
        case = replace(case, source=source, lesion=mask.astype(np.float32), tissue=source.tissue)
        if not case.nothing_to_do:
            yield Patient(case, 'multiple sclerosis')
            continue
        usual = default_protocol(case.source_family).acquisition
        target = Target('metadata', 'default', case.target_family, usual)
        unknown = np.full_like(case.truth, np.nan)
        yield Patient(replace(case, truth=unknown, metadata_target=target, nothing_to_do=False), 'multiple sclerosis')


def measure_lesions(
    patients: Iterable[Patient], engines: Mapping[str, tuple[Harmonizer, str]]
) -> Iterator[dict[str, Any]]:
    """Yield one row of :data:`COLUMNS` per lesion in a slice and engine; the three last are contrasts.

    ``engines`` maps a name to a harmonizer and the kind of target it gets.
    """
    for patient in patients:
        case = patient.case
        places = list(find_lesions(case))
        if not places:
            continue
        before = case.source.volume.data / case.source.scale
        about = {'data': case.data, 'head': case.head, 'kind': patient.kind, 'learnt': patient.learnt,
                 'pair': case.pair}
        for name, (engine, kind) in engines.items():
            target = case.image_target if kind == 'image' else case.metadata_target
            answer = engine.harmonize(case.source, target, synthesize=case.source_family != case.target_family)
            made = answer.data / target.scale
            for core, around in places:
                source, got, truth = (contrast(image, core, around) for image in (before, made, case.truth))
                yield {**about, 'engine': name, 'voxels': len(core[0]), 'source': source, 'made': got, 'truth': truth}


def find_lesions(case: Case) -> Iterator[tuple[Voxels, Voxels]]:
    """Yield the voxels of every lesion in every axial slice, and of white matter around it.

    Lesions without enough of either are left out, and all where the tissue could not be told.
    """
    if case.lesion is None or case.tissue is None:
        return
    white = channel('WM')
    for k in range(case.lesion.shape[-1]):
        # Edges are soft and frayed: what is a lesion for the most part is looked at, whatever is none at all beside.
        sick = case.lesion[..., k] > 0.05
        places, count = ndimage.label(sick)
        free = (case.tissue[..., k] == white) & ~ndimage.binary_dilation(sick, iterations=NEAR)
        for number in range(1, count + 1):
            whole = places == number
            core = whole & (case.lesion[..., k] > 0.5)
            around = ndimage.binary_dilation(whole, iterations=FAR) & free
            if core.sum() >= LEAST and around.sum() >= AROUND:
                yield _voxels(core, k), _voxels(around, k)


def _voxels(mask: np.ndarray, k: int) -> Voxels:
    rows, columns = np.nonzero(mask)
    return rows, columns, np.full(len(rows), k)


def contrast(image: np.ndarray, core: Voxels, around: Voxels) -> float:
    """Return the median of an image ``(X, Y, Z)`` over ``core`` less that over ``around``."""
    return float(np.median(image[core]) - np.median(image[around]))


def summarize(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per data, way (within a family or between two), kind and engine.

    ``ratio`` is the slope through zero of contrasts on the true ones (on the source's where no truth is known),
    ``error`` their mean absolute difference; of lesions that are seen in the truth, ``close`` is the share within 15 %,
    and of those also seen in the source ``lost`` the share with less than half of the true contrast.
    """
    groups: dict[tuple, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        one, other = row['pair'].split(' ')[0].split('→')
        unknown = not np.isfinite(row['truth'])
        way = 'to the default target' if unknown else 'within a family' if one == other else 'between families'
        groups[row['data'], way, row['learnt'], row['kind'], row['engine']].append(row)
        groups[row['data'], way, row['learnt'], 'all', row['engine']].append(row)
    found = []
    for (data, way, learnt, kind, engine), some in groups.items():
        source, made, truth = (np.array([row[name] for row in some]) for name in ('source', 'made', 'truth'))
        right = np.where(np.isfinite(truth), truth, source)
        seen = np.abs(right) >= SEEN
        both = seen & (np.abs(source) >= SEEN)
        found.append({
            'data': data,
            'way': way,
            'learnt': learnt,
            'kind': kind,
            'engine': engine,
            'lesions': len(some),
            'contrast': float(np.abs(right).mean()),
            'ratio': float((made * right).sum() / max((right**2).sum(), 1e-12)),
            'error': float(np.abs(made - right).mean()),
            'close': _share(np.abs(made - right) <= CLOSE * np.abs(right), seen),
            'lost': _share(made * np.sign(right) < LOST * np.abs(right), both),
        })
    return sorted(found, key=lambda row: (row['data'], row['way'], row['learnt'], row['kind'] == 'all', row['kind']))


def _share(hit: np.ndarray, of: np.ndarray) -> float:
    return float(hit[of].mean()) if of.any() else float('nan')


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return what :func:`summarize` found as a Markdown table."""
    titles = ('data', 'way', 'trained on', 'kind', 'engine', 'lesions', 'true contrast', 'ratio', 'error',
              'within 15 %', 'lost')
    lines = ['| ' + ' | '.join(titles) + ' |', '|' + '---|' * len(titles)]
    for row in rows:
        cells = [*(str(row[n]) for n in ('data', 'way', 'learnt', 'kind', 'engine', 'lesions')),
                 f'{row["contrast"]:.3f}', f'{row["ratio"]:.2f}', f'{row["error"]:.3f}',
                 *(f'{100 * row[n]:.0f} %' if np.isfinite(row[n]) else '' for n in ('close', 'lost'))]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'
