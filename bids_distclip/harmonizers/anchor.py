"""White matter held to the brightness that the two styles let expect: one factor for a whole image.

The network renders slices one by one and cannot know which intensity a whole image's scale stands for. What
acquisitions of a style show is known (:class:`bids_distclip.networks.photometer.Photometer`), and so is the source's
white matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_distclip.harmonizers.styles import Styles, apart
from bids_distclip.quality.tissue import channel
from bids_distclip.volume.prepared import Prepared

if TYPE_CHECKING:
    from bids_distclip.networks.photometer import Photometer

#: Share of what a source's white matter departs from that of its style that is put down to the scan, not the person,
#: per contrast family (docs/benchmark.md); it grows like the share that a picture has in a style.
SCAN = {'T1w': 0.5}
#: Fewer voxels of white matter say too little; a factor beyond these would say that something else is wrong.
LEAST, LIMITS = 500, (0.8, 1.25)


def white_matter_factor(
    meter: Photometer | None, source: Prepared, styles: Styles, out: np.ndarray
) -> float:
    """Return what ``out`` ``(X, Y, Z)``, on the normalized scale, is to be multiplied by; 1 where that is not known.

    Its white matter is then the source's times what the styles let expect of target and source, and is drawn towards
    what is expected of the target by the share :data:`SCAN`. Exactly 1 where both styles and both images are the same.
    """
    family = source.family or ''
    if meter is None or family not in SCAN or family not in meter.families or source.tissue is None:
        return 1.0
    white = source.tissue == channel('WM')
    if white.sum() < LEAST:
        return 1.0
    was, now = (float(np.median(image[white])) for image in (source.volume.data / np.float32(source.scale), out))
    before, after = (float(meter.expected(theta, family=family)[0]) for theta in (styles.source, styles.target))
    if min(was, now, before, after) <= 0:
        return 1.0
    person = 1 - SCAN[family] * apart(styles.source, styles.target)
    return float(np.clip((was / now) * (after / before) * (was / before) ** (person - 1), *LIMITS))
