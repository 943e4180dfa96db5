"""One image as small volumes for a viewer in 3-D: source, harmonized, uncertainty on one grid, the brain alone.

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

from bids_distclip.reports.scale import WHITE, shown_range

#: Size of the voxels in millimetres; the next size is taken where the volumes would weigh more than ``LIMIT``.
SPACINGS = (1.5, 2.0, 2.5, 3.0, 4.0)
#: Characters of all volumes of an image in a page. With its pictures (up to 1.75 MB) an image stays below 3 MB.
LIMIT = 1_200_000
#: Millimetres around the brain mask that are kept, so that a mask that is too small can be seen. The skin is farther.
RIM = 4.0
#: Where the engine saw the source corrected for uneven brightness, the file of the dataset is evened out to the
#: harmonized image over this width (sigma, millimetres): else the field of the coil would hide every other change.
WIDTH = 10.0
#: Uncertainty is kept in so many steps: more would weigh more and not be seen.
STEPS = 32
_BROKEN = (OSError, EOFError, ValueError, zlib.error, ImageFileError)


@dataclass(frozen=True)
class Solid:
    """Gzipped NIfTI volumes of ``uint8`` in base64, on one grid of ``spacing`` millimetres.

    ``harmonized`` and ``uncertainty`` are empty where the run kept none; ``reach`` is the uncertainty that is drawn
    brightest. ``evened``: the source has the slow changes of brightness of the harmonized image.
    """

    source: str
    spacing: tuple[float, float, float]
    harmonized: str = ''
    uncertainty: str = ''
    reach: float = 0.0
    evened: bool = False


class NotSolid(Exception):
    """Why an image cannot be shown in 3-D: the rest of a sentence."""


def make_solid(record: Mapping[str, Any], *, bids_dir: Path, output_dir: Path) -> Solid:
    """Read the volumes of one record from the dataset and the derivative, and make them small.

    Of an abstained image only the source is there: its result was not written.

    Raises
    ------
    NotSolid
        If a file is missing, cannot be read, or is not what the record was written of.
    """
    source = record.get('source') or {}
    output = str(record.get('output'))
    before = _inside(bids_dir, source.get('path'), what='source image')
    written = record.get('status') != 'abstained'
    after = _inside(output_dir, record.get('output'), what='harmonized image') if written else None
    mask = mask_name(output, suffix=str(source.get('suffix')))
    brain = _inside(output_dir, mask, what='brain mask')
    if source.get('sha256') != hashlib.sha256(before.read_bytes()).hexdigest():
        raise NotSolid(f'the source image {source.get("path")} is not the file that was harmonized')
    try:
        spread = _inside(output_dir, spread_name(output), what='uncertainty') if written else None
    except NotSolid:
        spread = None
    try:
        even = (record.get('preparation') or {}).get('bias_correction', 'none') != 'none'
        return _shrink(before, after=after, spread=spread, brain=brain, even=even and written)
    except _BROKEN as error:
        raise NotSolid(f'a file cannot be read ({error})') from error


def mask_name(output: str, *, suffix: str) -> str:
    """Return where the brain mask of an output lies.

    >>> mask_name('sub-01/anat/sub-01_desc-harmonized_T2w.nii.gz', suffix='T2w')
    'sub-01/anat/sub-01_desc-brainT2w_mask.nii.gz'
    """
    word = '' if suffix == 'T1w' else suffix
    return re.sub(r'_desc-[A-Za-z0-9]+_[A-Za-z0-9]+\.nii(\.gz)?$', f'_desc-brain{word}_mask.nii.gz', output)


def spread_name(output: str) -> str:
    """Return where the uncertainty of an output lies, if the run kept it.

    >>> spread_name('sub-01/anat/sub-01_desc-harmonized_T2w.nii.gz')
    'sub-01/anat/sub-01_desc-harmonizedT2w_uncertainty.nii.gz'
    """
    def named(found: re.Match[str]) -> str:
        word = '' if found[2] == 'T1w' else found[2]
        return f'_desc-{found[1]}{word}_uncertainty.nii.gz'

    return re.sub(r'_desc-([A-Za-z0-9]+)_([A-Za-z0-9]+)\.nii(?:\.gz)?$', named, output)


def _inside(folder: Path, name: Any, *, what: str) -> Path:
    """Return a file of a folder; a record cannot make the page show files of other folders."""
    part = PurePosixPath(str(name or ''))
    if not name or part.is_absolute() or '..' in part.parts or not (folder / part).is_file():
        raise NotSolid(f'the {what} {name or ""} is not there'.replace('  ', ' '))
    return folder / part


def _shrink(before: Path, *, after: Path | None, spread: Path | None, brain: Path, even: bool) -> Solid:
    mask, affine = _read(brain)
    paths = {'source': before, 'harmonized': after, 'uncertainty': spread}
    found = {name: _read(path) for name, path in paths.items() if path is not None}
    for volume, place in found.values():
        if volume.shape != mask.shape or not np.allclose(place, affine, atol=1e-3):
            raise NotSolid('source, harmonized image and brain mask do not lie on one grid')
    inner = mask > 0.5
    if not inner.any():
        raise NotSolid('the brain mask is empty')
    arrays = _normalized({name: pair[0] for name, pair in found.items()}, inner=inner,
                         scale=_scale(after) if after else None)
    reach = shown_range(arrays['uncertainty'], mask=inner) if spread else 0.0
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    box = _around(inner, rim=np.ceil(RIM / spacing).astype(int))
    kept = ndimage.distance_transform_edt(~inner[box], sampling=spacing) <= RIM
    corner = affine.copy()
    corner[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    cut = {name: np.where(kept, whole[box], 0) for name, whole in arrays.items()}
    for size in SPACINGS:
        ratio = np.maximum(size / spacing, 1.0)
        small = {name: _resampled(part, ratio=ratio) for name, part in cut.items()}
        if even:
            small['source'] = _evened(small['source'], like=small['harmonized'], width=WIDTH / (ratio * spacing))
        place = _moved(corner, ratio=ratio)
        texts = {name: _packed(part, affine=place, white=reach, steps=STEPS) if name == 'uncertainty' else
                 _packed(part, affine=place) for name, part in small.items()}
        if sum(map(len, texts.values())) <= LIMIT:
            break
    x, y, z = (float(side) for side in ratio * spacing)
    return Solid(**texts, spacing=(x, y, z), reach=reach, evened=even)


def _normalized(
    data: Mapping[str, np.ndarray], *, inner: np.ndarray, scale: float | None
) -> dict[str, np.ndarray]:
    """Divide by the intensity that counts as 1: the source's own, and ``scale`` of what was made of it, if known."""
    own = {name: float(np.percentile(part[inner], 99.5)) for name, part in data.items()}
    made = scale or own.get('harmonized', 0.0)
    if not own['source'] > 0 or ('harmonized' in data and not made > 0):
        raise NotSolid('the brain has no signal')
    return {name: part / (own['source'] if name == 'source' else made) for name, part in data.items()}


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


def _packed(data: np.ndarray, *, affine: np.ndarray, white: float = WHITE, steps: int = 256) -> str:
    """Return data of 0 to ``white`` as gzipped NIfTI in base64, in so many steps; the same bytes every time."""
    each = 255 // (steps - 1)
    grey = (np.round(np.clip(data / white, 0, 1) * (255 // each)) * each).astype(np.uint8)
    image = nib.Nifti1Image(grey, affine)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units('mm')
    header = image.header
    header['scl_slope'], header['scl_inter'] = white / (255 // each * each), 0
    header['magic'], header['vox_offset'] = b'n+1', 352
    raw = header.binaryblock + bytes(4) + grey.tobytes(order='F')
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()
