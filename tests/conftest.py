"""Phantoms that tests share: small heads with a skull, a brain and two tissues, as BIDS datasets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

# Small arrays gain nothing from threads, and tests share the machine with each other.
os.environ.setdefault('OMP_NUM_THREADS', '1')

SIDECARS = {
    'T1w': {'Manufacturer': 'Siemens', 'ManufacturersModelName': 'TrioTim', 'MagneticFieldStrength': 3,
            'EchoTime': 0.003, 'RepetitionTime': 2.3, 'InversionTime': 0.9, 'FlipAngle': 9,
            'ScanningSequence': 'GR\\IR', 'SequenceVariant': 'SK\\SP\\MP', 'MRAcquisitionType': '3D'},
    'T2w': {'Manufacturer': 'Philips', 'MagneticFieldStrength': 3, 'EchoTime': 0.09, 'RepetitionTime': 4.5,
            'FlipAngle': 90, 'ScanningSequence': 'SE', 'MRAcquisitionType': '2D'},
}
#: Brightness of scalp, fluid, grey and white matter.
TISSUES = {'T1w': (700, 150, 450, 650), 'T2w': (300, 950, 500, 350), 'FLAIR': (350, 100, 520, 400)}

#: Half axes of the nested ellipsoids, in millimetres.
SHELLS = {'scalp': (80, 100, 90), 'skull': (74, 94, 84), 'brain': (68, 86, 66), 'white': (48, 64, 46)}


def head(
    suffix: str, *, seed: int = 0, gain: float = 1.0, size: float = 5.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image, its brain mask and its affine: nested ellipsoids of a head, ``size`` mm a voxel."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n / size) for n in (180, 220, 200))
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = [-n * size / 2 for n in shape]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing='ij'), -1) * size + affine[:3, 3]
    scale = 1 + 0.04 * rng.standard_normal(3)
    radius = {name: np.linalg.norm(grid / (np.array(axes) * scale), axis=-1)
              for name, axes in SHELLS.items()}
    wave = 0.12 * np.sin(grid[..., 0] / 9) * np.cos(grid[..., 1] / 11) * np.sin(grid[..., 2] / 10)
    scalp, fluid, grey, white = TISSUES[suffix]
    image = np.zeros(shape)
    image[radius['scalp'] < 1] = scalp
    image[radius['skull'] < 1] = 40
    brain = radius['brain'] < 1
    image[brain] = fluid
    image[radius['brain'] < 0.94] = grey
    image[radius['white'] + wave < 1] = white
    image[np.linalg.norm(grid / (14, 26, 12), axis=-1) < 1] = fluid
    image = np.abs(image * gain + rng.normal(0, 12 * gain, shape))
    return np.round(image).astype(np.int16), brain, affine


def write_scan(
    root: Path, *, subject: str, suffix: str, session: str | None = None, seed: int = 0, gain: float = 1.0,
    sidecar: bool = True, extra: str = '', size: float = 5.0,
) -> Path:
    """Write one phantom scan into a BIDS dataset and return its path."""
    parts = [f'sub-{subject}', *([f'ses-{session}'] if session else [])]
    folder = root.joinpath(*parts, 'anat')
    folder.mkdir(parents=True, exist_ok=True)
    stem = '_'.join([*parts, *([extra] if extra else []), suffix])
    data, _, affine = head(suffix, seed=seed, gain=gain, size=size)
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, folder / f'{stem}.nii.gz')
    if sidecar:
        (folder / f'{stem}.json').write_text(json.dumps(SIDECARS.get(suffix, SIDECARS['T2w'])))
    return folder / f'{stem}.nii.gz'


def start_dataset(root: Path) -> Path:
    """Write the files at the root of a BIDS dataset."""
    root.mkdir(parents=True, exist_ok=True)
    description = {'Name': 'Phantoms', 'BIDSVersion': '1.10.0', 'DatasetType': 'raw', 'License': 'CC0'}
    description['Authors'] = ['A test']
    (root / 'dataset_description.json').write_text(json.dumps(description))
    (root / 'README').write_text('Phantoms made by a test. No person is behind these images.\n')
    return root


@pytest.fixture
def make_scan() -> Callable[..., Path]:
    """Return the function that writes one phantom scan."""
    return write_scan


@pytest.fixture
def make_root() -> Callable[[Path], Path]:
    """Return the function that writes the files at the root of a dataset."""
    return start_dataset


@pytest.fixture
def make_head() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the function that makes an image, its brain mask and its affine."""
    return head


@pytest.fixture
def make_dataset(tmp_path) -> Callable[..., Path]:
    """Return a function that makes a dataset of ``people``, each with some suffixes, in one session or none."""

    def make(people: int = 2, *, suffixes: tuple[str, ...] = ('T1w', 'T2w'), session: str | None = None) -> Path:
        root = start_dataset(tmp_path / 'data')
        for number in range(1, people + 1):
            for suffix in suffixes:
                write_scan(root, subject=f'{number:02d}', suffix=suffix, session=session, seed=number, gain=number)
        return root

    return make


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of real data, or skip where there is none."""
    folder = Path(__file__).parents[2] / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip('the real data are not on this machine')
    return folder
