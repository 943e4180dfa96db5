"""What the images of a run should look like: from the options to one target per contrast family."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_distclip.acquisition.family import infer_family
from bids_distclip.acquisition.protocols import Protocol, default_protocol, load_protocols, protocol
from bids_distclip.acquisition.record import FAMILIES, Acquisition
from bids_distclip.acquisition.target import read_target_metadata
from bids_distclip.dataset.atomic import sha256
from bids_distclip.dataset.content import absent
from bids_distclip.errors import DistclipError, UsageError
from bids_distclip.volume.image import read_volume

if TYPE_CHECKING:
    from bids_distclip.settings import Settings


@dataclass(frozen=True)
class TargetSpec:
    """A target by description: ``kind`` is image, metadata or protocol; ``sha256`` is the image file's."""

    kind: str
    name: str
    family: str
    acquisition: Acquisition
    image: str | None = None
    sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; :meth:`from_dict` reads it back."""
        return {'kind': self.kind, 'name': self.name, 'family': self.family, 'image': self.image,
                'sha256': self.sha256, 'acquisition': self.acquisition.to_dict()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TargetSpec:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**raw, 'acquisition': Acquisition.from_dict(raw['acquisition'])})


def resolve_targets(settings: Settings) -> tuple[TargetSpec, ...]:
    """Return the targets of a run: the given image, else metadata, else protocols, else one protocol per family.

    Raises
    ------
    bids_distclip.errors.UsageError
        If a target is missing, has no contrast family, or its protocol is not shipped.
    """
    try:
        if settings.target_image is not None:
            return (_from_image(settings.target_image, metadata=settings.target_metadata),)
        if settings.target_metadata is not None:
            return (_from_metadata(settings.target_metadata),)
        if settings.target_protocol:
            return tuple(_from_protocol(protocol(name)) for name in dict.fromkeys(settings.target_protocol))
    except UsageError:
        raise
    except DistclipError as error:
        raise UsageError(f'The target cannot be used: {error.what}', file=error.file, cure=error.cure) from error
    if settings.synthesize:
        cure = 'give --target-image, --target-metadata or --target-protocol.'
        raise UsageError('--synthesize needs a target.', cure=cure)
    return tuple(_from_protocol(default_protocol(family)) for family in FAMILIES)


def choose_target(targets: tuple[TargetSpec, ...], *, family: str | None, synthesize: bool) -> TargetSpec | None:
    """Return the target for a source of that family: one of the same family first, another only to synthesize."""
    same = [target for target in targets if target.family == family]
    if same:
        return same[0]
    return targets[0] if synthesize and targets else None


def read_acquisition(image: Path, *, metadata: Path | None = None) -> Acquisition:
    """Return how an image outside a dataset was acquired: from ``metadata``, else from the sidecar beside it."""
    stem = image.name.removesuffix('.gz').rpartition('.')[0]
    word = stem.rpartition('_')[2]
    suffix = word if word in FAMILIES else None
    beside = image.with_name(f'{stem}.json')
    if metadata is None and not beside.is_file():
        return Acquisition(suffix=suffix)
    try:
        return replace(read_target_metadata(metadata or beside), suffix=suffix)
    except DistclipError:
        if metadata is not None:
            raise
        return Acquisition(suffix=suffix, notes=('The sidecar beside it says nothing about its acquisition.',))


def describe_protocols() -> str:
    """Return the shipped protocols as a table to read."""
    rows = [f'{row.name:<34} {row.family:<8} {"default" if row.default else "":<8} {row.evidence}'
            for row in load_protocols().values()]
    return '\n'.join([f'{"name":<34} {"family":<8} {"":<8} evidence', *rows])


def _from_image(path: Path, *, metadata: Path | None) -> TargetSpec:
    missing = absent(path.parent, str(path)) if path.is_symlink() or path.is_file() else ''
    if missing:
        what, _, cure = missing.partition('. ')
        raise UsageError(f'The target image is only a link. {what}.', file=path, cure=cure[:1].lower() + cure[1:])
    if not path.is_file():
        raise UsageError('The target image is not there.', file=path, cure='check --target-image.')
    # A target that cannot be read must stop the run before it starts, not fail every image.
    read_volume(path)
    acquisition = read_acquisition(path, metadata=metadata)
    family = _family(acquisition, file=path)
    return TargetSpec('image', path.name, family, acquisition, str(path), sha256(path))


def _from_metadata(path: Path) -> TargetSpec:
    acquisition = read_target_metadata(path)
    family = _family(acquisition, file=path)
    name = path.name if path.suffix.lower() == '.json' else _dicom_name(acquisition)
    return TargetSpec('metadata', name, family, acquisition)


def _dicom_name(acquisition: Acquisition) -> str:
    """Return a name for a target of DICOM: that of its file or folder often is a patient's, and goes into outputs."""
    values = {key: value for key, value in acquisition.values().items() if value not in (None, ())}
    mark = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:6]
    words = re.findall('[a-z0-9]+', f'{acquisition.manufacturer or ""} {acquisition.model or ""}'.lower())
    return '-'.join(['dicom', *words, mark])


def _from_protocol(row: Protocol) -> TargetSpec:
    return TargetSpec('protocol', row.name, row.family, row.acquisition)


def _family(acquisition: Acquisition, *, file: Path) -> str:
    family = infer_family(acquisition).family
    if family is None:
        raise UsageError(
            'The contrast family of the target is not known.', file=file,
            cure='name the file as BIDS does (…_T1w.nii.gz, …_T1w.json), '
            'or give metadata with EchoTime and RepetitionTime.',
        )
    return family
