"""Label maps: the anatomy that is simulated, as tissue indices on a 1 mm grid in RAS orientation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F

from bids_distclip.errors import BadData, NoInput
from bids_distclip.simulation.tissue import label_lookup


@dataclass(frozen=True)
class Anatomy:
    """One person's anatomy.

    ``tissue`` is uint8 ``(X, Y, Z)``: the row in the tissue table; ``brain`` the boolean mask of the same shape;
    ``center`` the middle of the brain in voxels; voxels are 1 mm and axes point right, anterior, superior.
    ``whole_head`` says whether there is anything outside the brain.
    """

    name: str
    tissue: np.ndarray
    brain: np.ndarray
    center: np.ndarray
    whole_head: bool


def from_labels(labels: np.ndarray, *, name: str) -> Anatomy:
    """Build an anatomy from an integer array ``(X, Y, Z)`` of FreeSurfer-like ids, 1 mm, RAS.

    Raises
    ------
    BadData
        If no brain label is in it.
    """
    tissue_of, is_brain = label_lookup()
    ids = np.clip(labels.astype(np.int32), 0, len(tissue_of) - 1)
    brain = is_brain[ids]
    if not brain.any():
        raise BadData('The label map has no brain label', cure='Use FreeSurfer-like label ids.')
    if not np.any((ids > 0) & ~brain):
        ids = np.where((ids == 0) & _closed(brain), 24, ids)
        brain, labels = is_brain[ids], ids
    tissue = tissue_of[ids]
    core = brain & (labels != 24)
    center = np.argwhere(core).mean(0).astype(np.float32)
    return Anatomy(name, tissue, brain, center, bool(np.any((tissue > 0) & ~brain)))


def _closed(mask: np.ndarray, *, reach: int = 4) -> np.ndarray:
    """Close sulci and ventricles of a brain-only map, where fluid was not labelled (cube of 2·reach+1 voxels)."""
    padded = torch.as_tensor(np.pad(mask, 2 * reach), dtype=torch.float32)[None, None]
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * reach + 1, reach
        padded = F.max_pool3d(padded, kernel, stride=1, padding=padding)
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * reach + 1, reach
        padded = -F.max_pool3d(-padded, kernel, stride=1, padding=padding)
    inner = slice(2 * reach, -2 * reach)
    return padded[0, 0, inner, inner, inner].numpy() > 0.5


def read_anatomy(path: Path) -> Anatomy:
    """Read a label map from NIfTI, turn it to RAS and sample it at 1 mm (nearest neighbour)."""
    image = nib.as_closest_canonical(nib.load(path))
    labels = np.asarray(image.dataobj).astype(np.int32).squeeze()
    zooms = np.array(image.header.get_zooms()[:3])
    if not np.allclose(zooms, 1.0, atol=0.05):
        index = [
            np.clip((np.arange(int(n * z)) / z).round().astype(int), 0, n - 1)
            for n, z in zip(labels.shape, zooms, strict=False)
        ]
        labels = labels[np.ix_(*index)]
    return from_labels(labels, name=path.name.split('.')[0])


def read_anatomies(folder: Path) -> list[Anatomy]:
    """Read every label map below a folder, in the order of their names.

    Raises
    ------
    NoInput
        If there is none.
    """
    paths = sorted(p for p in Path(folder).rglob('*.nii.gz') if not p.name.startswith('.'))
    if not paths:
        raise NoInput('There is no label map', file=folder, cure='Give a folder with *.nii.gz label maps.')
    return [read_anatomy(p) for p in paths]
