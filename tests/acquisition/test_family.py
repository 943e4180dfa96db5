"""Which contrast an acquisition gives: the traps of real headers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from bids_distclip.acquisition.family import infer_family
from bids_distclip.acquisition.record import FAMILIES, Acquisition
from bids_distclip.acquisition.sidecar import from_sidecar

DATA = Path(__file__).parents[2] / '..' / 'shared' / 'data'


def timed(codes: str = '', *, te=None, tr=None, ti=None, fa=None, variant: str = '', **others) -> Acquisition:
    return Acquisition(
        scanning_sequence=tuple(codes.split()), sequence_variant=tuple(variant.split()),
        echo_time=te, repetition_time=tr, inversion_time=ti, flip_angle=fa, **others,
    )


CASES = [
    (timed('GR IR', te=0.002, tr=2.0, ti=0.88, fa=8, variant='SK SP MP'), 'T1w', 'MPRAGE', 'inversion cycle'),
    (timed('RM IR', te=0.0029, tr=2.04, ti=0.88, fa=8), 'T1w', 'MPRAGE', 'inversion cycle'),
    (timed('GR', te=0.0032, tr=0.0071, fa=8, variant='MP'), 'T1w', 'MPRAGE', 'readout'),
    (timed('GR', te=0.0029, tr=0.0067, ti=0.45, fa=8, variant='SS SP SK'), 'T1w', 'MPRAGE', 'readout'),
    (timed('GR IR', te=0.0031, tr=0.00725, ti=0.75), 'T1w', 'MPRAGE', 'readout'),
    (timed('GR', te=0.005, tr=0.02, fa=25), 'T1w', 'SPGR', 'repetition'),
    (timed('GR', te=0.0025, tr=0.024, fa=6), 'PDw', 'SPGR', 'repetition'),
    (timed('SE', te=0.012, tr=0.55, fa=90), 'T1w', 'SE', 'repetition'),
    (timed('SE IR', te=0.02, tr=2.2, ti=0.8), 'T1w', 'IR-TSE', 'repetition'),
    (timed('SE IR', te=0.02, tr=2.2), 'T1w', 'IR-TSE', 'repetition'),
    (timed('SE', te=0.012, tr=3.0), 'PDw', 'TSE', 'repetition'),
    (timed('SE', te=0.091, tr=11.7), 'T2w', 'TSE', 'repetition'),
    (timed('SE', te=0.564, tr=3.2), 'T2w', 'TSE', 'repetition'),
    (timed('SE IR', te=0.397, tr=5, ti=1.8), 'FLAIR', 'IR-TSE', 'repetition'),
    (timed('IR', te=0.12, tr=9), 'FLAIR', 'IR-TSE', 'repetition'),
    (timed('GR', te=0.02, tr=0.65, fa=20), 'T2starw', 'GRE', 'repetition'),
]


@pytest.mark.parametrize(('acquisition', 'family', 'sequence', 'tr_meaning'), CASES)
def test_physics_decides_the_family(acquisition, family, sequence, tr_meaning):
    call = infer_family(acquisition)
    assert (call.family, call.sequence, call.tr_meaning, call.basis) == (family, sequence, tr_meaning, 'physics')


@pytest.mark.parametrize(('echo', 'meaning'), [(0.397, 'nominal'), (0.29, 'nominal'), (0.09, 'effective')])
def test_a_long_train_has_a_nominal_echo_time(echo, meaning):
    call = infer_family(timed('SE IR', te=echo, tr=5, ti=1.7))
    assert call.echo_meaning == meaning


def test_a_t2w_file_that_is_flair_by_physics_is_called_flair_and_the_conflict_is_told():
    call = infer_family(timed(te=0.397, tr=5, ti=1.8, suffix='T2w'))
    assert call.family == 'FLAIR'
    assert 'T2w' in call.conflict
    assert 'FLAIR' in call.conflict


def test_a_long_echo_without_codes_and_inversion_time_leaves_flair_to_the_file_name():
    assert infer_family(timed(te=0.12, tr=9.0)).family == 'T2w'
    named = infer_family(timed(te=0.12, tr=9.0, suffix='FLAIR'))
    assert (named.family, named.basis, named.conflict) == ('FLAIR', 'suffix', '')


def test_balanced_gradient_echoes_are_none_of_the_families():
    call = infer_family(timed('GR', te=0.002, tr=0.005, fa=50))
    assert call.family is None


@pytest.mark.parametrize('family', FAMILIES)
def test_without_metadata_the_suffix_is_the_last_resort(family):
    call = infer_family(timed(suffix=family))
    assert (call.family, call.basis, call.sequence) == (family, 'suffix', None)


def test_with_nothing_at_all_nothing_is_claimed():
    call = infer_family(timed(suffix='bold'))
    assert (call.family, call.basis) == (None, 'none')


@pytest.mark.parametrize(
    ('suffix', 'family'), [('PD', 'PDw'), ('T2star', 'T2starw'), ('FLASH', 'T1w'), ('inplaneT2', 'T2w')]
)
def test_old_suffixes_are_understood(suffix, family):
    assert infer_family(timed(suffix=suffix)).family == family


@pytest.mark.parametrize(
    ('words', 'family'),
    [('t2_space_dark-fluid_sag', 'FLAIR'), ('Ax T1 FLAIR', 'T1w'), ('MPRAGE_SENSE2', 'T1w'), ('t2_tse_tra', 'T2w'),
     ('Ax T2* GRE', 'T2starw'), ('PDW_TSE', 'PDw')],
)
def test_a_description_speaks_where_the_timing_is_missing(words, family):
    call = infer_family(timed(series_description=words))
    assert (call.family, call.basis) == (family, 'description')


@pytest.mark.parametrize(
    'missing', ['repetition_time', 'inversion_time', 'flip_angle', 'scanning_sequence', 'sequence_variant']
)
def test_an_mprage_is_recognized_with_any_one_field_missing(missing):
    full = timed('GR IR', te=0.003, tr=2.3, ti=0.9, fa=9, variant='MP')
    assert infer_family(full.without(missing)).family == 'T1w'


@pytest.mark.skipif(not (DATA / 'sidecars').is_dir(), reason='the real sidecars are not here')
def test_every_real_sidecar_has_the_family_its_physics_gives():
    """Counted by hand: all T1w are MPRAGE-like; all ON-Harmony T2w have TI 1.6 to 2.7 s and are T2-FLAIR."""
    counts, conflicts = Counter(), 0
    for file in sorted((DATA / 'sidecars').rglob('*.json')):
        call = infer_family(from_sidecar(json.loads(file.read_text()), suffix=file.stem.rpartition('_')[2]))
        assert call.basis == 'physics', file
        counts[file.stem.rpartition('_')[2], call.family, call.sequence, call.tr_meaning] += 1
        conflicts += bool(call.conflict)
    assert counts == {
        ('T1w', 'T1w', 'MPRAGE', 'inversion cycle'): 75, ('T1w', 'T1w', 'MPRAGE', 'readout'): 50,
        ('T2w', 'FLAIR', 'IR-TSE', 'repetition'): 135, ('FLAIR', 'FLAIR', 'IR-TSE', 'repetition'): 9,
    }
    assert conflicts == 135


@pytest.mark.skipif(not (DATA / 'bids').is_dir(), reason='the real dataset is not here')
def test_the_real_dataset_has_the_families_of_its_file_names():
    for file in sorted((DATA / 'bids').rglob('anat/*.json')):
        suffix = file.stem.rpartition('_')[2]
        call = infer_family(from_sidecar(json.loads(file.read_text()), suffix=suffix))
        assert (call.family, call.basis, call.conflict) == (suffix, 'physics', ''), file
