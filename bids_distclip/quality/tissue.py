"""Classes of brain tissue: names, the numbers of the field's standard, and the colours of its look-up table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TissueClass:
    """One class: ``name``, ``abbreviation`` and ``index`` of BIDS derivatives ("common image-derived labels")."""

    name: str
    abbreviation: str
    index: int


#: What a segmentation tells apart, in the order of its channels. The first is whatever is not brain.
TISSUES = (
    TissueClass('Background', 'BG', 0),
    TissueClass('White Matter', 'WM', 2),
    TissueClass('Cortical Grey Matter', 'CGM', 8),
    TissueClass('Subcortical Grey Matter', 'SGM', 9),
    TissueClass('Cerebrospinal Fluid', 'CSF', 3),
    TissueClass('Brainstem', 'BS', 10),
    TissueClass('Cerebellum', 'CBM', 11),
)


def channel(abbreviation: str) -> int:
    """Return the channel of a class; raise ValueError if there is none.

    >>> channel('CSF')
    4
    """
    return [tissue.abbreviation for tissue in TISSUES].index(abbreviation)
