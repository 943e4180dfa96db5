"""Engines by name; each is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from bids_distclip.errors import UsageError
from bids_distclip.harmonizers.base import Harmonizer

_ENGINES = {
    'distclip': ('bids_distclip.harmonizers.distclip', 'DistClip'),
    'histogram': ('bids_distclip.harmonizers.classical', 'HistogramMatching'),
    'nyul': ('bids_distclip.harmonizers.classical', 'Nyul'),
    'whitestripe': ('bids_distclip.harmonizers.classical', 'WhiteStripe'),
    'identity': ('bids_distclip.harmonizers.classical', 'Identity'),
}

#: Names of the engines.
ENGINES = tuple(_ENGINES)

#: Engines of a library that does not install on every Python this package runs on.
_LIBRARIES = dict.fromkeys(('nyul', 'whitestripe'), 'intensity_normalization')


def get_harmonizer(name: str, **options: Any) -> Harmonizer:
    """Return the engine of this name, made with its options.

    Raises
    ------
    UsageError
        If there is no such engine, its library is not installed, or it does not know an option.
    """
    check_name(name)
    module, kind = _ENGINES[name]
    try:
        return getattr(import_module(module), kind)(**options)
    except TypeError as error:
        raise UsageError(f'The engine {name!r} does not take these options ({error}).') from error


def check_name(name: str) -> None:
    """Raise UsageError if there is no engine of this name, or the library it needs is not installed."""
    if name not in _ENGINES:
        raise UsageError(f'There is no engine {name!r}.', cure=f'Choose one of: {", ".join(ENGINES)}.')
    library = _LIBRARIES.get(name)
    if library and find_spec(library) is None:
        raise UsageError(f'The engine {name!r} needs {library.replace("_", "-")}, which is not installed.',
                         cure='Use Python 3.11 or newer, for which it comes along, or another engine.')
