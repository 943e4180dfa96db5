"""The intensity scale of a brain image."""

from __future__ import annotations

import numpy as np

from bids_distclip.errors import BadData

#: Percentile inside the brain mask that becomes 1.0.
SCALE_PERCENTILE = 99.5


def brain_scale(data: np.ndarray, brain: np.ndarray) -> float:
    """Return the intensity that becomes 1.0: the 99.5th percentile of the finite values inside the mask.

    Parameters
    ----------
    data
        ``(X, Y, Z)``, in any unit.
    brain
        Boolean mask of the same shape.

    Raises
    ------
    BadData
        If the mask is empty or the percentile is not above zero.
    """
    values = np.asarray(data)[np.asarray(brain, dtype=bool)]
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise BadData(
            'The brain mask is empty, so the image has no intensity scale.',
            cure='Check that the image shows a brain, or give a brain mask with --derivatives.',
        )
    scale = float(np.percentile(values, SCALE_PERCENTILE))
    if not scale > 0:
        raise BadData(
            f'The brain has no signal: its {SCALE_PERCENTILE}th percentile is {scale:g}.',
            cure='Give a magnitude image whose tissue is brighter than zero.',
        )
    return scale
