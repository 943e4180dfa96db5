"""An image ready for a harmonizer, and its one-file form on disk between the steps of a run."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.errors import BadData, ReadFailed, UsageError
from bids_distclip.quality.tissue import channel
from bids_distclip.volume.bias import corrected, left_field, n4_field
from bids_distclip.volume.files import replacing
from bids_distclip.volume.image import Volume
from bids_distclip.volume.intensity import brain_scale
from bids_distclip.volume.mask import brain_mask, head_mask, stripped_brain
from bids_distclip.volume.template import Template
from bids_distclip.volume.tissue import Segment, TissueShares, is_whole_brain, tissue_shares

#: Ways to treat the receive field.
BIAS_CORRECTIONS = ('n4', 'none')
#: Where a brain mask can come from: the user, the image itself, or a template.
BRAINS = ('derivatives', 'image', 'template')
_PARTS = ('data', 'affine', 'header', 'brain', 'head', 'tissue', 'record')


@dataclass(frozen=True)
class Prepared:
    """An image ready for a harmonizer: bias-corrected, with masks and its intensity scale.

    ``brain`` and ``head`` are boolean ``(X, Y, Z)`` masks on the volume's grid. ``scale`` is the intensity,
    in the volume's units, that becomes 1.0 (99.5th percentile inside the brain mask; zero stays zero). ``tissue`` is
    uint8 ``(X, Y, Z)``, the class of every voxel (:data:`bids_distclip.quality.tissue.TISSUES`), None where that is not
    known; ``brain_from`` one of :data:`BRAINS`.
    """

    volume: Volume
    brain: np.ndarray
    head: np.ndarray
    scale: float
    acquisition: Acquisition
    family: str | None = None
    tissue: np.ndarray | None = None
    brain_from: str = 'template'

    def save(self, path: str | Path) -> Path:
        """Write everything into one uncompressed ``.npz``, without pickles, whole or not at all."""
        path = Path(path)
        record = {
            'scale': self.scale,
            'acquisition': self.acquisition.to_dict(),
            'family': self.family,
            'path': None if self.volume.path is None else str(self.volume.path),
            'notes': list(self.volume.notes),
            'brain_from': self.brain_from,
        }
        with replacing(path) as stream:
            np.savez(
                stream,
                data=self.volume.data,
                affine=self.volume.affine,
                header=np.frombuffer(self.volume.header.binaryblock, dtype=np.uint8),
                brain=np.packbits(self.brain),
                head=np.packbits(self.head),
                tissue=np.zeros(0, np.uint8) if self.tissue is None else self.tissue,
                record=np.frombuffer(json.dumps(record).encode(), dtype=np.uint8),
            )
        return path

    @classmethod
    def load(cls, path: str | Path) -> Prepared:
        """Read what :meth:`save` wrote; raise ReadFailed where that is missing or damaged."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = {name: stored[name] for name in _PARTS}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            cure = 'Delete it, or the work folder, and run the same command again.'
            raise ReadFailed(f'A prepared image cannot be read ({error}).', file=path, cure=cure) from error
        record = json.loads(parts['record'].tobytes())
        shape = parts['data'].shape
        volume = Volume(
            data=parts['data'],
            affine=parts['affine'],
            header=nib.Nifti1Header(parts['header'].tobytes()),
            path=None if record['path'] is None else Path(record['path']),
            notes=tuple(record['notes']),
        )
        return cls(
            volume=volume,
            brain=_unpacked(parts['brain'], shape),
            head=_unpacked(parts['head'], shape),
            scale=record['scale'],
            acquisition=Acquisition.from_dict(record['acquisition']),
            family=record['family'],
            tissue=parts['tissue'] if parts['tissue'].size else None,
            brain_from=record['brain_from'],
        )


def _unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def prepare(
    volume: Volume,
    *,
    acquisition: Acquisition,
    family: str | None = None,
    bias_correction: str = 'n4',
    brain: np.ndarray | None = None,
    segment: Segment | None = None,
    template: Template | None = None,
    threads: int = 1,
) -> Prepared:
    """Make an image ready for a harmonizer: head, brain, receive field, intensity scale.

    A ``brain`` mask given on the volume's grid is used as it is; else the signal of a stripped image, or where a
    template lies on the image. N4 keeps the mean intensity in the brain. ``segment`` sees the corrected brain; what its
    white matter still shows of shading is then corrected too, before the image's own intensities settle the tissue.

    Raises
    ------
    BadData
        If no head or brain is found, or the mask is of another shape or empty.
    UsageError
        If the bias correction is not one of :data:`BIAS_CORRECTIONS`.
    """
    if bias_correction not in BIAS_CORRECTIONS:
        cure = f'Choose one of: {", ".join(BIAS_CORRECTIONS)}.'
        raise UsageError(f'There is no bias correction {bias_correction!r}.', cure=cure)
    stripped = stripped_brain(volume)
    if brain is not None:
        brain, brain_from = _given(brain, volume), 'derivatives'
    elif stripped is not None:
        brain, brain_from = stripped, 'image'
    else:
        brain, brain_from = brain_mask(volume, template=template), 'template'
    head = brain if stripped is not None else head_mask(volume.data) | brain
    if bias_correction == 'n4':
        field = n4_field(volume.data, affine=volume.affine, mask=brain, threads=threads)
        volume = volume.with_data(corrected(volume.data, field=field, brain=brain))
    shares = tissue_shares(volume, brain, segment) if segment else None
    if bias_correction == 'n4' and shares:
        volume = evened(volume, brain, shares, threads=threads)
    return Prepared(
        volume=volume,
        brain=brain,
        head=head,
        scale=brain_scale(volume.data, brain),
        acquisition=acquisition,
        family=family,
        tissue=shares.settled(volume) if shares else None,
        brain_from=brain_from,
    )


def evened(volume: Volume, brain: np.ndarray, shares: TissueShares, *, threads: int = 1) -> Volume:
    """Return a volume that N4 has corrected once without the shading that its white matter still shows.

    White matter is that of a segmenter; where it cannot be that of a whole brain, nothing is done.
    """
    tissue = shares.likeliest()
    if not is_whole_brain(tissue, voxel=shares.voxel):
        return volume
    field = left_field(volume.data, affine=volume.affine, white=tissue == channel('WM'), threads=threads)
    return volume.with_data(corrected(volume.data, field=field, brain=brain))


def _given(brain: np.ndarray, volume: Volume) -> np.ndarray:
    """Check a mask that came from outside."""
    brain = np.asarray(brain) > 0
    if brain.shape != volume.data.shape or not brain.any():
        raise BadData(
            f'The brain mask is empty or not on the grid of the image ({brain.shape}, {volume.data.shape}).',
            file=volume.path,
            cure='Give a mask made for this very image, or none.',
        )
    return brain
