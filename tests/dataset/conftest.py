"""A small BIDS dataset that the tests make themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

MPRAGE = {
    'Manufacturer': 'Siemens', 'MagneticFieldStrength': 3, 'ScanningSequence': 'GR\\IR', 'EchoTime': 0.003,
    'RepetitionTime': 2.3, 'InversionTime': 0.9, 'FlipAngle': 9,
}


def image(path: Path) -> Path:
    """Write a small image with millimetres and seconds in its header, as the validator wants them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = nib.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
    made.header.set_xyzt_units('mm', 'sec')
    nib.save(made, path)
    return path


@pytest.fixture
def build(tmp_path) -> Callable[..., Path]:
    """Return a function that makes a dataset of some files: ``None`` makes an image, else JSON."""

    def make(files: dict[str, dict | None], *, name: str = 'ds') -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        about = {'Name': 'Phantoms', 'BIDSVersion': '1.10.0', 'License': 'CC0', 'Authors': ['A. One', 'B. Two']}
        for relative, content in {'dataset_description.json': about, **files}.items():
            path = root / relative
            if content is None:
                image(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(content))
        (root / 'README').write_text('Phantoms made by a test, with enough words to be called a description. ' * 3)
        return root

    return make


@pytest.fixture
def two(build) -> Path:
    """Return two people: one with sessions, one without; sidecars at three levels."""
    return build({
        'T1w.json': {'Manufacturer': 'SIEMENS', 'FlipAngle': 9},
        'sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz': None,
        'sub-01/ses-a/anat/sub-01_ses-a_T1w.json': MPRAGE,
        'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz': None,
        'sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii.gz': None,
        'sub-02/anat/sub-02_acq-hi_run-01_T1w.nii.gz': None,
        'sub-02/anat/sub-02_acq-hi_run-02_T1w.nii.gz': None,
        'sub-02/anat/sub-02_T2w.nii.gz': None,
    })
