"""A BIDS dataset of traveling heads: every head on every virtual scanner, with the noise-free truth beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_distclip.errors import CannotWrite, UsageError
from bids_distclip.simulation.anatomy import read_anatomies
from bids_distclip.simulation.heads import Head
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.protocol import Protocol, draw_protocol, scanner_rows
from bids_distclip.simulation.volumes import simulate_volumes

#: Stored intensity of a simulated 1.0: different per scanner, as receiver gains are.
GAINS = (800.0, 2400.0, 350.0, 12000.0)


def write_travelers(
    out_dir: Path,
    *,
    heads: int = 3,
    scanners: int = 2,
    suffixes: Sequence[str] = ('T1w', 'T2w'),
    seed: int = 0,
    labels_dir: Path | None = None,
    spacing: float = 1.0,
    truth: bool = False,
) -> Path:
    """Write ``heads`` people, each scanned on ``scanners`` virtual scanners (one session each), and return the folder.

    Anatomy comes from the label maps below ``labels_dir``, or from geometric phantoms. With ``truth`` the noise-free
    images go to ``derivatives/truth``.

    Raises
    ------
    UsageError
        If a suffix cannot be simulated.
    CannotWrite
        If ``out_dir`` exists and is not empty.
    """
    out_dir = Path(out_dir)
    known = sorted({row['family'] for row in scanner_rows()})
    for suffix in suffixes:
        if suffix not in known:
            raise UsageError(f'Cannot simulate {suffix}', cure=f'Choose from {", ".join(known)}.')
    if out_dir.exists() and any(out_dir.iterdir()):
        raise CannotWrite('The folder for the simulated dataset is not empty', file=out_dir, cure='Name a new folder.')
    anatomies = read_anatomies(labels_dir) if labels_dir else [phantom(seed=seed + i) for i in range(heads)]
    fleet = _fleet(scanners, suffixes, seed)
    _describe(out_dir, heads, fleet)
    size = (round(176 / spacing), round(224 / spacing), round(208 / spacing))
    for index in range(heads):
        head = Head(anatomies[index % len(anatomies)], seed=seed + 1000 + index, deform_mm=2.0)
        flat = [p for row in fleet for p in row]
        volumes = simulate_volumes(head, flat, spacing=(spacing,) * 3, size=size, seed=seed + index)
        for number, (protocol, volume) in enumerate(zip(flat, volumes, strict=False)):
            site = number // len(suffixes)
            gain = GAINS[site % len(GAINS)]
            stem = f'sub-{index + 1:02d}/ses-{_site_name(site)}/anat/sub-{index + 1:02d}_ses-{_site_name(site)}'
            _write_image(out_dir / f'{stem}_{protocol.family}.nii.gz', volume.image * gain, volume.affine)
            sidecar = json.dumps(dict(protocol.sidecar), indent=2) + '\n'
            (out_dir / f'{stem}_{protocol.family}.json').write_text(sidecar, encoding='utf-8')
            if truth:
                folder = out_dir / 'derivatives' / 'truth'
                _write_image(
                    folder / f'{stem}_desc-noisefree_{protocol.family}.nii.gz',
                    volume.truth * gain,
                    volume.affine,
                )
    return out_dir


def _fleet(scanners: int, suffixes: Sequence[str], seed: int) -> list[list[Protocol]]:
    """Return one protocol per scanner and suffix; a scanner's share vendor and field strength where they can."""
    rng = np.random.default_rng(seed)
    sites = [('Siemens', 3), ('Philips', 1.5), ('GE', 3), ('Siemens', 1.5), ('Philips', 3)]
    fleet = []
    for index in range(scanners):
        vendor, field = sites[index % len(sites)]
        row = []
        for suffix in suffixes:
            own = [
                r for r in scanner_rows() if r['family'] == suffix and r['Manufacturer'] == vendor and r['B0'] == field
            ]
            own = own or [r for r in scanner_rows() if r['family'] == suffix and r['Manufacturer'] == vendor]
            own = own or [r for r in scanner_rows() if r['family'] == suffix]
            row.append(draw_protocol(rng, family=suffix, scanner=own[0]['name']))
        fleet.append(row)
    return fleet


def _site_name(site: int) -> str:
    return f'site{chr(ord("A") + site % 26)}'


def _describe(out_dir: Path, heads: int, fleet: Sequence[Sequence[Protocol]]) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    description = {
        'Name': 'Simulated traveling heads',
        'BIDSVersion': '1.10.0',
        'DatasetType': 'raw',
        'License': 'CC0',
        'Authors': ['bids_distclip simulator'],
    }
    (out_dir / 'dataset_description.json').write_text(json.dumps(description, indent=2) + '\n', encoding='utf-8')
    lines = [f'{_site_name(i)}: ' + ', '.join(p.scanner for p in row) for i, row in enumerate(fleet)]
    readme = 'Simulated heads, each imaged by every virtual scanner. No person is behind these images.\n\n'
    (out_dir / 'README').write_text(readme + '\n'.join(lines) + '\n', encoding='utf-8')
    rows = ['participant_id', *(f'sub-{i + 1:02d}' for i in range(heads))]
    (out_dir / 'participants.tsv').write_text('\n'.join(rows) + '\n', encoding='utf-8')
    ignore = 'derivatives\n'
    (out_dir / '.bidsignore').write_text(ignore, encoding='utf-8')


def _write_image(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.clip(np.round(data), 0, 32767).astype(np.int16)
    image = nib.Nifti1Image(stored, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, path)
