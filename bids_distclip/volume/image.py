"""One 3-D image: its array and where it lies in space, from NIfTI and back without loss of geometry."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_distclip.errors import BadData, ReadFailed
from bids_distclip.volume.checks import check_affine, check_kind, checked_values, clean_header
from bids_distclip.volume.files import replacing

#: Rounding error (root mean square) that int16 may cost, relative to the signal's 99.5th percentile.
MAX_ROUNDING = 1e-4
_INT16_MAX = 32767
_SMALLEST_HEADER = 284  # bytes, that of MGH; NIfTI has 348
_SUFFIXES = ('.nii', '.nii.gz', '.mgz', '.mgh')
_AGAIN = 'Convert the DICOM files again or restore the file from its source.'


def _check_start(path: Path) -> None:
    """Raise EOFError where the file ends within its header; nibabel would call it an unknown type."""
    opener = gzip.open if path.name.lower().endswith(('.gz', '.mgz')) else open
    with opener(path, 'rb') as stream:
        if len(stream.read(1024)) < _SMALLEST_HEADER:
            raise EOFError('it ends within its header')


@dataclass(frozen=True)
class Volume:
    """A 3-D image.

    ``data`` is float32 ``(X, Y, Z)`` in scanner units; ``affine`` is ``(4, 4)``, voxel to RAS+ millimetres;
    ``header`` is the source's NIfTI header (grid, q/sform codes, units, on-disk dtype). ``notes`` are
    sentences about values that were repaired on reading.
    """

    data: np.ndarray
    affine: np.ndarray
    header: nib.Nifti1Header
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sizes in millimetres along the three array axes."""
        x, y, z = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    def with_data(self, data: np.ndarray) -> Volume:
        """Return the same grid with other numbers; raises ValueError on another shape."""
        if data.shape != self.data.shape:
            raise ValueError(f'shape {data.shape} is not the grid {self.data.shape}')
        return replace(self, data=np.asarray(data, dtype=np.float32))


def read_volume(path: str | Path) -> Volume:
    """Read one 3-D image from NIfTI or FreeSurfer MGH, in float32, with its header cleaned of free text.

    A 4-D file with a single volume is taken as 3-D. Values that are not finite become 0 and an offset below
    zero is taken away, each with a note.

    Raises
    ------
    BadData
        If it is no readable image of a head: several volumes, colour or complex, constant, more than 1 %
        not finite, or an affine that is singular or absurd.
    ReadFailed
        If the file is missing, truncated or cannot be read.
    """
    path = Path(path)
    image = _opened(path)
    check_kind(image, path)
    header = clean_header(image)
    header.set_data_shape(image.shape[:3])
    affine = np.asarray(image.affine, dtype=float)
    check_affine(affine, path)
    data, notes = checked_values(_values(image, path), path)
    if header['qform_code'] <= 0 and header['sform_code'] <= 0:
        notes = (*notes, 'The header has neither qform nor sform: the orientation is a guess.')
    return Volume(data=data, affine=affine, header=header, path=path, notes=notes)


def _opened(path: Path) -> nib.spatialimages.SpatialImage:
    """Open the file without reading its voxels."""
    if not path.name.lower().endswith(_SUFFIXES):
        raise BadData(
            f'This is not a kind of image file this app reads ({", ".join(_SUFFIXES)}).',
            file=path,
            cure='Convert it to NIfTI, for DICOM with dcm2niix.',
        )
    try:
        _check_start(path)
        image: Any = nib.load(path)
        return image
    except FileNotFoundError as error:
        cure = 'Check the path; in a DataLad dataset, fetch the content first with `datalad get`.'
        raise ReadFailed('There is no such file.', file=path, cure=cure) from error
    except PermissionError as error:
        cure = 'Check its permissions, in a container for the user that it runs as.'
        raise ReadFailed('The file may not be read.', file=path, cure=cure) from error
    except (EOFError, zlib.error, OSError) as error:
        raise _broken(path, error) from error
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, ValueError) as error:
        raise BadData(f'The image header cannot be understood ({error}).', file=path, cure=_AGAIN) from error


def _broken(path: Path, error: Exception) -> ReadFailed:
    what = f'Reading broke off: the file is truncated or damaged ({error}).'
    return ReadFailed(what, file=path, cure=_AGAIN)


def _values(image: nib.spatialimages.SpatialImage, path: Path) -> np.ndarray:
    """Read and scale the voxels into a 3-D float32 array."""
    try:
        data = np.asarray(image.get_fdata(dtype=np.float32, caching='unchanged'))
    except (EOFError, zlib.error, OSError, ValueError) as error:
        raise _broken(path, error) from error
    return np.ascontiguousarray(data.reshape(data.shape[:3]))


def write_volume(volume: Volume, path: str | Path, *, dtype: np.dtype | type | str | None = None) -> Path:
    """Write a volume as ``.nii`` or ``.nii.gz`` with the geometry of its header; return the path.

    Without ``dtype``: an integer source gives int16, unscaled where all values are whole, otherwise with a
    power of two as ``scl_slope``, provided that rounding costs at most 1e-4 of the 99.5th percentile of the
    signal (root mean square); everything else gives float32. With an integer ``dtype`` values are rounded
    and written unscaled.

    Raises
    ------
    CannotWrite
        If the folder cannot be written.
    ReadFailed
        If writing broke off, for example because the disk is full.
    ValueError
        If values are not finite or do not fit the integer type asked for, or the suffix is not NIfTI.
    """
    path = Path(path)
    if not path.name.endswith(('.nii', '.nii.gz')):
        raise ValueError(f'{path.name} does not end in .nii or .nii.gz')
    content = _encoded(volume, dtype).to_bytes()
    with replacing(path) as stream:
        if path.name.endswith('.gz'):
            # Noise does not compress: level 5 takes twice as long for a file smaller by one in a hundred.
            with gzip.GzipFile(filename='', mode='wb', compresslevel=2, fileobj=stream, mtime=0) as zipped:
                zipped.write(content)
        else:
            stream.write(content)
    return path


def _encoded(volume: Volume, dtype: np.dtype | type | str | None) -> nib.Nifti1Image:
    """Return the image in its on-disk type and slope."""
    if dtype is None:
        kind, slope = storage(volume.data, source=volume.header.get_data_dtype())
    else:
        kind, slope = np.dtype(dtype), 1.0
    data = volume.data
    if not np.isfinite(data).all():
        raise ValueError('values that are not finite cannot be written')
    if kind.kind in 'iu':
        data = np.rint(data / np.float32(slope))
        limits = np.iinfo(kind)
        if data.min() < limits.min or data.max() > limits.max:
            raise ValueError(f'values from {data.min():g} to {data.max():g} do not fit {kind}')
    image = nib.Nifti1Image(data.astype(kind), None, _header(volume))
    image.header.set_data_dtype(kind)
    # With a slope already set, nibabel stores the array as it is.
    image.header.set_slope_inter(slope, 0.0)
    return image


def storage(data: np.ndarray, *, source: np.dtype) -> tuple[np.dtype, float]:
    """Decide the on-disk type and slope for values whose source had the given on-disk type."""
    if source.kind not in 'biu':
        return np.dtype(np.float32), 1.0
    peak = float(np.abs(data).max())
    if peak <= _INT16_MAX and np.array_equal(data, np.rint(data)):
        return np.dtype(np.int16), 1.0
    # A power of two keeps decoding exact in floating point.
    slope = float(2.0 ** np.ceil(np.log2(peak / _INT16_MAX)))
    signal = np.abs(data[data != 0])
    if slope / np.sqrt(12) <= MAX_ROUNDING * float(np.percentile(signal, 99.5)):
        return np.dtype(np.int16), slope
    return np.dtype(np.float32), 1.0


def _header(volume: Volume) -> nib.Nifti1Header:
    """Return a copy of the header that agrees with the volume's grid."""
    header = volume.header.copy()
    header.set_data_shape(volume.data.shape)
    if not np.allclose(header.get_best_affine(), volume.affine, atol=1e-4):
        header.set_sform(volume.affine, code='scanner')
        header.set_qform(volume.affine, code='scanner')
        header.set_xyzt_units('mm')
    return header
