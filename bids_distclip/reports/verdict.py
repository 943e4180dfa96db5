"""What became of one image, in a word and in a sentence: the same on the page of its subject and of the group."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bids_distclip.reports.methods import lookup
from bids_distclip.reports.numbers import number_rows
from bids_distclip.reports.page import page_spec


@dataclass(frozen=True)
class Verdict:
    """``state`` is a key of ``verdicts`` in ``page.yaml``: the status of the record, or ``warned``.

    ``warnings`` are those of the run, ``reasons`` these and what the numbers decide; ``glance`` says in a sentence or
    two how much was changed and what the judged numbers say.
    """

    state: str
    badge: str
    sentence: str
    warnings: tuple[str, ...]
    reasons: tuple[str, ...]
    glance: str


def judge(record: Mapping[str, Any]) -> Verdict:
    """Return what became of an image; a harmonized one with a reason to look again is ``warned``."""
    verdicts = page_spec()['verdicts']
    status = str(record.get('status') or 'failed')
    numbers = number_rows(record)
    warnings = _warnings(record)
    worse = [row['decides'] for row in numbers if row['decides'] and row['judgement'].startswith('worse')]
    reasons = [*warnings, *worse]
    shown = 'warned' if reasons and status == 'harmonized' else status
    return Verdict(
        state=shown if shown in verdicts else 'failed',
        badge=str(verdicts.get(shown, {}).get('badge', status)),
        sentence=_sentence(record, status=status, reasons=reasons),
        warnings=tuple(warnings), reasons=tuple(reasons),
        glance=_glance(numbers) if status in ('harmonized', 'synthetic') else '',
    )


def _sentence(record: Mapping[str, Any], *, status: str, reasons: Sequence[str]) -> str:
    """Return what became of an image in a sentence or two, with the first reason to look again."""
    spec = page_spec()
    kind, name = lookup(record, 'target.kind'), lookup(record, 'target.name') or 'an unnamed target'
    values = {
        '{target}': spec['targets'].get(kind, '{name}').replace('{name}', str(name)),
        '{target_family}': str(lookup(record, 'target.family') or 'target'),
        '{source_family}': str(lookup(record, 'source.family') or 'source'),
        '{reason}': ended(str(record.get('reason') or 'No reason was recorded.')),
    }
    text = spec['verdicts'].get(status, {}).get('text', f'Unknown status {status}. ' + '{reason}')
    done = _fill(text, values)
    if status != 'harmonized' or not reasons:
        return done
    more = f' And {len(reasons) - 1} more.' if len(reasons) > 1 else ''
    return _fill(spec['verdicts']['warned']['text'], {'{done}': done, '{reasons}': reasons[0] + more})


def _glance(numbers: Sequence[Mapping[str, str]]) -> str:
    """Return how much the brain was changed, how many limits were kept, whether MR-CLIP sees the output nearer to its
    target, and which numbers are worse than before.
    """
    rows = {row['name']: row for row in numbers if row['value'] != 'not computed'}
    told = []
    if 'change' in rows:
        told.append(f'The brain was changed by {rows["change"]["value"]} on average (1 is its 99.5th percentile).')
    kept = [row['judgement'] == 'within the limit' for row in numbers if row['limit'] and row['judgement']]
    if kept:
        which = f'All {len(kept)}' if all(kept) else f'{sum(kept)} of {len(kept)}'
        told.append(f'{which} limits for trusting a result are kept.')
    told += [*_likeness(rows.get('target_after')), *_taken(rows.get('output_family'))]
    worse = [f'{row["label"]} ({row["before"]} before, {row["value"]} after)'
             for row in numbers if row['judgement'].startswith('worse') and row['name'] != 'target_after']
    if worse:
        told.append(f'Worse than in the source: {", ".join(worse)}.')
    return ' '.join(told)


def _likeness(row: Mapping[str, str] | None) -> list[str]:
    """Say whether MR-CLIP sees the output nearer to the target than the source."""
    if row is None or not row['before']:
        return []
    words = {'better than the source': 'nearer to the target', 'worse than the source': 'farther from the target'}
    where = words.get(row['judgement'], 'as far from the target as before')
    return [f'To MR-CLIP it looks {where} (likeness {row["before"]} before, {row["value"]} after).']


def _taken(row: Mapping[str, str] | None) -> list[str]:
    """Say that MR-CLIP takes the output for another contrast, which it does of one sound picture in four."""
    if row is None or float(row['value']) >= 0.5:
        return []
    return ['Of the known acquisitions that look most like it most are of another contrast family.']


def _warnings(record: Mapping[str, Any]) -> list[str]:
    found = [str(w) for w in record.get('warnings') or ()]
    conflict = lookup(record, 'source.family_conflict')
    if conflict:
        suffix, family = lookup(record, 'source.suffix'), lookup(record, 'source.family')
        said = conflict if isinstance(conflict, str) else (
            f'The file is named {suffix}, but its acquisition says {family}.'
        )
        found.append(said)
    return list(dict.fromkeys(found))


def ended(text: str) -> str:
    """Return a reason as a sentence: its first letter large, a full stop at its end."""
    return text[:1].upper() + text[1:] + ('' if text.endswith(('.', '!', '?')) else '.')


def _fill(text: str, values: Mapping[str, str]) -> str:
    return re.sub('|'.join(map(re.escape, values)), lambda found: values[found.group()], text)
