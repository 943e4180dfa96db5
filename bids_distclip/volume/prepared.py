"""An image ready for a harmonizer, and its one-file form on disk between the steps of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.volume.image import Volume


@dataclass(frozen=True)
class Prepared:
    """An image ready for a harmonizer: bias-corrected, with masks and its intensity scale.

    ``brain`` and ``head`` are boolean ``(X, Y, Z)`` masks on the volume's grid. ``scale`` is the intensity,
    in the volume's units, that becomes 1.0 (99.5th percentile inside the brain mask; zero stays zero).
    """

    volume: Volume
    brain: np.ndarray
    head: np.ndarray
    scale: float
    acquisition: Acquisition
    family: str | None = None
