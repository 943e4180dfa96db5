"""A small head, its records on disk, and a real browser."""

from __future__ import annotations

import hashlib
import shutil

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.harmonizers.base import Target
from bids_distclip.quality.guard import Guard, find_places
from bids_distclip.quality.metrics import image_metrics
from bids_distclip.quality.record import ImageRecord, record_path, write_record
from bids_distclip.reports.figures import draw_figures
from bids_distclip.reports.findings import draw_findings
from bids_distclip.volume.image import Volume
from bids_distclip.volume.prepared import Prepared


def make_head(*, axes: str = 'RAS', spacing=(2.0, 2.0, 4.0), scale: float = 800.0) -> Prepared:
    """Return an ellipsoid head of 128 x 160 x 144 mm with a bright mark on its left, front and top."""
    shape = [round(side / s) for side, s in zip((160, 200, 180), spacing, strict=True)]
    axis = [(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)]
    grid = np.stack(np.meshgrid(*axis, indexing='ij'))
    radius = np.sqrt(sum(((grid[a] - c) / r) ** 2 for a, c, r in ((0, 80, 64), (1, 100, 80), (2, 90, 72))))
    head, brain = radius < 1, radius < 0.8
    data = np.where(brain, 500.0, np.where(head, 250.0, 0.0)) + np.where(radius < 0.3, 300.0, 0)
    mark = (np.abs(grid[0] - 55) < 8) & (np.abs(grid[1] - 130) < 8) & (np.abs(grid[2] - 110) < 8)
    data = ndimage.gaussian_filter(data + 300.0 * mark, 0.6)
    data += head * np.random.default_rng(0).normal(0, 8, shape)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -80, -100, -90
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt('RAS'), nib.orientations.axcodes2ornt(axes)
    )
    affine = affine @ nib.orientations.inv_ornt_aff(turn, shape)
    data, brain, head = (nib.apply_orientation(d, turn) for d in (data.astype(np.float32), brain, head))
    volume = Volume(data, affine, nib.Nifti1Image(data, affine).header)
    acquisition = Acquisition(
        manufacturer='Siemens', echo_time=0.003, repetition_time=2.3, suffix='T1w',
        provenance={'manufacturer': 'sidecar:sub-01_T1w.json', 'echo_time': 'user'},
        notes=('RepetitionTime of 2.3 may be the inversion cycle.',),
    )
    return Prepared(volume, brain, head, scale, acquisition, 'T1w')


@pytest.fixture(scope='session')
def head() -> Prepared:
    return make_head()


@pytest.fixture(scope='session')
def derivative(tmp_path_factory, head):
    """An output folder with the records of three subjects: harmonized twice, skipped, failed."""
    out = tmp_path_factory.mktemp('derivative')
    name = 'sub-99/anat/sub-99_T1w.nii.gz'
    target = Target('image', name, 'T1w', head.acquisition, make_head(scale=600.0), 600.0)
    aim = {'kind': 'image', 'name': name, 'family': 'T1w', 'acquisition': target.acquisition.to_dict()}
    for subject, gain in (('01', 0.6), ('02', 0.7), ('03', 0.8)):
        stem = f'sub-{subject}_T1w'
        harmonized = head.volume.data * np.float32(gain)
        folder = out / f'sub-{subject}' / 'figures'
        spread = harmonized * 0.1
        figures = draw_figures(head, harmonized, target, uncertainty=spread, out_dir=folder, stem=stem)
        guard = Guard(np.zeros_like(harmonized), 0.0, 0.0, None, None)
        guard.map[40, 60, 20], guard.map[20, 50, 30] = -0.6, 0.4
        findings = draw_findings(head, harmonized, target, structure=guard.map, out_dir=folder, stem=stem,
                                 findings=find_places(guard, affine=head.volume.affine))
        record = ImageRecord(
            source={'path': f'sub-{subject}/anat/{stem}.nii.gz', 'family': 'T1w', 'sha256': 'a' * 64},
            status='harmonized',
            target=aim,
            acquisition=head.acquisition.to_dict(),
            preparation={'bias_correction': 'n4', 'brain_mask': 'template'},
            engine={'engine': 'distclip', 'guidance': 'image', 'weights_sha256': 'b' * 64},
            metrics=image_metrics(head, harmonized, target),
            figures=figures,
            findings=tuple(findings),
            output=f'sub-{subject}/anat/sub-{subject}_desc-harmonized_T1w.nii.gz',
            warnings=('The slices are 4 mm thick.',),
            versions={'bids_distclip': '0.1.0', 'nibabel': '5'},
        )
        write_record(record, path=record_path(out, subject, stem))
    for suffix, status in (('FLAIR', 'skipped'), ('T2w', 'failed')):
        record = ImageRecord(
            source={'path': f'sub-01/anat/sub-01_{suffix}.nii.gz', 'family': suffix},
            status=status, reason=f'The {suffix} image is no good.', cure='Take another.',
        )
        write_record(record, path=record_path(out, '01', f'sub-01_{suffix}'))
    return out


@pytest.fixture(scope='session')
def start_chromium():
    """A function that starts a headless Chromium with some flags, or a skip that says what is missing."""
    api = pytest.importorskip('playwright.sync_api', reason='the Python package playwright is not installed')
    found = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not found:
        pytest.skip('no Chromium on the PATH (Debian: apt-get install chromium)')
    usual = ['--headless', '--no-sandbox', '--disable-background-networking']
    with api.sync_playwright() as play:
        yield lambda *flags: play.chromium.launch(executable_path=found, args=[*usual, *flags])


@pytest.fixture(scope='session')
def browser(start_chromium):
    """A headless Chromium."""
    chromium = start_chromium('--disable-gpu')
    yield chromium
    chromium.close()


@pytest.fixture
def study(tmp_path, head):
    """A dataset, an output folder and the record of one image, as a run leaves them, with its pictures."""
    bids, out = tmp_path / 'bids', tmp_path / 'out'
    paths = {'source': bids / 'sub-01/anat/sub-01_T1w.nii.gz',
             'harmonized': out / 'sub-01/anat/sub-01_desc-harmonized_T1w.nii.gz',
             'mask': out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz',
             'spread': out / 'sub-01/anat/sub-01_desc-harmonized_uncertainty.nii.gz'}
    arrays = {'source': head.volume.data, 'harmonized': head.volume.data * np.float32(0.6),
              'mask': head.brain.astype(np.uint8), 'spread': head.volume.data * np.float32(0.6 * 0.1)}
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(arrays[name], head.volume.affine), path)
    target = Target('protocol', 'siemens-prisma-mprage', 'T1w', head.acquisition, None, 600.0)
    figures = draw_figures(head, arrays['harmonized'], target, uncertainty=arrays['spread'], stem='sub-01_T1w',
                           out_dir=out / 'sub-01' / 'figures')
    record = ImageRecord(
        source={'path': 'sub-01/anat/sub-01_T1w.nii.gz', 'family': 'T1w', 'suffix': 'T1w',
                'sha256': hashlib.sha256(paths['source'].read_bytes()).hexdigest()},
        status='harmonized', target={'kind': 'protocol', 'name': target.name, 'family': 'T1w'}, figures=figures,
        preparation={'bias_correction': 'n4'}, output='sub-01/anat/sub-01_desc-harmonized_T1w.nii.gz',
    )
    return bids, out, record.to_dict()
