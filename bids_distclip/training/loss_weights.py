"""How much each loss term of the generator counts, and the file a user writes that into."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bids_distclip.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

#: The defaults as a file to copy, each with what it asks for.
DEFAULTS = Path(__file__).with_name('losses.toml')

#: The terms that tell the mapper what anatomy is.
ANATOMY = ('physical', 'consistency', 'contrast')


@dataclass(frozen=True)
class Weights:
    """How much each loss counts; ``losses.toml`` says what each asks for.

    ``physical`` is ignored where β is free; ``contrast`` is InfoNCE, only there. ``back`` is of real images alone.
    """

    physical: float = 1.5
    consistency: float = 0.1
    contrast: float = 0.3
    cross: float = 1.5
    identity: float = 2.0
    residual: float = 2.0
    gradient: float = 1.0
    structure: float = 0.2
    cycle: float = 0.0
    neighbours: float = 0.0
    back: float = 1.0
    style_image: float = 0.0
    style_text: float = 0.0
    adversarial: float = 0.0
    read: float = 1.0

    def to_dict(self) -> dict[str, float]:
        """Return the weights by name, as a model card records them."""
        return asdict(self)

    def without_anatomy(self) -> Weights:
        """Return the weights with nothing that tells the mapper what anatomy is: an ablation."""
        return replace(self, **dict.fromkeys(ANATOMY, 0.0))


def read_weights(path: Path) -> Weights:
    """Return the weights of a TOML file; those it does not name keep their default.

    Raises
    ------
    UsageError
        If it is no TOML, names a term that does not exist, or gives one anything but a number from 0 on.
    """
    try:
        raw = tomllib.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        cure = f'Give a TOML file of lines such as `cross = 1.5`; copy {DEFAULTS}.'
        raise UsageError(f'The loss weights cannot be read ({error}).', file=path, cure=cure) from error
    known = [field.name for field in fields(Weights)]
    allowed = f'Give numbers from 0 on to any of: {", ".join(known)}.'
    for name, value in raw.items():
        if name not in known:
            raise UsageError(f'There is no loss term {name!r}.', file=path, cure=allowed)
        if not _is_weight(value):
            raise UsageError(f'The weight of {name} is {value!r}, not a number from 0 on.', file=path, cure=allowed)
    return Weights(**{name: float(value) for name, value in raw.items()})


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
