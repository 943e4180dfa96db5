"""What a dataset says of its people: the rows of ``participants.tsv``."""

from __future__ import annotations

import csv
from pathlib import Path


def read_participants(bids_dir: Path) -> dict[str, dict[str, str]]:
    """Return the rows of ``participants.tsv`` by person (``sub-01``); nothing where there is no such table."""
    try:
        with (bids_dir / 'participants.tsv').open(encoding='utf-8-sig', newline='') as stream:
            rows = list(csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    # Rows that are too long or too short have None among their keys or values.
    return {
        row['participant_id']: {k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
        for row in rows if row.get('participant_id')
    }
