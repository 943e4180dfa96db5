"""The parts of a brain whose intensities are compared."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.acquisition.record import Acquisition
from bids_distclip.quality.parts import INTENSITY_PARTS, TISSUE_PARTS, brain_parts
from bids_distclip.quality.tissue import TISSUES, channel
from bids_distclip.volume.image import Volume
from bids_distclip.volume.prepared import Prepared


@pytest.fixture
def image():
    data = np.repeat([[[0.0]], [[0.2]], [[0.5]], [[0.9]]], 6, axis=1).astype(np.float32)
    data = data + np.linspace(0, 0.01, 6, dtype=np.float32)[None, :, None]
    volume = Volume(data, np.eye(4), nib.Nifti1Image(data, np.eye(4)).header)
    brain = data > 0.1
    return Prepared(volume, brain, brain, 1.0, Acquisition(), 'T1w')


def test_without_tissue_the_parts_are_classes_of_brightness(image):
    parts = brain_parts(image)
    assert tuple(parts) == INTENSITY_PARTS
    medians = [np.median(image.volume.data[image.brain][part]) for part in parts.values()]
    assert medians == pytest.approx([0.205, 0.505, 0.905], abs=5e-3)


def test_with_tissue_the_parts_are_tissues_whatever_their_brightness(image):
    tissue = np.zeros(image.brain.shape, np.uint8)
    tissue[1], tissue[2], tissue[3] = channel('WM'), channel('CSF'), channel('CGM')
    parts = brain_parts(replace(image, tissue=tissue))
    found = {name: np.median(image.volume.data[image.brain][part]) for name, part in parts.items()}
    assert tuple(parts) == tuple(TISSUE_PARTS)
    assert found == pytest.approx(
        {'white_matter': 0.205, 'cerebrospinal_fluid': 0.505, 'cortical_gray': 0.905}, abs=1e-3
    )


def test_a_flat_image_without_tissue_has_no_parts(image):
    flat = replace(image, volume=image.volume.with_data(np.ones_like(image.volume.data)))
    assert brain_parts(flat) == {}


def test_classes_have_the_numbers_of_the_standard():
    assert {t.abbreviation: t.index for t in TISSUES} == {
        'BG': 0, 'WM': 2, 'CSF': 3, 'CGM': 8, 'SGM': 9, 'BS': 10, 'CBM': 11,
    }
    assert [channel(t.abbreviation) for t in TISSUES] == list(range(len(TISSUES)))
    with pytest.raises(ValueError, match='cheese'):
        channel('cheese')
