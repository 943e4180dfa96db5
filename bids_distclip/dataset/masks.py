"""Brain masks that other apps have made of a scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_distclip.dataset.naming import parse_name

if TYPE_CHECKING:
    from bids_distclip.dataset.inputs import Scan


def find_brain_mask(scan: Scan, derivatives: Mapping[str, str | Path] | Iterable[str | Path]) -> Path | None:
    """Return the brain mask of a scan in derivative datasets, or None.

    A mask fits if it is ``desc-brain_mask``, has no entity the scan lacks (no ``space`` but ``orig``), and
    lies on the scan's own grid: same shape, affines within 0.01 mm. The most specific name counts, then the
    first dataset.
    """
    roots = derivatives.values() if isinstance(derivatives, Mapping) else derivatives
    pairs, _, _ = parse_name(scan.path.name)
    found: list[tuple[int, Path]] = []
    for root in roots:
        person = Path(root) / f'sub-{scan.subject}'
        for path in sorted({*person.glob('anat/*_mask.nii*'), *person.glob('ses-*/anat/*_mask.nii*')}):
            own, suffix, _ = parse_name(path.name)
            kind, space = own.pop('desc', ''), own.pop('space', 'orig')
            if suffix == 'mask' and kind == 'brain' and space == 'orig' and own.items() <= pairs.items():
                found.append((len(own), path))
    found.sort(key=lambda item: -item[0])
    return next((path for _, path in found if same_grid(path, scan.path)), None)


def same_grid(first: Path, second: Path) -> bool:
    """Tell whether two images have the same shape and affine; what cannot be read has no grid."""
    try:
        a: Any = nib.load(first)
        b: Any = nib.load(second)
        return a.shape[:3] == b.shape[:3] and bool(np.allclose(a.affine, b.affine, atol=0.01))
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError):
        return False
