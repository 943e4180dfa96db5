"""Pages as a run makes them: nothing planted in a dataset runs in them, and no page that fails stops anything."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bids_distclip.cli.app import main

EVIL = '\'"><script>alert(1)<img src=x onerror=alert(2)>'
FAST = ('--engine', 'identity', '--bias-correction', 'none', '--skip-bids-validation', '--device', 'cpu')
KEYS = ('Manufacturer', 'ManufacturersModelName', 'MagneticFieldStrength', 'MRAcquisitionType', 'SeriesDescription',
        'ProtocolName', 'ScanningSequence', 'SequenceVariant', 'EchoTime', 'RepetitionTime', 'InversionTime',
        'FlipAngle', 'SliceThickness', 'EchoTrainLength', 'ContrastBolusIngredient', EVIL)


def app(*words: object) -> int:
    return main([*map(str, words), *FAST])


def is_clean(page: Path) -> bool:
    html = page.read_text(encoding='utf-8')
    return html.count('<script') == 1 and '<script>alert' not in html and not re.search(r'<img src=x', html)


def test_scripts_planted_in_sidecars_names_and_participants_stay_text(make_dataset, make_scan, tmp_path):
    data, out = make_dataset(0), tmp_path / 'out'
    path = make_scan(data, subject='01', suffix='T1w', extra=f'acq-{EVIL}')
    for sidecar in path.parent.glob('*.json'):
        sidecar.write_text(json.dumps(dict.fromkeys(KEYS, EVIL)))
    (data / 'participants.tsv').write_text(f'participant_id\tage\t{EVIL}\nsub-01\t{EVIL}\t{EVIL}\n')
    app(data, out, 'participant', 'group')
    pages = [out / 'sub-01.html', out / 'group.html']
    assert all(is_clean(page) for page in pages)
    assert 'href="group.html"' in pages[0].read_text()
    assert 'acq-' in pages[0].read_text()
    assert '&lt;script&gt;alert' in pages[0].read_text()


def test_a_page_that_cannot_be_made_fails_no_run(make_dataset, tmp_path):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'
    (out / 'sub-01.html' / 'in the way').mkdir(parents=True)
    assert app(data, out, 'participant') == 0
    assert 'sub-01_desc-harmonized_T1w.nii.gz' in {path.name for path in out.rglob('*.nii.gz')}
