"""What a file must be to count as one image of a head, and what is repaired on the way."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_distclip.errors import BadData

#: More values than this that are not finite, and an image is refused.
MAX_NOT_FINITE = 0.01
#: Undershoot left alone, as a fraction of the 99th percentile: interpolation and real-valued reconstruction.
SMALL_NEGATIVE = 0.05
#: Voxel sizes (mm) of any human MRI, generously; outside, the header is wrong.
VOXEL_RANGE = (0.05, 20.0)
#: Fewer voxels than this along an axis are a localizer or a single slab, not a volume.
MIN_SIZE = 8
#: Where converters leave names and dates.
_PRIVATE_TEXT = ('descrip', 'aux_file', 'intent_name', 'db_name', 'data_type')


def check_kind(image: nib.spatialimages.SpatialImage, path: Path) -> None:
    """Refuse what is not one scalar 3-D volume."""
    dtype = image.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in 'biuf':
        raise BadData(
            f'The image has {"colour" if dtype.fields else "complex"} values ({dtype}).',
            file=path,
            cure='Give the magnitude image.',
        )
    shape = image.shape
    if len(shape) < 3 or int(np.prod(shape[3:])) != 1:
        raise BadData(
            f'The image has shape {shape}, not one 3-D volume.',
            file=path,
            cure='Split it into single volumes (for example `nib-roi -t 0:1`) and give the one to harmonize.',
        )
    if min(shape[:3]) < MIN_SIZE:
        raise BadData(
            f'The image has shape {shape[:3]}: too few slices for a head.',
            file=path,
            cure=f'Give a volume with at least {MIN_SIZE} voxels along every axis, no localizer.',
        )


def clean_header(image: nib.spatialimages.SpatialImage) -> nib.Nifti1Header:
    """Return a NIfTI-1 header with the geometry of the source, without extensions and free text.

    ``descrip`` and its neighbours are where converters leave names and dates; extensions may hold a whole
    DICOM header.
    """
    source = image.header
    header = nib.Nifti1Header()
    if isinstance(source, nib.Nifti1Header):
        kept = set(header.keys()) & set(source.keys()) - {'sizeof_hdr', 'magic', 'vox_offset', 'dim'}
        for name in kept:
            header[name] = source[name]
    else:
        header.set_data_dtype(image.get_data_dtype())
        header.set_data_shape(image.shape[:3])
        header.set_qform(image.affine, code='scanner')
        header.set_sform(image.affine, code='scanner')
        header.set_xyzt_units('mm')
    for name in _PRIVATE_TEXT:
        header[name] = b''
    # They describe the source's numbers, not those of an image derived from it.
    for name in ('cal_min', 'cal_max', 'glmin', 'glmax', 'intent_code'):
        header[name] = 0
    header.set_slope_inter(None, None)
    return header


def check_affine(affine: np.ndarray, path: Path) -> None:
    """Refuse an affine that cannot be the geometry of an MRI."""
    columns = affine[:3, :3]
    sizes = np.linalg.norm(columns, axis=0)
    low, high = VOXEL_RANGE
    if not np.isfinite(affine).all():
        what = 'The affine has values that are not finite.'
    elif sizes.min() < low or sizes.max() > high:
        what = f'The voxel sizes {tuple(round(float(s), 4) for s in sizes)} mm are absurd.'
    elif abs(np.linalg.det(columns / sizes)) < 0.1:
        what = 'The affine is singular: two voxel axes point the same way.'
    else:
        return
    raise BadData(what, file=path, cure='Repair qform and sform, or convert the DICOM files again.')


def checked_values(data: np.ndarray, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Repair what is harmless to repair, with a note each, and refuse the rest."""
    notes = []
    finite = np.isfinite(data)
    bad = 1 - finite.mean()
    if bad > MAX_NOT_FINITE:
        cure = 'Give the image as the scanner made it, or set those voxels to 0 yourself.'
        raise BadData(f'{bad:.1%} of the voxels are not finite numbers.', file=path, cure=cure)
    if bad > 0:
        data = np.where(finite, data, np.float32(0))
        notes.append(f'{round(bad * data.size)} voxels that were not finite were set to 0.')
    low, high = np.percentile(data, (0.1, 99))
    if data.min() == data.max():
        cure = 'Leave it out with a filter, or restore the file from its source.'
        raise BadData(f'All voxels have the same value ({data.flat[0]:g}).', file=path, cure=cure)
    if low < -SMALL_NEGATIVE * max(abs(float(high)), np.finfo(np.float32).tiny):
        data = np.maximum(data - low, 0)
        notes.append(f'Intensities went below zero; {float(low):g} was taken away so that air is zero.')
    return data.astype(np.float32, copy=False), tuple(notes)
