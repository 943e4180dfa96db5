"""The pages of people, from the files on disk alone, several at once."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path


def make_page(output_dir: Path, *, subject: str) -> Path:
    """Make the page of one person from the records on disk and return it.

    A record that cannot be read stands in the page as an image that failed.
    """
    from bids_distclip.quality.record import find_records, read_record
    from bids_distclip.reports.participant import build_page

    records = []
    for path in find_records(output_dir, subject=subject):
        try:
            records.append(read_record(path).to_dict())
        except (OSError, ValueError) as error:
            records.append({
                'status': 'failed', 'source': {'path': path.name}, 'reason': f'Its record cannot be read: {error}.',
                'cure': 'run the participant level for this person again.',
            })
    return build_page(output_dir, subject, records)


def make_pages(output_dir: Path, *, people: Sequence[str], workers: int) -> int:
    """Make the pages of some people, ``workers`` at once, and return 1 if one could not be made, else 0."""
    failures = 0
    context = multiprocessing.get_context('forkserver')
    with ProcessPoolExecutor(max(1, min(workers, len(people))), mp_context=context) as pool:
        todo = {pool.submit(make_page, output_dir, subject=subject): subject for subject in people}
        for done in as_completed(todo):
            error = done.exception()
            if error is None:
                print(f'wrote {done.result()}', flush=True)
                continue
            failures += 1
            told = f'bids_distclip: the page of sub-{todo[done]} could not be made ({error}).'
            print(told, file=sys.stderr, flush=True)
    return int(failures > 0)
