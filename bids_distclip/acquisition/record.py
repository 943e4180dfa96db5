"""What is known of how an image was acquired: typed, in stated units, each value with its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

#: Contrast families this package knows, by the BIDS suffix that names them.
FAMILIES = ('T1w', 'T2w', 'PDw', 'FLAIR', 'T2starw')


@dataclass(frozen=True)
class Acquisition:
    """How one image was acquired. ``None`` or ``()`` means *not known*; nothing is ever filled in silently.

    Units: times in seconds, flip angle in degrees, field strength in tesla, thickness in millimetres.
    ``provenance`` maps a field's name to where its value came from: ``sidecar:<relative path>``, ``dicom``,
    ``user``, ``protocol:<name>`` or ``simulated``. ``notes`` are sentences about repaired or suspicious values.
    """

    manufacturer: str | None = None
    model: str | None = None
    field_strength: float | None = None
    acquisition_type: str | None = None
    series_description: str | None = None
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    echo_time: float | None = None
    repetition_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    slice_thickness: float | None = None
    echo_train_length: int | None = None
    contrast_agent: str | None = None
    suffix: str | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """Return the metadata alone, without suffix, provenance and notes."""
        return {name: getattr(self, name) for name in VALUE_FIELDS}

    def known(self) -> tuple[str, ...]:
        """Return the names of the fields that have a value."""
        return tuple(name for name, value in self.values().items() if value not in (None, ()))

    def missing(self) -> tuple[str, ...]:
        """Return the names of the fields that have none."""
        return tuple(name for name, value in self.values().items() if value in (None, ()))

    def without(self, *names: str) -> Acquisition:
        """Return a copy in which the named fields are not known."""
        empty: dict[str, Any] = {n: () if n in ('scanning_sequence', 'sequence_variant') else None for n in names}
        return replace(self, **empty)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; :meth:`from_dict` reads it back."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        out['provenance'] = dict(self.provenance)
        for name in ('scanning_sequence', 'sequence_variant', 'notes'):
            out[name] = list(out[name])
        return out

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Acquisition:
        """Read what :meth:`to_dict` wrote."""
        tuples = {n: tuple(raw.get(n) or ()) for n in ('scanning_sequence', 'sequence_variant', 'notes')}
        return cls(**{**raw, **tuples})


VALUE_FIELDS = tuple(f.name for f in fields(Acquisition) if f.name not in ('suffix', 'provenance', 'notes'))
