"""Tables as files: cells that cannot break a row, whatever stands in them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def cell(value: Any) -> str:
    """Return a value as the cell of a table: numbers short, no tabs or line breaks, ``n/a`` for what is not known.

    >>> cell(0.1234567), cell(float('nan')), cell('a\\tb')
    ('0.12346', 'n/a', 'a b')
    """
    if value is None or value == '' or value != value:
        return 'n/a'
    if isinstance(value, (list, tuple)):
        return ', '.join(map(cell, value)) or 'n/a'
    return f'{value:.5g}' if isinstance(value, float) else re.sub(r'\s+', ' ', str(value))


def tsv(columns: Sequence[str], *, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of some columns as tab-separated text with a header."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter='\t', lineterminator='\n', quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow([cell(column) for column in columns])
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    return stream.getvalue()


def plain(value: Any) -> Any:
    """Return the value of a table as JSON knows it: NaN and infinities become null, lists stay."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def printed(value: Any, *, digits: int = 6) -> str:
    """Print a value for people: numbers short, lists with commas, nothing for what is not known."""
    if value is None or value == () or value == []:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.{digits}g}'
    if isinstance(value, (list, tuple)):
        return ', '.join(printed(item, digits=digits) for item in value)
    if isinstance(value, Mapping):
        return ', '.join(f'{key} {printed(item, digits=digits)}' for key, item in value.items())
    return str(value)
