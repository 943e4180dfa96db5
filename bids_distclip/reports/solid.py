"""One image as two small volumes for a viewer in 3-D: source and harmonized on one grid, the brain alone.

The rest of the head is left out on purpose: a page is mailed, and a face can be told from its volume.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

#: Size of the voxels in millimetres; the next size is taken where both volumes would weigh more than ``LIMIT``.
SPACINGS = (1.5, 2.0, 2.5, 3.0, 4.0)
#: Characters of both volumes in a page. With its pictures (1.4 MB) an image stays below 3 MB.
LIMIT = 1_500_000
#: Millimetres around the brain mask that are kept, so that a mask that is too small can be seen. The skin is farther.
RIM = 4.0
#: The value that is shown white, as in the pictures; 1 is the 99.5th percentile in the brain.
WHITE = 1.2
#: Where the engine saw the source corrected for uneven brightness, the file of the dataset is evened out to the
#: harmonized image over this width (sigma, millimetres): else the field of the coil would hide every other change.
WIDTH = 10.0
_BROKEN = (OSError, EOFError, ValueError, zlib.error, ImageFileError)


@dataclass(frozen=True)
class Solid:
    """Two gzipped NIfTI volumes of ``uint8`` in base64, on one grid of ``spacing`` millimetres.

    ``evened``: the source has the slow changes of brightness of the harmonized image.
    """

    source: str
    harmonized: str
    spacing: tuple[float, float, float]
    evened: bool = False


class NotSolid(Exception):
    """Why an image cannot be shown in 3-D: the rest of a sentence."""


def make_solid(record: Mapping[str, Any], *, bids_dir: Path, output_dir: Path) -> Solid:
    """Read the volumes of one record from the dataset and the derivative, and make them small.

    Raises
    ------
    NotSolid
        If a file is missing, cannot be read, or is not what the record was written of.
    """
    source = record.get('source') or {}
    before = _inside(bids_dir, source.get('path'), what='source image')
    after = _inside(output_dir, record.get('output'), what='harmonized image')
    mask = mask_name(str(record.get('output')), suffix=str(source.get('suffix')))
    brain = _inside(output_dir, mask, what='brain mask')
    if source.get('sha256') != hashlib.sha256(before.read_bytes()).hexdigest():
        raise NotSolid(f'the source image {source.get("path")} is not the file that was harmonized')
    try:
        even = (record.get('preparation') or {}).get('bias_correction', 'none') != 'none'
        return _shrink(before, after=after, brain=brain, even=even)
    except _BROKEN as error:
        raise NotSolid(f'a file cannot be read ({error})') from error


def mask_name(output: str, *, suffix: str) -> str:
    """Return where the brain mask of an output lies.

    >>> mask_name('sub-01/anat/sub-01_desc-harmonized_T2w.nii.gz', suffix='T2w')
    'sub-01/anat/sub-01_desc-brainT2w_mask.nii.gz'
    """
    word = '' if suffix == 'T1w' else suffix
    return re.sub(r'_desc-[A-Za-z0-9]+_[A-Za-z0-9]+\.nii(\.gz)?$', f'_desc-brain{word}_mask.nii.gz', output)


def _inside(folder: Path, name: Any, *, what: str) -> Path:
    """Return a file of a folder; a record cannot make the page show files of other folders."""
    part = PurePosixPath(str(name or ''))
    if not name or part.is_absolute() or '..' in part.parts or not (folder / part).is_file():
        raise NotSolid(f'the {what} {name or ""} is not there'.replace('  ', ' '))
    return folder / part


def _shrink(before: Path, *, after: Path, brain: Path, even: bool) -> Solid:
    mask, affine = _read(brain)
    first, second = _read(before), _read(after)
    for found, place in (first, second):
        if found.shape != mask.shape or not np.allclose(place, affine, atol=1e-3):
            raise NotSolid('source, harmonized image and brain mask do not lie on one grid')
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    inner = mask > 0.5
    if not inner.any():
        raise NotSolid('the brain mask is empty')
    box = _around(inner, rim=np.ceil(RIM / spacing).astype(int))
    kept = ndimage.distance_transform_edt(~inner[box], sampling=spacing) <= RIM
    place = affine.copy()
    place[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    pair = []
    for data, scale in ((first[0], None), (second[0], _scale(after))):
        scale = scale or float(np.percentile(data[inner], 99.5))
        if not scale > 0:
            raise NotSolid('the brain has no signal')
        pair.append(np.where(kept, data[box], 0) / scale)
    for size in SPACINGS:
        ratio = np.maximum(size / spacing, 1.0)
        small = [_resampled(data, ratio=ratio) for data in pair]
        if even:
            small[0] = _evened(small[0], like=small[1], width=WIDTH / (ratio * spacing))
        texts = [_packed(data, affine=_moved(place, ratio=ratio)) for data in small]
        if sum(map(len, texts)) <= LIMIT:
            break
    x, y, z = (float(side) for side in ratio * spacing)
    return Solid(texts[0], texts[1], (x, y, z), even)


def _around(mask: np.ndarray, *, rim: np.ndarray) -> tuple[slice, ...]:
    """Return the box of a mask with ``rim`` voxels more on every side that is inside the image."""
    tight = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, part.start - int(n)), part.stop + int(n)) for part, n in zip(tight, rim, strict=True))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    data = np.asarray(image.dataobj, dtype=np.float32)  # type: ignore[attr-defined]
    if data.ndim > 3 and data[..., 0].size == data.size:
        data = data.reshape(data.shape[:3])
    return np.nan_to_num(data), np.asarray(image.affine, dtype=float)  # type: ignore[attr-defined]


def _scale(path: Path) -> float | None:
    """Return the intensity that the harmonizer took as 1, from the sidecar of its output."""
    beside = path.with_name(path.name.removesuffix('.gz').removesuffix('.nii') + '.json')
    try:
        return float(json.loads(beside.read_text(encoding='utf-8'))['Harmonization']['IntensityScale'])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _resampled(data: np.ndarray, *, ratio: np.ndarray) -> np.ndarray:
    """Return data in steps of ``ratio`` voxels along the axes; the first new voxel covers the first old ones."""
    shape = tuple(int(n) for n in np.maximum(1, np.ceil(np.array(data.shape) / ratio)))
    # A Gaussian as wide as the new voxel, so that what is finer than the new grid does not alias.
    smooth = ndimage.gaussian_filter(data, 0.4 * np.sqrt(ratio**2 - 1))
    return ndimage.affine_transform(smooth, ratio, offset=(ratio - 1) / 2, output_shape=shape, order=1)


def _moved(affine: np.ndarray, *, ratio: np.ndarray) -> np.ndarray:
    """Return the affine of what :func:`_resampled` makes."""
    moved = affine @ np.diag([*ratio, 1.0])
    moved[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((ratio - 1) / 2)
    return moved


def _evened(data: np.ndarray, *, like: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return data with the slow changes of brightness of another image; ``width`` is in voxels, a Gaussian's sigma."""
    own, other = (ndimage.gaussian_filter(part, width) for part in (data, like))
    return data * np.divide(other, own, out=np.ones_like(own), where=own > 1e-3)


def _packed(data: np.ndarray, *, affine: np.ndarray) -> str:
    """Return normalized data as gzipped NIfTI in base64; the same bytes every time."""
    steps = np.round(np.clip(data / WHITE, 0, 1) * 255).astype(np.uint8)
    image = nib.Nifti1Image(steps, affine)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units('mm')
    header = image.header
    header['scl_slope'], header['scl_inter'], header['magic'], header['vox_offset'] = WHITE / 255, 0, b'n+1', 352
    raw = header.binaryblock + bytes(4) + steps.tobytes(order='F')
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()
