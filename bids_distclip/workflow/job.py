"""One image's part of a run: what it is, what becomes of it, and where that goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bids_distclip.acquisition.record import Acquisition


@dataclass(frozen=True)
class Job:
    """What a run does with one image.

    ``state`` is ``process``, ``reuse`` (its output is there and matches) or ``skip`` (``reason`` says why).
    All outputs are relative to the output folder, also ``untouched_output``, where the source goes if the result
    cannot be trusted; ``relative`` to the dataset; ``shape`` is in voxels, ``spacing`` in mm.
    """

    name: str
    source: str
    relative: str
    subject: str
    session: str | None
    suffix: str
    entities: Mapping[str, Any]
    acquisition: Mapping[str, Any]
    family: str | None
    family_basis: str
    family_conflict: str | None
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    sha256: str | None = None
    state: str = 'process'
    reason: str = ''
    target: str | None = None
    desc: str = 'harmonized'
    out_suffix: str = ''
    output: str | None = None
    mask_output: str | None = None
    tissue_output: str | None = None
    spread_output: str | None = None
    untouched_output: str | None = None
    fingerprint: str | None = None
    brain_mask: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def synthesize(self) -> bool:
        """Tell whether the target's contrast family differs from the source's on purpose."""
        return self.desc == 'synthetic'

    @property
    def result(self) -> str:
        """Return the name of the result's record: a synthetic image stands beside the harmonized one of its source."""
        return f'{self.name}_to-{self.out_suffix}' if self.synthesize else self.name

    def acquisition_record(self) -> Acquisition:
        """Return the source's acquisition."""
        return Acquisition.from_dict(self.acquisition)

    def skipped(self, reason: str) -> Job:
        """Return the same job, to be skipped for ``reason``."""
        return replace(self, state='skip', reason=reason, output=None)

    def save(self, folder: Path) -> Path:
        """Write the job as JSON and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f'{self.name}.json'
        path.write_text(json.dumps(asdict(self), indent=2, sort_keys=True, default=str))
        return path

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read what :meth:`save` wrote."""
        raw = json.loads(Path(path).read_text())
        return cls(**{**raw, 'shape': tuple(raw['shape']), 'spacing': tuple(raw['spacing']),
                      'warnings': tuple(raw['warnings'])})
