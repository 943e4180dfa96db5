"""What a harmonizer is: one call from a prepared source and a target to a harmonized array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bids_distclip.acquisition.record import Acquisition

if TYPE_CHECKING:
    import numpy as np

    from bids_distclip.volume.prepared import Prepared

#: Intensity that a normalized value of 1.0 gets where no target image gives a scale.
CANONICAL_SCALE = 1000.0


@dataclass(frozen=True)
class Target:
    """What the harmonized image should look like.

    ``kind`` is ``image``, ``metadata`` or ``protocol``; ``name`` is printable (file name or protocol name);
    ``family`` the contrast family; ``image`` the prepared target image when ``kind`` is ``image``;
    ``scale`` the output intensity of a normalized 1.0.
    """

    kind: str
    name: str
    family: str
    acquisition: Acquisition = field(default_factory=Acquisition)
    image: Prepared | None = None
    scale: float = CANONICAL_SCALE


@dataclass(frozen=True)
class Harmonized:
    """A harmonizer's answer on the source's grid.

    ``data`` is float32 ``(X, Y, Z)`` in the target's intensity units; ``uncertainty`` has the same shape and
    units, or is ``None`` where the engine has none; ``details`` is JSON-ready provenance (engine, device,
    precision, weights hash, prompt, planes, seconds).
    """

    data: np.ndarray
    uncertainty: np.ndarray | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Harmonizer(Protocol):
    """An engine. ``synthesize`` says that the target's contrast family differs from the source's on purpose."""

    name: str

    def harmonize(self, source: Prepared, target: Target, *, synthesize: bool = False) -> Harmonized:
        """Return ``source`` as the target's scanner and protocol would have shown it.

        Raises
        ------
        bids_distclip.errors.BadData
            If the pair cannot be harmonized by this engine.
        """
        ...
