"""Files of tensors that go by contrast family: safetensors, the families' names in their header."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bids_distclip.errors import BadData

Made = TypeVar('Made')


def save_by_family(path: Path, tensors: Mapping[str, Tensor], *, families: Sequence[str]) -> None:
    """Write tensors and the names of the families they go by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {'families': json.dumps(list(families))}
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata=metadata)
    path.chmod(0o644)


def load_if_there(
    path: Path,
    shapes: Mapping[str, tuple[int | None, ...]],
    make: Callable[[tuple[str, ...], dict[str, Tensor]], Made],
    *,
    what: str,
) -> Made | None:
    """Return what ``make`` makes of the families and tensors :func:`save_by_family` wrote; None without a file.

    Tensors come as float32; ``shapes`` names them, None for any length.

    Raises
    ------
    BadData
        If the file is not ``what`` it should be.
    """
    return make(*_read(path, shapes, what=what)) if path.exists() else None


def _read(
    path: Path, shapes: Mapping[str, tuple[int | None, ...]], *, what: str
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    try:
        with safe_open(path, framework='pt') as stream:
            families = tuple(json.loads(stream.metadata()['families']))
        tensors = {name: value.float() for name, value in load_file(path).items()}
        for name, shape in shapes.items():
            found = tuple(tensors[name].shape)
            if len(found) != len(shape) or any(n not in (None, f) for n, f in zip(shape, found, strict=True)):
                raise ValueError(f'{name} has the shape {found}')
        return families, {name: tensors[name] for name in shapes}
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise BadData(f'Not {what} ({error})', file=path, cure='Fetch the weights again.') from error
