"""The parts of a brain whose intensities are compared: tissues, or classes of brightness where these are not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import threshold_multiotsu

from bids_distclip.quality.tissue import channel

if TYPE_CHECKING:
    from bids_distclip.volume.prepared import Prepared

#: Names of the parts, and the tissue that each is; and those of the classes of brightness.
TISSUE_PARTS = {'white_matter': 'WM', 'cortical_gray': 'CGM', 'cerebrospinal_fluid': 'CSF'}
INTENSITY_PARTS = ('class_dark', 'class_middle', 'class_bright')
#: The sets of parts that images are compared by; both of two images must have the same.
SETS = (tuple(TISSUE_PARTS), INTENSITY_PARTS)


def brain_parts(image: Prepared) -> dict[str, np.ndarray]:
    """Return the parts of an image's brain, each a mask ``(N,)`` of its N voxels in the brain mask, by name.

    Tissues where they are known, else three classes of brightness by multi-Otsu; nothing where there are fewer than
    three levels.
    """
    if image.tissue is not None:
        inside = image.tissue[image.brain]
        parts = {name: inside == channel(tissue) for name, tissue in TISSUE_PARTS.items()}
        return {name: part for name, part in parts.items() if part.any()}
    return _bright_parts(image.volume.data[image.brain])


def _bright_parts(values: np.ndarray) -> dict[str, np.ndarray]:
    if values.size < 3:
        return {}
    try:
        low, high = threshold_multiotsu(np.clip(values, *np.percentile(values, [0.5, 99.5])), classes=3)
    except ValueError:
        return {}
    split = values <= low, (values > low) & (values <= high), values > high
    return {name: part for name, part in zip(INTENSITY_PARTS, split, strict=True) if part.any()}
