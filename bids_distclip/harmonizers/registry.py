"""Engines by name; each is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
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


def get_harmonizer(name: str, **options: Any) -> Harmonizer:
    """Return the engine of this name, made with its options.

    Raises
    ------
    UsageError
        If there is no such engine, or it does not know an option.
    """
    if name not in _ENGINES:
        raise UsageError(f'There is no engine {name!r}.', cure=f'Choose one of: {", ".join(ENGINES)}.')
    module, kind = _ENGINES[name]
    try:
        return getattr(import_module(module), kind)(**options)
    except TypeError as error:
        raise UsageError(f'The engine {name!r} does not take these options ({error}).') from error
