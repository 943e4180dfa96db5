"""The group level: tables and a page over whatever lies in the output folder."""

from __future__ import annotations

from bids_distclip.settings import Settings
from bids_distclip.workflow.pages import connect_pages

#: Columns of ``*_scans.tsv`` that come from ratings.
_RATED = ('distclip_rating', 'distclip_raters')


def run_group(settings: Settings) -> int:
    """Write the group's tables and page and say what was written; return the exit code.

    A folder without a single record is no failure: it says so.
    """
    from bids_distclip.dataset.outputs import annotate_scans
    from bids_distclip.dataset.participants import read_participants
    from bids_distclip.reports.group import build_group, read_review

    out = settings.output_dir
    page = build_group(out, participants=read_participants(settings.bids_dir), site_column=settings.site_column,
                       keep=settings.keep_columns)
    if page is None:
        print(f'bids_distclip: group: nothing to gather; {out} holds no record of any image. '
              'Run the participant level first.', flush=True)
        return 0
    connect_pages(out)
    rated = annotate_scans(out, read_review(out).columns, columns=_RATED)
    told = f' and the ratings of {len(rated)} *_scans.tsv' if rated else ''
    print(f'bids_distclip: group: wrote {page}{told}', flush=True)
    return 0
