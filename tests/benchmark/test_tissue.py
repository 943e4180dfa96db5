"""How well tissue is told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_distclip.benchmark import tissue as benchmark
from bids_distclip.benchmark.cases import simulated_cases
from bids_distclip.harmonizers.registry import get_harmonizer
from bids_distclip.quality.tissue import TISSUES, channel
from bids_distclip.simulation.phantom import phantom


def by_brightness(volume):
    """Call white what is bright, cortex what is not so bright."""
    scale = np.percentile(volume.data[volume.data > 0], 99)
    white = volume.data > 0.8 * scale
    shares = np.zeros((len(TISSUES), *volume.data.shape), np.float32)
    shares[0], shares[channel('WM')] = volume.data == 0, white
    shares[channel('CGM')] = (volume.data > 0) & ~white
    return shares


@pytest.fixture(scope='module')
def cases():
    found = list(simulated_cases([phantom(seed=1), phantom(seed=2)], size=(144, 176, 144), every=24))
    return [case for case in found if case.pair in ('T1w→T1w', 'T1w→T2w', 'T1w→T1w (own)') and case.head == 'phantom1']


def test_dice_is_twice_the_common_part_over_both():
    a, b = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert benchmark.dice(a, b) == 0.5
    assert benchmark.dice(a, a) == 1
    assert np.isnan(benchmark.dice(a & False, b & False))


def test_cases_know_the_tissue_of_their_head(cases):
    for case in cases:
        assert case.tissue.shape == case.source.volume.data.shape
        inside = case.tissue > 0
        assert (inside & case.source.brain).sum() > 0.95 * case.source.brain.sum()


def test_source_result_and_truth_are_told_apart_and_own_protocols_left_out(cases):
    rows = list(benchmark.label_results(by_brightness, get_harmonizer('identity'), cases))
    assert [(row['pair'], row['shown']) for row in rows] == [
        (pair, shown) for pair in ('T1w→T1w', 'T1w→T2w') for shown in ('source', 'harmonized', 'target')
    ]
    assert {row['reference'] for row in rows} == {'labels'}
    same = [row for row in rows if row['pair'] == 'T1w→T1w']
    assert same[0]['WM'] == pytest.approx(same[1]['WM'])
    assert same[0]['WM'] > 0.5
    # White matter is dark on T2w: what tells it by brightness cannot find it on the truth.
    assert not rows[-1]['WM'] > 0.5 * rows[0]['WM']


def test_real_heads_are_compared_with_the_tissue_of_their_t1w(cases):
    real = [replace(case, data='real', tissue=None) for case in cases]
    rows = list(benchmark.label_results(by_brightness, get_harmonizer('identity'), real))
    assert {row['reference'] for row in rows} == {'tissue in T1w'}
    assert rows[0]['WM'] == 1


def test_a_t1w_that_is_the_target_alone_is_the_reference_too_and_without_any_there_is_none(cases):
    case = next(case for case in cases if case.pair == 'T1w→T1w')
    towards = replace(case, data='real', tissue=None, source_family='FLAIR')
    rows = list(benchmark.label_results(by_brightness, get_harmonizer('identity'), [towards]))
    assert rows[-1]['shown'] == 'target'
    assert rows[-1]['WM'] == 1
    without = replace(towards, target_family='T2w')
    rows = list(benchmark.label_results(by_brightness, get_harmonizer('identity'), [without]))
    assert all(np.isnan(row['WM']) for row in rows)


def test_the_summary_has_the_mean_over_heads_of_each_question():
    row = {'data': 'simulated', 'pair': 'T1w', 'shown': 'whole head', 'reference': 'labels', 'WM': 0.8, 'CGM': 0.7,
           'SGM': float('nan'), 'CSF': 0.5, 'BS': 0.6, 'CBM': 0.9, 'brain': 0.95, 'template': 0.9}
    text = benchmark.summary([row, row | {'WM': 0.9}])
    assert '| simulated | T1w | whole head | labels | 2 | 0.850 | 0.700 |  | 0.500 |' in text
