from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.volume.template import load_template

_STEM = 'tpl-MNI152NLin2009cAsym'


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'elsewhere'))
    (tmp_path / _STEM).mkdir()
    return tmp_path


def _install(home, resolution):
    mask = np.eye(9)[None] + np.zeros((9, 9, 9))
    for label, data in (('T1w', np.full((9, 9, 9), 50)), ('desc-brain_mask', mask)):
        image = nib.Nifti1Image(data.astype(np.int16), np.eye(4))
        nib.save(image, home / _STEM / f'{_STEM}_res-{resolution}_{label}.nii.gz')


def test_a_template_on_disk_is_taken_and_stripped_by_its_mask(home):
    _install(home, '01')
    template = load_template(str(home))
    assert template.name == f'{_STEM}_res-01'
    np.testing.assert_array_equal(template.t1 > 0, template.brain)


def test_empty_stubs_of_templateflow_are_not_taken_for_a_template(home):
    for label in ('T1w', 'desc-brain_mask'):
        (home / _STEM / f'{_STEM}_res-02_{label}.nii.gz').touch()
    template = load_template(str(home))
    assert 'Sym' in template.name
    litres = template.brain.sum() * abs(np.linalg.det(template.affine[:3, :3])) * 1e-6
    assert 1.7 < litres < 2.0
    assert (template.t1[~template.brain] == 0).all()
