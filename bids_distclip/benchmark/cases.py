"""What the benchmark asks: a source, a target, and the image the target's scanner would have shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.acquisition.sidecar import from_sidecar
from bids_distclip.errors import NoInput
from bids_distclip.harmonizers.base import Target
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.simulation.volumes import SimulatedVolume, simulate_volumes
from bids_distclip.volume.image import Volume
from bids_distclip.volume.intensity import brain_scale
from bids_distclip.volume.prepared import Prepared

#: Contrast pairs asked for; equal families are asked twice: another protocol, and the source's own.
PAIRS = (
    ('T1w', 'T1w'),
    ('T2w', 'T2w'),
    ('FLAIR', 'FLAIR'),
    ('PDw', 'PDw'),
    ('T1w', 'T2w'),
    ('T2w', 'T1w'),
    ('PDw', 'T2w'),
    ('T2w', 'FLAIR'),
    ('FLAIR', 'T1w'),
    ('T1w', 'FLAIR'),
    ('FLAIR', 'T2w'),
)


@dataclass(frozen=True)
class Case:
    """One question. ``truth`` is ``(X, Y, Z)`` RAS, 1.0 at its own 99.5th brain percentile.

    ``image_target`` guides by another head's picture, ``metadata_target`` by metadata alone. ``nothing_to_do`` marks
    cases whose target is the source's own protocol: the truth then is the source. ``lesion`` is the share of each
    voxel, ``tissue`` its class, where they are known. ``draw`` numbers the sets of protocols that one simulated head
    was seen under.
    """

    data: str
    head: str
    source_family: str
    target_family: str
    source: Prepared
    truth: np.ndarray
    image_target: Target
    metadata_target: Target
    nothing_to_do: bool = False
    lesion: np.ndarray | None = None
    tissue: np.ndarray | None = None
    draw: int = 0

    @property
    def pair(self) -> str:
        """Return ``T1w→T2w``, with ``(own)`` where nothing needs doing."""
        return f'{self.source_family}→{self.target_family}' + (' (own)' if self.nothing_to_do else '')


def thinned(case: Case, every: int) -> Case:
    """Return the case with every ``every``-th axial slice alone, intensity scales as of the whole volume.

    Engines that work slice by slice answer the same on what is left.
    """
    if every <= 1:
        return case
    guide = case.image_target.image
    return replace(
        case,
        source=_thin(case.source, every),
        truth=np.ascontiguousarray(case.truth[..., every // 2 :: every]),
        lesion=None if case.lesion is None else np.ascontiguousarray(case.lesion[..., every // 2 :: every]),
        tissue=None if case.tissue is None else np.ascontiguousarray(case.tissue[..., every // 2 :: every]),
        image_target=replace(case.image_target, image=_thin(guide, every) if guide else None),
    )


def _thin(prepared: Prepared, every: int) -> Prepared:
    kept = np.s_[:, :, every // 2 :: every]
    affine = prepared.volume.affine.copy()
    affine[:, 3] += affine[:, 2] * (every // 2)
    affine[:, 2] *= every
    data = np.ascontiguousarray(prepared.volume.data[kept])
    volume = Volume(data, affine, nib.Nifti1Image(data, affine).header)
    tissue = None if prepared.tissue is None else prepared.tissue[kept]
    return replace(prepared, volume=volume, brain=prepared.brain[kept], head=prepared.head[kept], tissue=tissue)


def as_prepared(
    data: np.ndarray, brain: np.ndarray, affine: np.ndarray, *, acquisition: Acquisition, family: str
) -> Prepared:
    """Wrap a skull-stripped array as the app would have prepared it."""
    volume = as_volume(data, affine)
    data = volume.data
    return Prepared(volume, brain, data > 0, brain_scale(data, brain), acquisition, family)


def as_volume(data: np.ndarray, affine: np.ndarray) -> Volume:
    """Wrap an array ``(X, Y, Z)`` as a volume read from a file would be."""
    data = np.ascontiguousarray(data, dtype=np.float32)
    return Volume(data, affine, nib.Nifti1Image(data, affine).header)


def simulated_cases(
    anatomies: Sequence[Anatomy],
    *,
    seed: int = 9_000,
    size: tuple[int, int, int] = (160, 192, 144),
    draws: int = 1,
    every: int = 1,
) -> Iterator[Case]:
    """Yield every pair on every held-out head, ``draws`` times, protocols drawn anew; the guide is the next head.

    Of the ``size`` every ``every``-th axial slice is simulated.
    """
    for draw in range(draws):
        for index, anatomy in enumerate(anatomies):
            other = anatomies[(index + 1) % len(anatomies)]
            for case in head_cases((anatomy, other), [seed, index, *([draw] if draw else [])], size=size, every=every):
                yield replace(case, draw=draw)


def head_cases(
    anatomies: tuple[Anatomy, Anatomy],
    number: Sequence[int],
    *,
    size: tuple[int, int, int] = (160, 192, 144),
    every: int = 1,
    lesion_kinds: Sequence[str] = ('ms',),
) -> Iterator[Case]:
    """Yield every pair on the first anatomy, guided by the second, which is healthier: it has lesions of kind *ms*.

    ``number`` (two numbers or more) is what all chance follows from.
    """
    rng = np.random.default_rng(number)
    seed = number[0] + sum(7_000 * n for n in number[2:]) + number[1]
    families = ('T1w', 'T2w', 'FLAIR', 'PDw')
    first = {f: draw_protocol(rng, family=f) for f in families}
    second = {f: draw_protocol(rng, family=f) for f in families}
    protocols = [*first.values(), *second.values()]
    own = _head_volumes(anatomies[0], protocols, seed=seed, size=size, every=every, kinds=lesion_kinds)
    other = _head_volumes(anatomies[1], protocols, seed=seed + 500, size=size, every=every)
    scans = {(f, i): own[k + 4 * i] for i in range(2) for k, f in enumerate(families)}
    guides = {(f, i): other[k + 4 * i] for i in range(2) for k, f in enumerate(families)}
    name = anatomies[0].name
    for a, b in PAIRS:
        yield _simulated(name, (a, first[a], scans[a, 0]), (b, second[b], scans[b, 1], guides[b, 1]))
    for a in families:
        yield _simulated(name, (a, first[a], scans[a, 0]), (a, first[a], scans[a, 0], guides[a, 0]), own=True)


def _head_volumes(
    anatomy: Anatomy,
    protocols: Sequence[Protocol],
    *,
    seed: int,
    size: tuple[int, int, int],
    every: int,
    kinds: Sequence[str] = ('ms',),
) -> list[SimulatedVolume]:
    head = Head(anatomy, seed=seed, deform_mm=2.0, lesion_kinds=kinds)
    return simulate_volumes(head, protocols, size=size, seed=seed, strip=2.0, effect_strength=0.5, every=every)


def _simulated(name: str, source: tuple, target: tuple, *, own: bool = False) -> Case:
    a, protocol_a, scan_a = source
    b, protocol_b, scan_b, guide = target
    made = as_prepared(scan_a.image, scan_a.brain > 0.5, scan_a.affine, acquisition=protocol_a.acquisition, family=a)
    shown = as_prepared(guide.image, guide.brain > 0.5, guide.affine, acquisition=protocol_b.acquisition, family=b)
    truth = made.volume.data / made.scale if own else scan_b.truth / brain_scale(scan_b.truth, scan_b.brain > 0.5)
    return Case(
        'simulated',
        name,
        a,
        b,
        made,
        truth.astype(np.float32),
        Target('image', 'other head', b, protocol_b.acquisition, shown, shown.scale),
        Target('metadata', protocol_b.scanner, b, protocol_b.acquisition),
        own,
        scan_a.lesion,
        scan_a.tissue,
    )


def real_cases(brains: Path, *, subjects: Sequence[str] = ('openmsmni07', 'openmsmni26')) -> Iterator[Case]:
    """Yield every pair on real skull-stripped co-registered heads; metadata come from ``real_protocols.json``.

    The guide is the next subject's image. Equal families have no second protocol: only *nothing to do* is asked.
    """
    loaded = {s: {f: read_real(brains, s, f) for f in ('T1w', 'T2w', 'FLAIR')} for s in subjects}
    for index, subject in enumerate(subjects):
        scans, guides = loaded[subject], loaded[subjects[(index + 1) % len(subjects)]]
        for a, b in PAIRS:
            if 'PDw' in (a, b):
                continue
            truth = scans[b].volume.data / scans[b].scale
            shown = guides[b]
            yield Case(
                'real',
                subject,
                a,
                b,
                scans[a],
                truth,
                Target('image', 'other head', b, shown.acquisition, shown, shown.scale),
                Target('metadata', 'published protocol', b, scans[b].acquisition),
                a == b,
            )


def read_real(brains: Path, subject: str, family: str) -> Prepared:
    """Read one skull-stripped image of a folder of real heads, with its published protocol where one is known.

    Raises
    ------
    NoInput
        If the subject has no image of this contrast.
    """
    guesses = json.loads((Path(__file__).parent / 'real_protocols.json').read_text(encoding='utf-8'))
    found = sorted(p for p in Path(brains).glob(f'sub-{subject}/**/*_{family}.nii.gz') if '_ce-' not in p.name)
    if not found:
        raise NoInput(f'There is no {family} of sub-{subject}', file=brains, cure='Name the folder with real heads.')
    image = nib.as_closest_canonical(nib.load(found[0]))
    data = image.get_fdata(dtype=np.float32)
    published: dict = next((v for k, v in guesses.items() if subject.startswith(k)), {})
    acquisition = from_sidecar(published.get(family, {}), suffix=family, origin='published')
    return as_prepared(data, data > 0, image.affine, acquisition=acquisition, family=family)
