"""What tests of launchers share."""

from __future__ import annotations

import pytest


@pytest.fixture
def stand_in(tmp_path):
    """In place of the app a program in ``bin/`` that prints its words, one a line; beside it an empty ``data/``."""
    (tmp_path / 'data').mkdir()
    (tmp_path / 'bin').mkdir()
    path = tmp_path / 'bin' / 'bids_distclip'
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return path
