"""What the network makes of whole heads plane by plane, kept on disk: simulated heads with the truth, and real T1w."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_distclip.acquisition.protocols import default_protocol
from bids_distclip.audit.gather import Item, gather_items
from bids_distclip.benchmark.cases import as_prepared
from bids_distclip.harmonizers.base import Target
from bids_distclip.harmonizers.distclip import DistClip
from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.protocol import Protocol, draw_protocol
from bids_distclip.simulation.volumes import simulate_volumes
from bids_distclip.volume.image import read_volume
from bids_distclip.volume.intensity import brain_scale
from bids_distclip.volume.planes import bounding_box
from bids_distclip.volume.prepared import Prepared, prepare
from bids_distclip.volume.ras import ras_spacing, to_ras
from bids_distclip.volume.tissue import Segment

#: Voxels of a simulated head, 1 mm each; and of the middle of one, which is enough to learn from.
SIZE, SLAB = (160, 192, 144), (160, 192, 56)


@dataclass(frozen=True)
class Passes:
    """One scan on its way to a target; arrays ``(X, Y, Z)`` RAS in the box around the head, on the normalized scale.

    ``passes`` ``(3, X, Y, Z)`` are what sagittal, coronal and axial slices made, or one of thick slices: a change of
    ``image`` within a family (``residual``), else a picture. ``truth`` is known of simulated scans; of real ones there
    is ``app``, what the app gives, tissue held.
    """

    data: str
    person: str
    name: str
    pair: str
    residual: bool
    spacing: tuple[float, ...]
    image: np.ndarray
    head: np.ndarray
    brain: np.ndarray
    passes: np.ndarray
    truth: np.ndarray | None = None
    app: np.ndarray | None = None

    def shown(self, fused: np.ndarray) -> np.ndarray:
        """Return the picture of passes fused, as the engine puts it together."""
        return np.clip((self.image if self.residual else 0) + fused * self.head, 0, None).astype(np.float32)

    @property
    def pictures(self) -> np.ndarray:
        """Return the picture of each pass, stacked along the first axis."""
        return np.stack([self.shown(one) for one in self.passes])


class _Recorder(DistClip):
    """The engine, which keeps what its planes make in a file, and takes it from there when asked again."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(**{**options, 'planes': 3, 'uncertainty': False})
        self.path = path

    def _passes(self, *what: Any, **how: Any) -> list[np.ndarray]:
        if not self.path.exists():
            _save(self.path, np.stack(super()._passes(*what, **how)))
        return list(np.load(self.path))


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'part_{path.name}')
    np.save(part, array)
    part.replace(path)


def passed(
    source: Prepared,
    target: Target,
    path: Path,
    *,
    data: str,
    person: str,
    pair: str,
    truth: np.ndarray | None = None,
    **options: Any,
) -> Passes:
    """Return what the planes make of a scan, by ``options`` of the engine.

    The engine is asked where they are not known yet, and where the truth is not: what it answers then matters.
    """
    a, b = pair.split('→')
    affine, app = source.volume.affine, None
    if truth is None or not path.exists():
        answer = _Recorder(path, **options).harmonize(source, target, synthesize=a != b)
        app = to_ras(answer.data, affine) / target.scale
    head = to_ras(source.head, affine)
    box = bounding_box(head)
    image = np.clip(to_ras(source.volume.data / source.scale, affine)[box], 0, None)
    return Passes(
        data=data,
        person=person,
        name=path.stem,
        pair=pair,
        residual=a == b,
        spacing=tuple(ras_spacing(affine)),
        image=image.astype(np.float32),
        head=head[box],
        brain=to_ras(source.brain, affine)[box],
        passes=np.load(path),
        truth=None if truth is None else to_ras(truth, affine)[box],
        app=None if truth is not None or app is None else app[box].astype(np.float32),
    )


def simulated_passes(
    anatomies: Sequence[Anatomy],
    pairs: Sequence[tuple[str, str]],
    folder: Path,
    *,
    people: int,
    seed: int = 70_000,
    size: tuple[int, int, int] = SIZE,
    **options: Any,
) -> Iterator[Passes]:
    """Yield every pair on ``people`` bent from the anatomies in turn, by metadata; scans are kept below ``folder``.

    Within a family the target is another protocol of it. ``options`` are those of the engine.
    """
    families = sorted({family for pair in pairs for family in pair})
    for number in range(people):
        anatomy = anatomies[number % len(anatomies)]
        rng = np.random.default_rng([seed, number])
        sides = [{f: draw_protocol(rng, family=f) for f in families} for _ in range(2)]
        place = folder / f'{anatomy.name}_{number}'
        if not (place / 'done').exists():
            head = Head(anatomy, seed=seed + number, deform_mm=2.0, lesion_kinds=('ms',))
            _simulate(head, sides, place, size=size, seed=seed + number)
        for a, b in pairs:
            wanted = sides[1][b]
            yield passed(
                Prepared.load(place / f'{a}.npz'),
                Target('metadata', wanted.scanner, b, wanted.acquisition),
                place / f'{a}-{b}.npy',
                data='simulated',
                person=place.name,
                pair=f'{a}→{b}',
                truth=np.load(place / f'truth_{b}.npy'),
                **options,
            )


def _simulate(
    head: Head, sides: Sequence[dict[str, Protocol]], place: Path, *, size: tuple[int, int, int], seed: int
) -> None:
    """Write the scan of each protocol of the first side, and the truth of each of the second."""
    protocols = [p for side in sides for p in side.values()]
    made = simulate_volumes(head, protocols, size=size, seed=seed, strip=2.0, effect_strength=0.5)
    place.mkdir(parents=True, exist_ok=True)
    for (family, protocol), scan in zip(sides[0].items(), made, strict=False):
        source = as_prepared(
            scan.image, scan.brain > 0.5, scan.affine, acquisition=protocol.acquisition, family=family
        )
        source.save(place / f'{family}.npz')
    for family, scan in zip(sides[1], made[len(sides[0]) :], strict=True):
        truth = scan.truth / brain_scale(scan.truth, scan.brain > 0.5)
        _save(place / f'truth_{family}.npy', truth.astype(np.float32))
    (place / 'done').touch()


def real_passes(
    dataset: Path, folder: Path, *, data: str, segment: Segment | None = None, **options: Any
) -> Iterator[Passes]:
    """Yield every T1w of a BIDS dataset on its way to the app's default target, prepared as the app does it."""
    default = default_protocol('T1w')
    target = Target('protocol', default.name, 'T1w', default.acquisition)
    for item in gather_items(dataset):
        if item.family.family != 'T1w' or 'ce-' in item.label:
            continue
        name = item.name.rpartition('/')[2]
        kept = folder / f'{name}.npz'
        if not kept.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _read(dataset, item, segment).save(kept)
        yield passed(
            Prepared.load(kept),
            target,
            folder / f'{name}.npy',
            data=data,
            person=item.subject,
            pair='T1w→T1w',
            **options,
        )


def _read(dataset: Path, item: Item, segment: Segment | None) -> Prepared:
    path = next(dataset.glob(f'{item.name}.nii*'))
    return prepare(read_volume(path), acquisition=item.acquisition, family='T1w', segment=segment)
