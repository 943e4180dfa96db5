"""The average head that brain masks come from: T1-weighted, skull-stripped, in MNI space."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

from bids_distclip.errors import ReadFailed

_TEMPLATEFLOW = 'tpl-MNI152NLin2009cAsym'
_NILEARN_T1 = 'mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz'


@dataclass(frozen=True, eq=False)
class Template:
    """An average brain: ``t1`` float32 with zeros outside ``brain`` (boolean), ``affine`` to RAS+ mm.

    Equal only to itself, so that what is made of it once can be kept.
    """

    t1: np.ndarray
    brain: np.ndarray
    affine: np.ndarray
    name: str


@lru_cache(maxsize=2)
def load_template(home: str | None = None) -> Template:
    """Load the template from disk, never from the network.

    MNI152NLin2009cAsym where a TemplateFlow folder holds its files (``home``, else TemplateFlow's own
    ``TEMPLATEFLOW_HOME``), otherwise the MNI152 2009a symmetric template that comes inside nilearn.

    Raises
    ------
    ReadFailed
        If neither is on disk.
    """
    place = home or os.environ.get('TEMPLATEFLOW_HOME') or Path.home() / '.cache' / 'templateflow'
    found = _from_templateflow(Path(place) / _TEMPLATEFLOW)
    return found or _from_nilearn()


def _from_templateflow(folder: Path) -> Template | None:
    """Return the template of a TemplateFlow folder, or None where its files are absent or empty stubs."""
    for resolution in ('02', '01'):
        stem = f'{_TEMPLATEFLOW}_res-{resolution}'
        t1, brain = folder / f'{stem}_T1w.nii.gz', folder / f'{stem}_desc-brain_mask.nii.gz'
        if all(path.is_file() and path.stat().st_size > 0 for path in (t1, brain)):
            image: Any = nib.load(t1)
            inside: Any = nib.load(brain)
            mask = np.asarray(inside.dataobj) > 0
            data = np.where(mask, image.get_fdata(dtype=np.float32), np.float32(0))
            return Template(t1=data, brain=mask, affine=image.affine, name=stem)
    return None


def _from_nilearn() -> Template:
    """Return nilearn's template; its package is found but not imported, which would take seconds."""
    spec = find_spec('nilearn')
    folders = spec.submodule_search_locations if spec else []
    for folder in folders or []:
        path = Path(folder) / 'datasets' / 'data' / _NILEARN_T1
        if path.is_file():
            image: Any = nib.load(path)
            data = image.get_fdata(dtype=np.float32)
            mask = ndi.binary_fill_holes(ndi.binary_closing(data > 0, iterations=2))
            data = np.where(mask, data, np.float32(0))
            return Template(t1=data, brain=mask, affine=image.affine, name='MNI152NLin2009aSym')
    raise ReadFailed(
        'There is no template to find the brain with.',
        cure='Install nilearn, or put MNI152NLin2009cAsym into the folder TEMPLATEFLOW_HOME names.',
    )
