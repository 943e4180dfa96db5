"""What happened to one image, as a JSON file: the only thing pages, tables and later runs need to read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bids_distclip.draft import draft

#: What can become of an image. ``synthetic``: the target's contrast family is another one, on purpose; ``abstained``:
#: the result could not be trusted, and the source was passed through.
STATUSES = ('harmonized', 'synthetic', 'abstained', 'skipped', 'failed')
#: Those of an image that was written.
DONE = ('harmonized', 'synthetic', 'abstained')
FOLDER = 'figures'
ENDING = '_record.json'


@dataclass(frozen=True)
class ImageRecord:
    """What happened to one image.

    ``source``: path (relative to the dataset), sha256, suffix, shape, spacing (mm), family, family_basis,
    family_conflict. ``status``: one of :data:`STATUSES`. ``reason`` and ``cure``: why it was left as it is
    or failed, and what to do. ``target``: kind, name, family, acquisition. ``acquisition``:
    ``Acquisition.to_dict()``. ``preparation``: what was done before the engine (bias_correction, brain_mask).
    ``engine``: the harmonizer's details. ``metrics``: name to value, unit, meaning, good (and ``before``, the
    source's own value). ``figures``: name to file name in the folder :data:`FOLDER` of the subject.
    ``output``: path relative to the output folder. ``findings``: places of the structure guard, each with kind,
    value, place (scanner millimetres) and figure. ``look``: ``before`` and ``after``, each what
    :func:`bids_distclip.quality.profile.look` keeps of the intensities. ``fingerprint`` stands for all that decides
    the output, as in its sidecar.
    """

    source: Mapping[str, Any]
    status: str
    reason: str = ''
    cure: str = ''
    target: Mapping[str, Any] = field(default_factory=dict)
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    preparation: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    look: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Mapping[str, Any], ...] = ()
    output: str | None = None
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f'status {self.status!r} is not one of {", ".join(STATUSES)}')

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; :meth:`from_dict` reads it back."""
        return {**asdict(self), 'warnings': list(self.warnings), 'findings': list(self.findings)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ImageRecord:
        """Read what :meth:`to_dict` wrote; keys of later versions are ignored."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in raw.items() if key in known}
        lists = {name: tuple(values.get(name) or ()) for name in ('warnings', 'findings')}
        return cls(**{**values, **lists})


def record_path(output_dir: Path, subject: str, stem: str) -> Path:
    """Return where the record of an image lies: ``OUT/sub-XX/figures/<stem>_record.json``.

    ``stem`` is the source's file name without suffixes, for example ``sub-01_ses-1_T1w``, and of a synthetic image
    also what it was made into; the figures of that image belong into the same folder.
    """
    return output_dir / f'sub-{subject.removeprefix("sub-")}' / FOLDER / f'{stem}{ENDING}'


def write_record(record: ImageRecord, *, path: Path) -> Path:
    """Write a record as JSON, whole or not at all; numbers JSON does not know become ``null``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(record.to_dict()), indent=2, ensure_ascii=False, allow_nan=False)
    with draft(path) as hidden:
        hidden.write_text(text + '\n', encoding='utf-8')
    return path


def read_record(path: Path) -> ImageRecord:
    """Read a record; raises ValueError where the file is not one."""
    raw = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(raw, dict) or 'source' not in raw or 'status' not in raw:
        raise ValueError(f'{path} is not the record of an image')
    return ImageRecord.from_dict(raw)


def find_records(output_dir: Path, *, subject: str | None = None) -> Iterator[Path]:
    """List the records below an output folder, of one subject or of all, in the order of their names."""
    label = '*' if subject is None else subject.removeprefix('sub-')
    return iter(sorted(output_dir.glob(f'sub-{label}/**/{FOLDER}/*{ENDING}')))


def _plain(value: Any) -> Any:
    """Turn numpy numbers, tuples and paths into what JSON knows, and infinities and NaN into None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, 'tolist'):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float('inf') else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
