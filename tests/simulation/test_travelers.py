from __future__ import annotations

import json

import nibabel as nib
import pytest

from bids_distclip.errors import CannotWrite, UsageError
from bids_distclip.simulation.travelers import write_travelers


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return write_travelers(tmp_path_factory.mktemp('t') / 'bids', heads=2, scanners=2, spacing=4.0, truth=True)


def test_every_head_visits_every_scanner(dataset):
    names = sorted(p.name for p in dataset.glob('sub-*/ses-*/anat/*.nii.gz'))
    assert len(names) == 2 * 2 * 2
    assert 'sub-01_ses-siteA_T1w.nii.gz' in names


def test_sidecars_tell_the_two_scanners_apart(dataset):
    vendors = {
        json.loads((dataset / f'sub-01/ses-site{s}/anat/sub-01_ses-site{s}_T1w.json').read_text())['Manufacturer']
        for s in 'AB'
    }
    assert len(vendors) == 2


def test_images_of_one_head_share_their_grid(dataset):
    grids = {tuple(nib.load(p).affine.ravel()) for p in dataset.glob('sub-01/ses-*/anat/*.nii.gz')}
    assert len(grids) == 1


def test_the_truth_lies_beside(dataset):
    assert len(list((dataset / 'derivatives/truth').rglob('*_desc-noisefree_*.nii.gz'))) == 8


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(UsageError, match='bold'):
        write_travelers(tmp_path / 'x', suffixes=('bold',))


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / 'mine.txt').write_text('keep')
    with pytest.raises(CannotWrite):
        write_travelers(tmp_path)
