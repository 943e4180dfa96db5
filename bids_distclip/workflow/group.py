"""The group level: tables and a page over whatever lies in the output folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bids_distclip.settings import Settings
from bids_distclip.workflow.pages import connect_pages

if TYPE_CHECKING:
    from bids_distclip.reports.cohort import Cohort

#: Columns of ``*_scans.tsv`` that come from ratings.
_RATED = ('distclip_rating', 'distclip_raters')


def run_group(settings: Settings) -> int:
    """Write the group's tables and page and say what was written; return the exit code.

    A folder without a single record is no failure: it says so.
    """
    from bids_distclip.dataset.outputs import annotate_scans
    from bids_distclip.dataset.participants import read_participants
    from bids_distclip.reports.cohort import gather_cohort, write_tables

    out = settings.output_dir
    cohort = gather_cohort(out, participants=read_participants(settings.bids_dir), site_column=settings.site_column,
                           keep=settings.keep_columns)
    if cohort is None:
        print(f'bids_distclip: group: nothing to gather; {out} holds no record of any image. '
              'Run the participant level first.', flush=True)
        return 0
    write_tables(out, cohort)
    rated = annotate_scans(out, cohort.review.columns, columns=_RATED)
    told = f' and the ratings of {len(rated)} *_scans.tsv' if rated else ''
    print(f'bids_distclip: group: wrote {_page(out, cohort) or out / "group.json"}{told}', flush=True)
    connect_pages(out)
    return 0


def _page(output_dir: Path, cohort: Cohort) -> Path | None:
    """Write the group's page; one that cannot be made is told, and never fails a run whose tables are there."""
    from bids_distclip.reports.group import write_page

    try:
        return write_page(output_dir, cohort)
    except Exception as error:  # noqa: BLE001 - by contract a report never fails a run
        print(f'bids_distclip: group: the page could not be made ({type(error).__name__}: {error}); '
              'its tables are there.', file=sys.stderr, flush=True)
        return None
