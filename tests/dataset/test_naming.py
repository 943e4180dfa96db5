"""BIDS names in and out."""

from __future__ import annotations

import pytest

from bids_distclip.dataset.naming import derivative_keys, entities_of, output_name
from bids_distclip.errors import UsageError


@pytest.mark.parametrize(
    ('source', 'suffix', 'output'),
    [
        ('sub-01/anat/sub-01_T1w.nii.gz', None, 'sub-01/anat/sub-01_desc-harmonized_T1w.nii.gz'),
        ('sub-01/ses-x/anat/sub-01_ses-x_acq-a_rec-norm_run-01_T1w.nii', None,
         'sub-01/ses-x/anat/sub-01_ses-x_acq-a_rec-norm_run-01_desc-harmonized_T1w.nii.gz'),
        ('sub-01/anat/sub-01_run-1_acq-a_T1w.nii.gz', None,
         'sub-01/anat/sub-01_acq-a_run-1_desc-harmonized_T1w.nii.gz'),
        ('sub-01/anat/sub-01_T1w.nii.gz', 'T2w', 'sub-01/anat/sub-01_desc-harmonized_T2w.nii.gz'),
        ('sub-01/anat/sub-01_part-mag_chunk-1_T1w.nii.gz', None,
         'sub-01/anat/sub-01_part-mag_chunk-1_desc-harmonized_T1w.nii.gz'),
    ],
)
def test_outputs_keep_every_entity_in_order_with_desc_last(source, suffix, output):
    assert output_name(entities_of(source), desc='harmonized', suffix=suffix).as_posix() == output


def test_a_sidecar_and_a_mask_get_their_own_endings():
    entities = entities_of('sub-01/anat/sub-01_T1w.nii.gz')
    assert output_name(entities, desc='brain', suffix='mask', extension='.json').name == 'sub-01_desc-brain_mask.json'


@pytest.mark.parametrize('label', ['', 'my label', 'a-b', 'a_b'])
def test_a_label_that_bids_does_not_know_is_refused(label):
    with pytest.raises(UsageError):
        output_name(entities_of('sub-01/anat/sub-01_T1w.nii.gz'), desc=label)


def test_the_keys_of_derivatives_are_recognized():
    assert derivative_keys('sub-01_space-MNI_res-1_desc-brain_T1w.nii.gz') == ('space', 'res', 'desc')
    assert derivative_keys('sub-01_acq-a_T1w.nii.gz') == ()
