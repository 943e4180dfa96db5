"""What the tests of whole runs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bids_distclip.dataset.validate import check_dataset, find_validator


@pytest.fixture(scope='session')
def complaints() -> Callable[[Path], list[str]]:
    """Return a function that returns all errors the official validator finds in a dataset; none where it is missing."""

    def of(root: Path) -> list[str]:
        if find_validator() is None:
            return []
        found = check_dataset(root)
        assert found.ran
        return [issue.line() for issue in (*found.errors, *found.elsewhere)]

    return of
