"""What tissues are made of: T1, T2, T2* and proton density, read from the table ``tissues.tsv``."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_distclip.quality.tissue import channel

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class TissueTable:
    """One row per tissue, all arrays of length ``len(names)``.

    ``t1``, ``t2`` and ``t2star`` are in seconds at the field strength asked for; ``pd`` is relative to water;
    ``spread`` is the relative sd between people, ``texture`` the relative sd within one head,
    ``mt`` the signal fraction that magnetization transfer can take away; ``channel`` the class a segmentation gives it
    (:data:`bids_distclip.quality.tissue.TISSUES`).
    """

    names: tuple[str, ...]
    t1: np.ndarray
    t2: np.ndarray
    t2star: np.ndarray
    pd: np.ndarray
    spread: np.ndarray
    texture: np.ndarray
    mt: np.ndarray
    channel: np.ndarray

    def index(self, name: str) -> int:
        """Return the row of a tissue; raises ValueError if unknown."""
        return self.names.index(name)


@functools.cache
def _rows() -> tuple[dict[str, str], ...]:
    with (_HERE / 'tissues.tsv').open(encoding='utf-8', newline='') as stream:
        return tuple(csv.DictReader(stream, delimiter='\t'))


@functools.cache
def tissue_table(field_strength: float) -> TissueTable:
    """Return the table at a field strength in tesla.

    Between and beyond the tabulated 1.5 T and 3 T values the logarithm is interpolated linearly in the
    logarithm of the field, the power law of Bottomley 1984, clipped to 1–7 T.
    """
    rows = _rows()
    weight = np.log(np.clip(field_strength, 1.0, 7.0) / 1.5) / np.log(2.0)

    def at_field(name: str) -> np.ndarray:
        low = np.array([float(r[f'{name}_1.5T']) for r in rows])
        high = np.array([float(r[f'{name}_3T']) for r in rows])
        return np.exp(np.log(low) * (1 - weight) + np.log(high) * weight)

    def column(name: str) -> np.ndarray:
        return np.array([float(r[name]) for r in rows])

    return TissueTable(
        names=tuple(r['tissue'] for r in rows),
        t1=at_field('T1'),
        t2=at_field('T2'),
        t2star=at_field('T2star'),
        pd=column('PD'),
        spread=column('spread'),
        texture=column('texture'),
        mt=column('MT'),
        channel=np.array([channel(r['class']) for r in rows]),
    )


@functools.cache
def label_lookup() -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays indexed by label id (FreeSurfer-like, ids above 500 outside the brain).

    The first holds the tissue's row (unknown ids are air), the second whether the label belongs to the brain.
    """
    names = [r['tissue'] for r in _rows()]
    tissue = np.zeros(1024, dtype=np.uint8)
    brain = np.zeros(1024, dtype=bool)
    with (_HERE / 'labels.tsv').open(encoding='utf-8', newline='') as stream:
        for row in csv.DictReader(stream, delimiter='\t'):
            tissue[int(row['label'])] = names.index(row['tissue'])
            brain[int(row['label'])] = row['brain'] == '1'
    return tissue, brain
