"""BIDS file names: entities in, entities out, in the order the specification wants."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bids_distclip.errors import UsageError

if TYPE_CHECKING:
    from bids_distclip.dataset.inputs import Scan


@functools.cache
def entity_table() -> dict[str, tuple[str, str]]:
    """Return ``{name: (key, role)}`` in BIDS order; the role is ``source`` or ``derivative``.

    The order is that of ``rules/entities.yaml`` of BIDS 1.10; the names are those of pybids.
    """
    with (Path(__file__).parent / 'entities.tsv').open(encoding='utf-8', newline='') as stream:
        return {row['name']: (row['key'], row['role']) for row in csv.DictReader(stream, delimiter='\t')}


def parse_name(name: str) -> tuple[dict[str, str], str, str]:
    """Return the key-value pairs, the suffix and the extension of a BIDS file name.

    >>> parse_name('sub-01_run-02_T1w.nii.gz')
    ({'sub': '01', 'run': '02'}, 'T1w', '.nii.gz')
    """
    stem, dot, extension = name.partition('.')
    parts = stem.split('_')
    suffix = parts.pop() if '-' not in parts[-1] else ''
    pairs = dict(part.split('-', 1) for part in parts if '-' in part)
    return pairs, suffix, dot + extension


def entities_of(relative: str | PurePosixPath) -> dict[str, str]:
    """Return the entities of a file as texts under pybids' names, with datatype, suffix and extension.

    >>> entities_of('sub-01/anat/sub-01_acq-hi_T1w.nii.gz')['acquisition']
    'hi'
    """
    path = PurePosixPath(relative)
    pairs, suffix, extension = parse_name(path.name)
    named = {key: name for name, (key, _) in entity_table().items()}
    entities = {named.get(key, key): value for key, value in pairs.items()}
    return {**entities, 'suffix': suffix, 'datatype': path.parent.name, 'extension': extension}


def derivative_keys(name: str) -> tuple[str, ...]:
    """Return the keys of a file name that only derivatives have, such as ``desc`` or ``space``."""
    own = {key for key, role in entity_table().values() if role == 'derivative'}
    return tuple(key for key in parse_name(name)[0] if key in own)


def build_name(pairs: Mapping[str, str], *, suffix: str, extension: str) -> str:
    """Return a file name with its pairs in BIDS order; keys that BIDS does not know go before ``desc``."""
    order = [key for key, _ in entity_table().values()]
    unknown = len(order) - 1.5
    keys = sorted(pairs, key=lambda key: order.index(key) if key in order else unknown)
    return '_'.join([*(f'{key}-{pairs[key]}' for key in keys), suffix]) + extension


def output_name(
    scan: Scan | Mapping[str, str], *, desc: str, suffix: str | None = None, extension: str = '.nii.gz'
) -> Path:
    """Return where a derivative of a scan lies, relative to the output folder.

    ``scan`` may be its entities alone. Every entity of the source is kept, in BIDS order, ``desc`` last; the
    suffix is the source's own unless another is given.

    Raises
    ------
    UsageError
        If ``desc`` is not a BIDS label: letters, digits and ``+``.
    """
    if not re.fullmatch(r'[A-Za-z0-9+]+', desc):
        raise UsageError(f'{desc!r} is not a BIDS label.', cure='use letters, digits and + only.')
    entities = dict(scan if isinstance(scan, Mapping) else scan.entities)
    own_suffix, datatype = entities.pop('suffix'), entities.pop('datatype')
    entities.pop('extension', None)
    table = entity_table()
    pairs = {table[name][0] if name in table else name: value for name, value in entities.items()}
    name = build_name({**pairs, 'desc': desc}, suffix=suffix or own_suffix, extension=extension)
    folders = [f'{key}-{pairs[key]}' for key in ('sub', 'ses') if key in pairs]
    return Path(*folders, datatype, name)
