from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_distclip.benchmark.cases import head_cases
from bids_distclip.benchmark.lesions import (
    COLUMNS,
    Patient,
    contrast,
    find_lesions,
    measure_lesions,
    real_patients,
    simulated_patients,
    summarize,
    table,
)
from bids_distclip.errors import NoInput
from bids_distclip.harmonizers.base import Harmonized
from bids_distclip.harmonizers.registry import get_harmonizer
from bids_distclip.quality.tissue import channel
from bids_distclip.simulation.lesions import LESIONS, UNSEEN
from bids_distclip.simulation.phantom import phantom

SIZE = (120, 144, 96)


class Answer:
    """Answers with what it makes of a case's truth."""

    name = 'answer'

    def __init__(self, case, make=lambda truth, lesion: truth):
        self.data = make(case.truth.copy(), case.lesion)

    def harmonize(self, source, target, *, synthesize=False):
        return Harmonized(self.data * target.scale)


@pytest.fixture(scope='module')
def case():
    pair = (phantom(seed=1), phantom(seed=2))
    cases = head_cases(pair, [5, 3, 1], size=SIZE, every=8, lesion_kinds=('cyst', 'tumour'))
    return next(c for c in cases if c.pair == 'T2w→T2w' and list(find_lesions(c)))


def painted_over(truth, lesion):
    for k in range(truth.shape[-1]):
        truth[..., k][lesion[..., k] > 0.05] = np.median(truth[..., k][lesion[..., k] < 0.01])
    return truth


def test_a_lesion_is_compared_with_white_matter_around_it_that_is_sound(case):
    for core, around in find_lesions(case):
        assert (case.lesion[core] > 0.5).all()
        assert (case.lesion[around] <= 0.05).all()
        assert (case.tissue[around] == channel('WM')).all()
        assert len({*core[2], *around[2]}) == 1
        apart = ndimage.distance_transform_edt(case.lesion[..., core[2][0]] <= 0.05)[around[:2]]
        assert apart.min() > 1
        assert apart.max() <= 6


def test_contrast_is_the_difference_of_medians():
    image = np.zeros((4, 4, 1))
    image[:2] = 3
    core, around = (tuple(np.nonzero(mask)) for mask in (image == 3, image == 0))
    assert contrast(image, core, around) == 3


def test_the_truth_keeps_every_lesion_and_paint_loses_them(case):
    engines = {'truth': (Answer(case), 'image'), 'paint': (Answer(case, painted_over), 'metadata'),
               'half': (Answer(case, lambda truth, lesion: 0.5 * truth), 'image')}
    rows = list(measure_lesions([Patient(case, 'cyst')], engines))
    assert set(rows[0]) == set(COLUMNS)
    found = {row['engine']: row for row in summarize(rows) if row['kind'] == 'all'}
    assert found['truth']['ratio'] == pytest.approx(1)
    assert found['truth']['error'] == pytest.approx(0, abs=1e-6)
    assert found['truth']['close'] == 1
    assert found['truth']['lost'] == 0
    assert found['half']['ratio'] == pytest.approx(0.5, abs=1e-3)
    assert found['half']['close'] == 0
    assert found['paint']['ratio'] < 0.4
    assert found['paint']['lost'] > 0.5
    assert '| never |' in table(summarize(rows))


def test_every_kind_is_asked_for_and_some_are_never_learnt():
    patients = simulated_patients([phantom(seed=1)], every=48, size=(64, 64, 96))
    kinds = {p.kind: p.learnt for p in patients}
    assert list(kinds) == [*LESIONS, *UNSEEN]
    assert {kind for kind, learnt in kinds.items() if learnt == 'never'} == set(UNSEEN)
    assert not set(LESIONS) & set(UNSEEN)


def real_brains(folder, case, *, mask=True):
    anat = folder / 'sub-x' / 'anat'
    anat.mkdir(parents=True)
    for family in ('T1w', 'T2w', 'FLAIR'):
        data = case.source.volume.data * case.source.brain
        nib.save(nib.Nifti1Image(data.astype(np.float32), case.source.volume.affine), anat / f'sub-x_{family}.nii.gz')
    if mask:
        lesion = (case.lesion > 0.5).astype(np.uint8)
        nib.save(nib.Nifti1Image(lesion, case.source.volume.affine), anat / 'sub-x_label-lesion_mask.nii.gz')
    return folder


def shares_of(case):
    """Return a segmenter that knows."""
    def segment(volume):
        return np.stack([(case.tissue == n).astype(np.float32) for n in range(7)])
    return segment


def test_real_lesions_are_those_outlined_and_the_default_target_has_no_truth(tmp_path, case):
    brains = real_brains(tmp_path, case)
    patients = list(real_patients(brains, segment=shares_of(case), subjects=['x']))
    assert {p.learnt for p in patients} == {'real'}
    own = [p.case for p in patients if p.case.source_family == p.case.target_family]
    assert len(own) == 3
    assert all(np.isnan(c.truth).all() for c in own)
    assert all(c.metadata_target.acquisition.echo_time for c in own)
    assert any(np.isfinite(p.case.truth).all() for p in patients)
    identity = {'identity': (get_harmonizer('identity'), 'metadata')}
    rows = list(measure_lesions([replace(p) for p in patients if p.case in own], identity))
    assert rows
    found = next(row for row in summarize(rows) if row['kind'] == 'all')
    assert found['way'] == 'to the default target'
    assert found['ratio'] == pytest.approx(1)


def test_heads_without_an_outline_are_refused(tmp_path, case):
    brains = real_brains(tmp_path, case, mask=False)
    with pytest.raises(NoInput, match='no lesion mask'):
        next(real_patients(brains, segment=shares_of(case), subjects=['x']))
