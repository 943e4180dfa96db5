"""The acquisition a user points at: a JSON sidecar, a DICOM file, or a folder with one DICOM series."""

from __future__ import annotations

import json
from pathlib import Path

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.acquisition.sidecar import from_sidecar
from bids_distclip.errors import BadData, UsageError

_IMAGES = ('.nii', '.nii.gz', '.mgz', '.mgh')


def read_target_metadata(path: str | Path) -> Acquisition:
    """Read the acquisition that images should look like.

    The suffix is taken from a BIDS file name (``..._T1w.json``); it is a hint for the contrast family only.

    Raises
    ------
    UsageError
        If there is no such file or folder, or it is an image.
    BadData
        If it cannot be read, or says nothing about an acquisition.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError('There is no such target.', file=path, cure='check the path.')
    if path.name.lower().endswith(_IMAGES):
        cure = 'give it as --target-image, or give its sidecar.'
        raise UsageError('This is an image, not metadata.', file=path, cure=cure)
    if path.suffix.lower() == '.json':
        return _from_json(path)
    # Reading DICOM costs an import that no other target needs.
    from bids_distclip.acquisition.dicom import from_dicom

    return from_dicom(path)


def _from_json(path: Path) -> Acquisition:
    try:
        raw = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadData(f'The sidecar cannot be read ({error}).', file=path, cure='repair the JSON.') from error
    if not isinstance(raw, dict):
        raise BadData('The sidecar is not a JSON object.', file=path, cure='give keys such as EchoTime.')
    suffix = path.stem.rpartition('_')[2]
    hint = suffix if suffix.isalnum() else None
    acquisition = from_sidecar(raw, suffix=hint, origin=f'sidecar:{path.name}')
    if not acquisition.known():
        raise BadData(
            'The sidecar says nothing about an acquisition.', file=path,
            cure='give BIDS keys such as Manufacturer, EchoTime, RepetitionTime, InversionTime, FlipAngle.',
        )
    return acquisition
