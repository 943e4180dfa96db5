"""DICOM headers to :class:`Acquisition`: classic and enhanced multi-frame; no patient data kept."""

from __future__ import annotations

import gzip
import logging
import math
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.acquisition.sidecar import from_sidecar
from bids_distclip.errors import BadData

#: BIDS key, DICOM keyword, and what one unit of DICOM is in BIDS.
_PLAIN = (
    ('Manufacturer', 'Manufacturer', None),
    ('ManufacturersModelName', 'ManufacturerModelName', None),
    ('SeriesDescription', 'SeriesDescription', None),
    ('ProtocolName', 'ProtocolName', None),
    ('ContrastBolusIngredient', 'ContrastBolusIngredient', None),
    ('MRAcquisitionType', 'MRAcquisitionType', None),
    ('ScanningSequence', 'ScanningSequence', None),
    ('SequenceVariant', 'SequenceVariant', None),
    ('MagneticFieldStrength', 'MagneticFieldStrength', 1.0),
    ('EchoTime', 'EchoTime', 1e-3),
    ('RepetitionTime', 'RepetitionTime', 1e-3),
    ('InversionTime', 'InversionTime', 1e-3),
    ('FlipAngle', 'FlipAngle', 1.0),
    ('SliceThickness', 'SliceThickness', 1.0),
    ('EchoTrainLength', 'EchoTrainLength', 1.0),
)
#: BIDS key, functional group and keyword of an enhanced file, and what one unit is in BIDS.
_GROUPS = (
    ('EchoTime', 'MREchoSequence', 'EffectiveEchoTime', 1e-3),
    ('RepetitionTime', 'MRTimingAndRelatedParametersSequence', 'RepetitionTime', 1e-3),
    ('FlipAngle', 'MRTimingAndRelatedParametersSequence', 'FlipAngle', 1.0),
    ('EchoTrainLength', 'MRTimingAndRelatedParametersSequence', 'EchoTrainLength', 1.0),
    ('InversionTime', 'MRModifierSequence', 'InversionTimes', 1e-3),
    ('SliceThickness', 'PixelMeasuresSequence', 'SliceThickness', 1.0),
)
_KEYWORDS = sorted({row[1] for row in _PLAIN} | {row[1] for row in _GROUPS} | {
    'SharedFunctionalGroupsSequence', 'PerFrameFunctionalGroupsSequence', 'Modality', 'SeriesInstanceUID',
    'EchoPulseSequence', 'SteadyStatePulseSequence', 'SegmentedKSpaceTraversal',
})
#: What is read of every file of a folder: all of it lies before group 0021.
_START = ('Modality', 'SeriesInstanceUID', 'SeriesDescription', 'EchoTime')
_MOST_ECHOES = 8
_AGAIN = 'give a DICOM file of an MR image, or a folder with the files of one series.'


def from_dicom(path: str | Path) -> Acquisition:
    """Read how the image of a DICOM file, or of a folder with one series, was acquired.

    Milliseconds become seconds. Files may be gzip-compressed (``.gz``). Only the fields of the record are
    kept: no names, dates, identifiers or places. Several echo times in one series give a note, and the
    shortest counts. The origin of every value is ``dicom``.

    Raises
    ------
    BadData
        If there is no readable MR image, the folder holds several series, or nothing is known of the
        acquisition.
    """
    path = Path(path)
    file, echoes = _chosen(path) if path.is_dir() else (path, [])
    header = _header(file, tags=_KEYWORDS)
    if not _is_image(header):
        raise BadData('The DICOM file is not an MR image.', file=file, cure=_AGAIN)
    raw = _bids_keys(header)
    if 1 < len(echoes) <= _MOST_ECHOES:
        raw['EchoTime'] = echoes
    acquisition = from_sidecar(raw, origin='dicom')
    if not acquisition.known():
        raise BadData('The DICOM header says nothing about the acquisition.', file=file, cure=_AGAIN)
    return acquisition


def _chosen(folder: Path) -> tuple[Path, list[float]]:
    """Return the file of a folder with the shortest echo, and all its echo times in seconds."""
    series: dict[str, str] = {}
    found: list[tuple[float, Path]] = []
    for file in sorted(f for f in folder.rglob('*') if f.is_file() and not f.name.startswith('.')):
        try:
            header = _header(file, tags=_START, stop=0x0020)
        except BadData:
            continue
        if _is_image(header):
            series[str(header.get('SeriesInstanceUID', ''))] = str(header.get('SeriesDescription', 'unnamed'))
            found.append((_first(_scaled(header.get('EchoTime'), 1e-3)), file))
    if not found:
        raise BadData('There is no DICOM file of an MR image here.', file=folder, cure=_AGAIN)
    if len(series) > 1:
        names = ', '.join(sorted(set(series.values()))[:6])
        cure = 'put the files of one series into a folder of its own.'
        raise BadData(f'The folder holds {len(series)} series ({names}).', file=folder, cure=cure)
    return min(found)[1], sorted({echo for echo, _ in found} - {math.inf})


def _header(path: Path, *, tags: Sequence[str], stop: int = 0x7FDF) -> Dataset:
    """Read some tags of one header, up to a group; the pixels come after the default."""
    try:
        opener: Any = gzip.open if path.name.endswith('.gz') else open
        with _quiet(), opener(path, 'rb') as stream:
            return read_partial(
                stream, stop_when=lambda tag, kind, length: tag.group > stop,
                specific_tags=[Tag(tag) for tag in tags],
            )
    except (InvalidDicomError, OSError, EOFError, ValueError, NotImplementedError, struct.error) as error:
        raise BadData(f'The file cannot be read as DICOM ({error}).', file=path, cure=_AGAIN) from error


class _quiet(warnings.catch_warnings):
    """Keep what pydicom has to say about odd but readable headers off the terminal."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter('ignore')
        self.level = logging.getLogger('pydicom').level
        logging.getLogger('pydicom').setLevel(logging.CRITICAL)

    def __exit__(self, *about: Any) -> None:
        logging.getLogger('pydicom').setLevel(self.level)
        super().__exit__(*about)


def _is_image(header: Dataset) -> bool:
    return str(header.get('Modality', '')) == 'MR'


def _bids_keys(header: Dataset) -> dict[str, Any]:
    """Return what the header says under BIDS keys and in BIDS units."""
    raw = {key: _scaled(header.get(keyword), scale) for key, keyword, scale in _PLAIN}
    groups = [header.get(f'{which}FunctionalGroupsSequence') for which in ('Shared', 'PerFrame')]
    for key, sequence, keyword, scale in _GROUPS:
        for group in groups:
            item = _item(_item(group).get(sequence))
            if raw.get(key) is None and item.get(keyword) is not None:
                raw[key] = _scaled(item.get(keyword), scale)
    if header.get('EchoPulseSequence'):
        modifier = next((_item(_item(g).get('MRModifierSequence')) for g in groups if _item(g)), Dataset())
        raw |= {key: value for key, value in _codes(header, modifier).items() if not raw.get(key)}
    return {key: value for key, value in raw.items() if value is not None}


def _codes(header: Dataset, modifier: Dataset) -> dict[str, list[str]]:
    """Return an enhanced file's plain words as the codes a classic file would have."""
    pulse = {'GRADIENT': ['GR'], 'SPIN': ['SE'], 'BOTH': ['GR', 'SE']}.get(str(header.EchoPulseSequence), [])
    inverted = str(modifier.get('InversionRecovery', 'NO')) == 'YES'
    variant = []
    if str(header.get('SegmentedKSpaceTraversal', 'SINGLE')) not in ('SINGLE', ''):
        variant.append('SK')
    if str(header.get('SteadyStatePulseSequence', 'NONE')) not in ('NONE', ''):
        variant.append('SS')
    if str(modifier.get('Spoiling', 'NONE')) not in ('NONE', ''):
        variant.append('SP')
    if inverted:
        variant.append('MP')
    return {'ScanningSequence': [*pulse, *(['IR'] if inverted else [])], 'SequenceVariant': variant}


def _item(sequence: Any) -> Dataset:
    """Return the first item of a sequence, or an empty one."""
    return sequence[0] if sequence is not None and len(sequence) else Dataset()


def _scaled(value: Any, scale: float | None) -> Any:
    """Return a header's value as plain Python: texts as they are, numbers in BIDS units, empty as None."""
    if value is None or value == '':
        return None
    if isinstance(value, (list, tuple, MultiValue)):
        return [_scaled(item, scale) for item in value] or None
    if scale is None:
        return str(value)
    # Ten digits: 1.97 ms must not become 0.0019700000000000002 s.
    return float(f'{float(value) * scale:.10g}')


def _first(value: Any) -> float:
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, float) and value > 0 else math.inf
