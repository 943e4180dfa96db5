"""The main job with the shipped weights, on a phantom that two simulated scanners have seen."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.cli.app import main
from bids_distclip.cli.toolbox import main as toolbox
from bids_distclip.networks.weights import weights_sha256


@pytest.fixture(scope='module')
def travelled(tmp_path_factory):
    """One phantom on two scanners, T1w, harmonized to the default protocol, with all maps."""
    folder = tmp_path_factory.mktemp('travelled')
    words = ['simulate', str(folder / 'raw'), '--heads', '1', '--scanners', '2', '--suffixes', 'T1w', '--spacing', '2']
    assert toolbox(words) == 0
    out = folder / 'out'
    call = [folder / 'raw', out, 'participant', '--device', 'cpu', '--nprocs', '1', '-w', folder / 'work',
            '--output-level', 'full']
    assert main([str(word) for word in call]) == 0
    return folder


def brain_and(folder, site: str, *, harmonized: bool) -> tuple[np.ndarray, np.ndarray]:
    stem = f'sub-01/ses-site{site}/anat/sub-01_ses-site{site}'
    mask = nib.load(folder / 'out' / f'{stem}_desc-brain_mask.nii.gz').get_fdata() > 0
    name = f'out/{stem}_desc-harmonized_T1w.nii.gz' if harmonized else f'raw/{stem}_T1w.nii.gz'
    return mask, nib.load(folder / name).get_fdata()


def test_the_sidecar_names_the_weights_and_the_prompt(travelled):
    stem = 'out/sub-01/ses-siteA/anat/sub-01_ses-siteA_desc-harmonized_T1w.json'
    told = json.loads((travelled / stem).read_text())['Harmonization']
    assert told['WeightsSHA256'] == weights_sha256()
    assert told['EngineDetails']['prompt'].startswith('Contrast T1w')


def test_two_scans_of_one_head_lie_on_one_intensity_scale_afterwards(travelled):
    medians = {}
    for harmonized in (False, True):
        pairs = [brain_and(travelled, site, harmonized=harmonized) for site in 'AB']
        medians[harmonized] = [float(np.median(data[mask])) for mask, data in pairs]
    before, after = (max(m) / min(m) for m in (medians[False], medians[True]))
    assert before > 2
    assert after < 1.25


def test_the_report_shows_both_sessions(travelled):
    page = (travelled / 'out/sub-01.html').read_text()
    assert 'siteA' in page
    assert 'siteB' in page


def test_all_maps_are_there_and_validate(travelled, complaints):
    names = {path.name for path in (travelled / 'out/sub-01/ses-siteA/anat').iterdir()}
    stem = 'sub-01_ses-siteA_desc'
    assert {f'{stem}-harmonized_T1w.nii.gz', f'{stem}-brain_mask.nii.gz', f'{stem}-harmonized_uncertainty.nii.gz',
            f'{stem}-tissue_dseg.nii.gz', f'{stem}-tissue_dseg.tsv'} <= names
    assert complaints(travelled / 'out') == []
