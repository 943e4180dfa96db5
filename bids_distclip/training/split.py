"""Which anatomies are trained on, and which are kept for the benchmark."""

from __future__ import annotations

from pathlib import Path

from bids_distclip.simulation.anatomy import Anatomy, read_anatomies

#: Anatomies never trained on: the benchmark's held-out heads.
HELD_OUT = ('training_seg_14', 'training_seg_15', 'training_seg_16', 'brain5_labels')


def training_heads(labels: Path) -> list[Anatomy]:
    """Return the anatomies of a folder of label maps that may be trained on."""
    return [a for a in read_anatomies(labels) if a.name not in HELD_OUT]


def held_out_heads(labels: Path) -> list[Anatomy]:
    """Return those of a folder that are never trained on."""
    return [a for a in read_anatomies(labels) if a.name in HELD_OUT]
