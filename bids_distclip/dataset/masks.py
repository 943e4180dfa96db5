"""Brain masks that other apps have made of a scan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import nibabel as nib
import numpy as np

from bids_distclip.dataset.content import absent, readable
from bids_distclip.dataset.naming import derivative_keys, parse_name
from bids_distclip.volume.lattice import turn_onto

if TYPE_CHECKING:
    from bids_distclip.dataset.inputs import Scan

#: Affine ``(4, 4)`` and shape of an image.
Grid: TypeAlias = 'tuple[np.ndarray, tuple[int, ...]]'


@dataclass(frozen=True)
class MaskChoice:
    """The brain mask of a scan; where there is none, what is wrong with those whose names would fit."""

    path: Path | None = None
    warnings: tuple[str, ...] = ()


def find_brain_mask(scan: Scan, derivatives: Mapping[str, str | Path] | Iterable[str | Path]) -> MaskChoice:
    """Return the brain mask of a scan in derivative datasets, or why there is none that can be used.

    A mask fits if it is ``desc-brain_mask``, has no entity the scan lacks (no ``space`` but ``orig``), and its voxels
    are the scan's own, with axes in whatever order and direction: an app that turns images to RAS turns its masks as
    well. The most specific name counts, then the first dataset. What its sidecar names as its sources must be the scan,
    or an image of another suffix of the same session. Masks made of an image of another suffix that do not fit are
    passed over in silence.
    """
    roots = derivatives.values() if isinstance(derivatives, Mapping) else derivatives
    named = sorted(_named(scan, [Path(root) for root in roots]), key=lambda item: -item[0])
    grid = _grid(scan.path) if named else None
    if grid is None:
        return MaskChoice()
    warnings = []
    for _, root, path in named:
        trouble = _trouble(root, path, grid=grid) or _foreign(path, scan)
        if not trouble:
            return MaskChoice(path)
        if not _of_another_suffix(path, suffix=scan.suffix):
            where = f'{root.name}/{path.relative_to(root).as_posix()}'
            warnings.append(f'The brain mask {where} is not used: {trouble}')
    return MaskChoice(None, tuple(warnings))


def _named(scan: Scan, roots: Iterable[Path]) -> Iterator[tuple[int, Path, Path]]:
    """Yield how specific it is, the dataset and the path of each mask whose name fits."""
    pairs, _, _ = parse_name(scan.path.name)
    for root in roots:
        person = root / f'sub-{scan.subject}'
        for path in sorted({*person.glob('anat/*_mask.nii*'), *person.glob('ses-*/anat/*_mask.nii*')}):
            own, suffix, _ = parse_name(path.name)
            kind, space = own.pop('desc', ''), own.pop('space', 'orig')
            if suffix == 'mask' and kind == 'brain' and space == 'orig' and own.items() <= pairs.items():
                yield len(own), root, path


def _trouble(root: Path, path: Path, *, grid: Grid) -> str:
    """Return why a mask cannot be used for an image of that grid, or an empty text."""
    missing = absent(root, path.relative_to(root).as_posix())
    if missing:
        return missing
    own = _grid(path)
    if own is None:
        return 'It cannot be read.'
    turn = turn_onto(own[0], own[1], grid=grid[0], grid_shape=grid[1])
    return '' if turn is not None else 'Its voxels are not those of the image, in whatever order of the axes.'


def _grid(path: Path) -> Grid | None:
    """Return the affine and shape of an image; None of what cannot be read."""
    if not readable(path):
        return None
    try:
        image: Any = nib.load(path)
        return image.affine, tuple(image.shape[:3])
    except (OSError, EOFError, ValueError, AttributeError, nib.filebasedimages.ImageFileError):
        return None


def _of_another_suffix(mask: Path, *, suffix: str) -> bool:
    """Tell whether the sidecar of a mask names its sources, and none is an image of that suffix."""
    sources = _sources(mask)
    return bool(sources) and not any(own == suffix for _, own in sources)


def _foreign(mask: Path, scan: Scan) -> str:
    """Return that a mask was made of other images, or an empty text.

    Its name does not tell: one without session may be of any, on the same grid where sessions were aligned.
    """
    own, _, _ = parse_name(scan.path.name)

    def fits(pairs: Mapping[str, str], suffix: str) -> bool:
        if suffix == scan.suffix:
            return pairs.items() <= own.items()
        return pairs.get('ses') in (None, own.get('ses'))

    sources = _sources(mask)
    return 'It was made of other images.' if sources and not any(fits(*one) for one in sources) else ''


def _sources(mask: Path) -> list[tuple[dict[str, str], str]]:
    """Return entities (those of raw images alone) and suffix of what the sidecar of a mask names as its sources."""
    try:
        raw = json.loads(mask.with_name(f'{mask.name.partition(".")[0]}.json').read_text())
        named = raw.get('Sources') or raw.get('RawSources') or []
        names = [str(one).rpartition('/')[2] for one in ([named] if isinstance(named, str) else named)]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
    found = []
    for name in names:
        pairs, suffix, _ = parse_name(name)
        made = derivative_keys(name)
        found.append(({key: label for key, label in pairs.items() if key not in made}, suffix))
    return found
