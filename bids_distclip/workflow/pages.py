"""The pages of people, from the files on disk alone, several at once."""

from __future__ import annotations

import logging
import multiprocessing
import re
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager
from pathlib import Path

from bids_distclip.dataset.atomic import locked
from bids_distclip.dataset.description import write_ignore
from bids_distclip.errors import DistclipError, UsageError
from bids_distclip.settings import Settings

log = logging.getLogger('bids_distclip')

#: Seconds to wait for another job that makes the page of the same person, in 3-D and of many images if it must be.
_PATIENCE = 900


def make_page(output_dir: Path, *, subject: str, bids_dir: Path | None = None) -> Path:
    """Make the page of one person from the records on disk and return it; with ``bids_dir`` also in 3-D.

    A record that cannot be read stands in the page as an image that failed.

    Raises
    ------
    bids_distclip.errors.TryAgain
        If another process makes this page and does not come to an end.
    """
    from bids_distclip.quality.record import find_records, read_record
    from bids_distclip.reports.participant import build_page

    # Read within the lock: of two jobs with sessions of one person, whichever makes the page last knows both.
    with _page_lock(output_dir, subject):
        records = []
        for path in find_records(output_dir, subject=subject):
            try:
                records.append(read_record(path).to_dict())
            except (OSError, ValueError) as error:
                records.append({
                    'status': 'failed', 'source': {'path': path.name}, 'reason': f'Its record cannot be read: {error}.',
                    'cure': 'run the participant level for this person again.',
                })
        return build_page(output_dir, subject, records, bids_dir=bids_dir)


def is_stale(output_dir: Path, *, subject: str) -> bool:
    """Tell whether the page of one person is missing, or not newer than every record it tells of."""
    from bids_distclip.quality.record import find_records

    page = output_dir / f'sub-{subject}.html'
    if not page.is_file():
        return True
    made = page.stat().st_mtime_ns
    return any(path.stat().st_mtime_ns >= made for path in find_records(output_dir, subject=subject))


def make_pages(output_dir: Path, *, people: Sequence[str], workers: int, bids_dir: Path | None = None) -> int:
    """Make the pages of some people, ``workers`` at once, and return 1 if one could not be made, else 0.

    With ``bids_dir`` they show each brain in 3-D as well.
    """
    failures = 0
    context = multiprocessing.get_context('forkserver')
    with ProcessPoolExecutor(max(1, min(workers, len(people))), mp_context=context) as pool:
        todo = {pool.submit(make_page, output_dir, subject=subject, bids_dir=bids_dir): subject for subject in people}
        for done in as_completed(todo):
            error = done.exception()
            if error is None:
                print(f'wrote {done.result()}', flush=True)
                continue
            failures += 1
            told = f'bids_distclip: the page of sub-{todo[done]} could not be made ({error}).'
            print(told, file=sys.stderr, flush=True)
    return int(failures > 0)


def connect_pages(output_dir: Path, *, people: Collection[str] | None = None) -> None:
    """Make the pages of some people, or of all, lead to those that are there by now.

    A page that another process holds for long is left as it is, and told.
    """
    from bids_distclip.reports.people import connect

    if people is None:
        people = [path.stem.removeprefix('sub-') for path in output_dir.glob('sub-*.html')]
    for subject in sorted(people):
        try:
            with _page_lock(output_dir, subject):
                connect(output_dir, people=[subject])
        except DistclipError as error:
            log.warning('The links on the page of sub-%s were left as they are: %s', subject, error)


def _page_lock(output_dir: Path, subject: str) -> AbstractContextManager[None]:
    """Return the lock of the page of one person, which whoever reads and then writes it holds."""
    label = re.sub('[^A-Za-z0-9+]', '', subject.removeprefix('sub-')) or 'unknown'
    return locked(output_dir, name=f'page_sub-{label}', timeout=_PATIENCE)


def solid_from(settings: Settings) -> Path | None:
    """Return the dataset whose images the pages show in 3-D beside the harmonized ones; None without a viewer."""
    return settings.bids_dir if settings.report_viewer != 'none' else None


def check_viewer(settings: Settings) -> None:
    """Raise UsageError if a viewer was asked for that is not installed, or for pages without pictures."""
    if settings.report_viewer != 'none':
        if settings.report_figures == 'none':
            raise UsageError(f'--report-viewer {settings.report_viewer} goes with pictures, and there are to be none.',
                             cure='leave out --report-viewer or --report-figures none.')
        from bids_distclip.reports.niivue import read_library

        read_library()


def place_viewer(settings: Settings) -> None:
    """Put the viewer beside the pages, if one was asked for."""
    if settings.report_viewer != 'none':
        from bids_distclip.reports.niivue import write_library

        write_library(settings.output_dir)
        write_ignore(settings.output_dir)
