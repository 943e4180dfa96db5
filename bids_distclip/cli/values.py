"""How the words of a command line become values: labels, memory, NAME=PATH pairs, levels."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from bids_distclip.errors import UnknownLevel, UsageError

LEVELS = {'participant': 'participant', 'subject': 'participant', 'group': 'group', 'dataset': 'group'}

_MEMORY = re.compile(r'^(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?$', re.IGNORECASE)
_MEGABYTES = {'k': 1e-3, 'm': 1.0, 'g': 1e3, 't': 1e6}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are a :class:`UsageError` (exit 64), never argparse's exit 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise what is wrong with the call."""
        raise UsageError(f'{message}.', cure=f'see {self.prog} --help.')


def parse_levels(words: Sequence[str]) -> tuple[str, ...]:
    """Return the analysis levels in the order they run; raises UnknownLevel for another word.

    >>> parse_levels(['group', 'subject'])
    ('participant', 'group')
    """
    for word in words:
        if word not in LEVELS:
            raise UnknownLevel(
                f'{word!r} is not an analysis level of this app.', cure='use participant, group, or both.'
            )
    wanted = {LEVELS[word] for word in words}
    return tuple(level for level in ('participant', 'group') if level in wanted)


def parse_labels(words: Sequence[str], *, prefix: str) -> tuple[str, ...]:
    """Return labels without prefix, sorted, each once; a word that names a file stands for its lines.

    >>> parse_labels(['sub-02', '01', '02'], prefix='sub')
    ('01', '02')
    """
    labels: set[str] = set()
    for word in words:
        path = Path(word)
        lines = path.read_text().splitlines() if path.is_file() else [word]
        labels.update(line.strip().removeprefix(f'{prefix}-') for line in lines if line.strip())
    return tuple(sorted(labels))


def parse_memory(text: str, *, unit: str = 'm') -> float:
    """Return gigabytes from ``16G``, ``16000M`` or a bare number in megabytes (or in ``unit``).

    >>> parse_memory('16G'), parse_memory('8000'), parse_memory('4', unit='g')
    (16.0, 8.0, 4.0)
    """
    match = _MEMORY.match(text.strip())
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not an amount of memory; write 16G, 16000M or megabytes')
    return float(match[1]) * _MEGABYTES[(match[2] or unit).lower()] / 1000


def parse_pairs(words: Sequence[str]) -> dict[str, str]:
    """Return ``{name: path}`` from ``NAME=PATH`` or bare paths, which are named after their folder.

    A folder may have ``=`` in its name: what has a slash before it, or is there, is a path. Raises UsageError if two
    have one name.

    >>> parse_pairs(['fs=/a/b', '/c/smriprep', '/d/run=2'])
    {'fs': '/a/b', 'smriprep': '/c/smriprep', 'run=2': '/d/run=2'}
    """
    found: dict[str, str] = {}
    for word in words:
        name, sign, path = word.partition('=')
        if not sign or not name or '/' in name or Path(word).expanduser().exists():
            name, path = Path(word).absolute().name, word
        if name in found:
            raise UsageError(f'Two datasets are called {name}: {found[name]} and {path}.',
                             cure='name them: --derivatives NAME=PATH NAME=PATH.')
        found[name] = path
    return found


class MemoryAction(argparse.Action):
    """Store memory in gigabytes; a bare number is megabytes, or gigabytes after ``--mem-gb``."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Parse the value by the spelling of the option."""
        unit = 'g' if 'gb' in (option_string or '') else 'm'
        try:
            setattr(namespace, self.dest, parse_memory(str(values), unit=unit))
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from error
