"""The numbers of one image as rows of its page: beside the source's own, judged where something decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_distclip.quality.metrics import metric_table
from bids_distclip.quality.trust import MEASURED, Limit, limits
from bids_distclip.reports.methods import lookup
from bids_distclip.reports.table import printed

#: A number that changes by less than this share is as in the source.
SAME = 0.05


def number_rows(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one row per number of a record: name, label, values, unit, judgement, limit, what is good, meaning.

    A number is judged by the limit that was measured for the engine (:mod:`bids_distclip.quality.trust`), or by
    comparison with the source where it is known which way is better; what neither decides has no judgement.
    """
    known = _limits(record)
    rows = []
    for name, entry in (record.get('metrics') or {}).items():
        given = entry if isinstance(entry, Mapping) else {'value': entry}
        full = {**metric_table().get(name, {}), **given}
        limit = known.get(name)
        rows.append({
            'name': name,
            'label': str(full.get('label') or name),
            'value': _number(full.get('value')) or 'not computed',
            'before': _number(full.get('before')),
            'unit': str(full.get('unit') or ''),
            'meaning': str(full.get('meaning') or ''),
            'good': str(full.get('good') or ''),
            'limit': _edge(limit) if limit else '',
            'judgement': _judge(full, limit=limit),
            'decides': str(full.get('decides') or ''),
        })
    return rows


def _limits(record: Mapping[str, Any]) -> dict[str, Limit]:
    """Return the limits that the engine of a record is held against, by number."""
    if lookup(record, 'engine.engine') not in MEASURED:
        return {}
    source, target = lookup(record, 'source.family'), lookup(record, 'target.family')
    mode = 'synthesis' if source and target and source != target else 'residual'
    return {limit.number: limit for limit in limits() if mode in limit.modes}


def _edge(limit: Limit) -> str:
    return f'at least {limit.least:g}' if limit.least is not None else f'at most {limit.most:g}'


def _judge(entry: Mapping[str, Any], *, limit: Limit | None) -> str:
    """Say what a limit or a comparison with the source decides; nothing where only an invented limit could."""
    value, before = entry.get('value'), entry.get('before')
    if not isinstance(value, (int, float)):
        return ''
    if limit is not None:
        return 'past the limit' if limit.broken(value) else 'within the limit'
    if entry.get('better') not in ('lower', 'higher') or not isinstance(before, (int, float)):
        return ''
    # Of a likeness what is missing to 1 counts: 0.97 is twice as far as 0.985.
    size, part = (1 - before, 0.1) if entry.get('unit') == 'cosine' else (before, SAME)
    if abs(value - before) <= part * abs(size):
        return 'as in the source'
    return 'better than the source' if (value < before) == (entry['better'] == 'lower') else 'worse than the source'


def _number(value: Any) -> str:
    """Print a number with three digits that count, 1 as 1.00."""
    return f'{value:#.3g}'.removesuffix('.') if isinstance(value, float) else printed(value, digits=3)
