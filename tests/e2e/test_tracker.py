"""nipoppy's tracker, tried on what a run writes: each of its paths finds something."""

from __future__ import annotations

import json
from pathlib import Path

from bids_distclip.cli.app import main

SPEC = Path(__file__).parents[2] / 'bids_app_spec' / 'nipoppy'
FAST = ('--engine', 'identity', '--bias-correction', 'none', '--skip-bids-validation', '--device', 'cpu',
        '--nprocs', '1', '--report-figures', 'none')


def found(out: Path, *, subject: str, session: str) -> list[int]:
    """Return how many files each path of the tracker finds, as nipoppy looks for them."""
    tracker = json.loads((SPEC / 'tracker.json').read_text())
    words = {'[[NIPOPPY_BIDS_PARTICIPANT_ID]]': f'sub-{subject}', '[[NIPOPPY_BIDS_SESSION_ID]]': f'ses-{session}'}
    counts = []
    for path in (*tracker['PATHS'], tracker['PARTICIPANT_SESSION_DIR']):
        for word, value in words.items():
            path = path.replace(word, value)
        counts.append(len(list(out.glob(path))))
    return counts


def test_the_tracker_finds_every_session_that_was_harmonized_and_no_other(make_root, make_scan, tmp_path):
    data, out = make_root(tmp_path / 'data'), tmp_path / 'out'
    for session in ('1', '10'):
        make_scan(data, subject='01', suffix='T1w', session=session, extra='run-1')
    assert main([str(word) for word in (data, out, 'participant', '-w', tmp_path / 'work', *FAST)]) == 0
    assert found(out, subject='01', session='1') == [1, 1, 1, 1]
    assert found(out, subject='01', session='10') == [1, 1, 1, 1]
    assert 0 in found(out, subject='01', session='2')

    # As a run names an image whose result it could not trust.
    folder = out / 'sub-01' / 'ses-10' / 'anat'
    for path in list(folder.glob('*_desc-harmonized_*')):
        path.rename(folder / path.name.replace('desc-harmonized', 'desc-untouched'))
    assert found(out, subject='01', session='10')[:2] == [0, 0]
