"""What a user asks for: labels, modalities, and the entity filters of a BIDS filter file."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.dataset.naming import entity_table
from bids_distclip.errors import NothingSelected, UsageError

#: Words of pybids' queries, with and without their class.
_QUERIES = {
    'query.none': 'none', 'query.any': 'any', 'query.required': 'any', '*': 'any',
    'query.optional': 'optional',
}
_FORM = 'write it like {"t1w": {"run": 1}}.'
_OTHER_KEYS = ('suffix', 'extension', 'datatype', 'regex_search')


def clean_labels(values: str | Path | Iterable[str] | None, *, prefix: str) -> tuple[str, ...] | None:
    """Return labels without prefix, sorted, each once; a value that is a file stands for its lines.

    >>> clean_labels(['sub-02', '01', '02'], prefix='sub')
    ('01', '02')
    """
    if values is None:
        return None
    labels: set[str] = set()
    for value in [values] if isinstance(values, (str, Path)) else values:
        file = Path(value)
        lines = file.read_text(encoding='utf-8').splitlines() if file.is_file() else [str(value)]
        labels.update(line.strip().removeprefix(f'{prefix}-') for line in lines if line.strip())
    return tuple(sorted(labels))


def check_labels(wanted: Sequence[str] | None, *, available: Sequence[str], option: str) -> None:
    """Raise NothingSelected if a label is not there, with those that come close."""
    missing = [label for label in wanted or () if label not in available]
    if not missing:
        return
    near = {hit for label in missing for hit in difflib.get_close_matches(label, available, n=3, cutoff=0.5)}
    there = ', '.join(available[:10]) + (' …' if len(available) > 10 else '')
    hint = f'did you mean {", ".join(sorted(near))}?' if near else f'the dataset has {there or "none"}.'
    what = f'There is no {option} {", ".join(missing)} in this dataset ({len(available)} available).'
    raise NothingSelected(what, cure=hint)


def clean_modalities(values: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return contrast families in BIDS spelling; raises UsageError for a word that is none of them.

    >>> clean_modalities(['t1w', 'FLAIR'])
    ('T1w', 'FLAIR')
    """
    if values is None:
        return None
    return tuple(dict.fromkeys(_modality(value) for value in values))


def read_filters(source: str | Path | Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return entity filters by contrast family, from a BIDS filter file or from its content.

    Values are a label, a list of labels, ``null`` or ``"Query.NONE"`` (the entity is absent), ``"*"`` or
    ``"Query.ANY"`` (it is there), ``"Query.OPTIONAL"`` (no matter). Entities may be named as pybids does
    (``acquisition``) or as in file names (``acq``); ``regex_search`` makes texts regular expressions.

    Raises
    ------
    UsageError
        If the file cannot be read, or has a key that is no contrast family or no entity.
    """
    if source is None:
        return {}
    raw = source if isinstance(source, Mapping) else _from_file(Path(source))
    filters: dict[str, dict[str, Any]] = {}
    for key, entities in raw.items():
        if not isinstance(entities, Mapping):
            raise UsageError(f'The filter {key!r} is not a JSON object.', cure=_FORM)
        filters[_modality(key)] = {_entity(name): _query(value) for name, value in entities.items()}
    return filters


def mismatch(entities: Mapping[str, str], *, wanted: Mapping[str, Any]) -> str:
    """Return why entities do not match a filter, or an empty text."""
    regex = bool(wanted.get('regex_search'))
    for name, rule in wanted.items():
        if name == 'regex_search' or rule == ('query', 'optional'):
            continue
        value = entities.get(name)
        if rule == ('query', 'none'):
            if value is not None:
                return f'{name} is {value}, the filter wants none'
        elif value is None:
            return f'it has no {name}, the filter wants one'
        elif rule != ('query', 'any') and not any(_equal(value, one, regex=regex) for one in rule):
            return f'{name} is {value}, the filter wants {", ".join(map(str, rule))}'
    return ''


def _from_file(path: Path) -> Mapping[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        what = f'The BIDS filter file cannot be read ({error}).'
        raise UsageError(what, file=path, cure='repair the JSON.') from error
    if not isinstance(raw, dict):
        raise UsageError('The BIDS filter file is not a JSON object.', file=path, cure=_FORM)
    return raw


def _modality(word: str) -> str:
    known = {name.lower(): name for name in FAMILIES} | {'t2star': 'T2starw', 'pd': 'PDw'}
    if word.lower() not in known:
        near = [known[n] for n in difflib.get_close_matches(word.lower(), known, n=2)] or FAMILIES
        raise UsageError(f'{word!r} is not a modality of this app.', cure=f'use {", ".join(near)}.')
    return known[word.lower()]


def _entity(name: str) -> str:
    keys = {key: long for long, (key, _) in entity_table().items()}
    names = [*entity_table(), *_OTHER_KEYS]
    if name in names or name in keys:
        return keys.get(name, name)
    near = difflib.get_close_matches(name, names, n=3)
    raise UsageError(f'{name!r} is not a BIDS entity.', cure=f'use {", ".join(near or names[:6])}.')


def _query(value: Any) -> Any:
    """Return a rule: a query word, or the tuple of values allowed."""
    if value is None:
        return 'query', 'none'
    if isinstance(value, str) and value.lower() in _QUERIES:
        return 'query', _QUERIES[value.lower()]
    return tuple(value) if isinstance(value, list) else value if isinstance(value, bool) else (value,)


def _equal(value: str, wanted: Any, *, regex: bool) -> bool:
    if regex and isinstance(wanted, str):
        return re.search(wanted, value) is not None
    if value == str(wanted):
        return True
    # 1 and "01" name the same run.
    return value.isdigit() and str(wanted).isdigit() and int(value) == int(wanted)
