"""The methods text of a paper, written from the records of images: only sentences the records bear out."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml


@functools.cache
def _spec() -> dict[str, Any]:
    return yaml.safe_load((files('bids_distclip.reports') / 'methods.yaml').read_text(encoding='utf-8'))


def methods_text(records: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the sentences and the references for some images, in reading order, each once.

    Sentences, their conditions and the references are those of ``methods.yaml``; one that holds of some images says of
    how many. Skipped and failed images say nothing. Values are filled in as they stand: a page must escape them.
    """
    done = [r for r in records if r.get('status') in ('harmonized', 'synthetic')]
    said: dict[str, list[Mapping[str, Any]]] = {}
    cited = set()
    for rule in _spec()['sentences']:
        for record in done:
            if all(_holds(record, path=path, wanted=wanted) for path, wanted in rule['when'].items()):
                said.setdefault(_fill(rule['text'], record=record), []).append(record)
                cited.update(rule.get('cite', ()))
    references = [text for key, text in _spec()['references'].items() if key in cited]
    return [_of_some(text, own, done) for text, own in said.items()], sorted(references, key=str.casefold)


def _of_some(text: str, own: Sequence[Mapping[str, Any]], done: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence that does not hold of all images with how many it holds of, and of which contrast families."""
    if len(own) == len(done):
        return text
    families = sorted({str(lookup(record, 'source.family') or 'unknown') for record in own})
    return f'{text.removesuffix(".")} ({len(own)} of {len(done)} images: {", ".join(families)}).'


def lookup(record: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or None.

    >>> lookup({'engine': {'mode': 'residual'}}, 'engine.mode')
    'residual'
    """
    value: Any = record
    for name in path.split('.'):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _holds(record: Mapping[str, Any], *, path: str, wanted: Any) -> bool:
    value = lookup(record, path)
    if wanted == '*':
        return bool(value)
    if wanted == '':
        return not value
    return value in wanted if isinstance(wanted, list) else value == wanted


def _fill(text: str, *, record: Mapping[str, Any]) -> str:
    """Replace ``{a.b}``, or ``{a.b:12}`` for its first 12 characters, in one pass; braces in values stay."""
    parts = text.split('{')
    filled = [parts[0]]
    for part in parts[1:]:
        field, _, rest = part.partition('}')
        path, _, length = field.partition(':')
        value = lookup(record, path)
        text = 'not recorded' if value in (None, '') else str(value)
        filled.append(text[: int(length) if length else None] + rest)
    return ''.join(filled)
