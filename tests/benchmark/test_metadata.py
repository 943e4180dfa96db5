"""Foreign, absurd and missing metadata."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_distclip.acquisition.sidecar import from_sidecar, to_sidecar
from bids_distclip.benchmark.cases import simulated_cases
from bids_distclip.benchmark.metadata import OUTCOMES, WAYS, ask_metadata, summary
from bids_distclip.harmonizers.registry import get_harmonizer
from bids_distclip.simulation.phantom import phantom


class Listening:
    """An engine that changes nothing, says it is one whose results are judged, and keeps what it was told."""

    def __init__(self):
        self.told = []

    def harmonize(self, source, target, *, synthesize=False):
        self.told.append((source.acquisition, target.acquisition))
        answer = get_harmonizer('identity').harmonize(source, target, synthesize=synthesize)
        known = 0.9 if (source.acquisition.field_strength or 0) > 5 else 1.0
        return replace(answer, details={'engine': 'distclip', 'style': {'source_told_known': known}})


@pytest.fixture(scope='module')
def answers():
    cases = simulated_cases([phantom(seed=1), phantom(seed=2)], size=(96, 112, 96), every=24)
    engine = Listening()
    case = next(case for case in cases if case.pair == 'T1w→T1w')
    return engine, case, list(ask_metadata(engine, [case]))


def test_every_way_is_asked_of_source_and_target(answers):
    _, _, rows = answers
    assert [(row['metadata'], row['spoilt']) for row in rows] == [
        (name, side) for name in WAYS for side in ('source', 'target')
    ]
    assert {row['outcome'] for row in rows} <= set(OUTCOMES)


def test_repaired_metadata_reach_the_engine_as_they_were(answers):
    engine, case, rows = answers
    row = next(row for row in rows if row['metadata'] == 'times in milliseconds' and row['spoilt'] == 'source')
    assert 'read as milliseconds' in row['said']
    own = case.source.acquisition
    # The unspoilt source and target were asked first.
    assert engine.told[2][0].echo_time == pytest.approx(own.echo_time)
    assert engine.told[2][0].repetition_time == pytest.approx(own.repetition_time)


def test_nothing_as_a_target_is_refused_and_as_a_source_still_harmonized(answers):
    _, _, rows = answers
    outcome = {(row['metadata'], row['spoilt']): row for row in rows}
    assert outcome['nothing', 'target']['outcome'] == 'refused'
    assert np.isnan(outcome['nothing', 'target']['written'])
    assert outcome['nothing', 'source']['outcome'] == 'harmonized'


def test_an_abstained_image_is_the_source_and_says_why(answers):
    _, _, rows = answers
    row = next(row for row in rows if row['metadata'] == '7 T' and row['spoilt'] == 'source')
    assert row['outcome'] == 'abstained'
    assert 'outside what the model knows' in row['said']
    plain = next(row for row in rows if row['metadata'] == 'as it is' and row['spoilt'] == 'source')
    assert (plain['outcome'], plain['said']) == ('harmonized', '')
    assert row['written'] == pytest.approx(plain['result'], abs=0.05)


def test_the_table_counts_outcomes_and_repeats_what_was_said(answers):
    _, _, rows = answers
    lines = summary(rows).splitlines()
    assert len(lines) == 2 + len(WAYS)
    nothing = next(line for line in lines if line.startswith('| nothing |')).strip('| ').split(' | ')
    assert nothing[1] == '1, 0, 0'
    assert nothing[3:] == ['0, 0, 0, 1', '', 'The sidecar says nothing about an acquisition.']
    # Of several sentences the first is enough.
    milliseconds = next(line for line in lines if line.startswith('| times in milliseconds |'))
    assert milliseconds.count('read as milliseconds') == 1


@pytest.mark.parametrize(('way', 'fields'), [
    ('without the echo time', ['echo_time']),
    ('without the inversion time', ['inversion_time']),
    ('without the scanner', ['manufacturer', 'model']),
    ('without the description', ['series_description']),
])
def test_a_field_that_is_removed_is_gone_and_nothing_else(answers, way, fields):
    _, case, rows = answers
    own = case.source.acquisition
    left = from_sidecar(WAYS[way](to_sidecar(own)), suffix='T1w')
    assert all(getattr(left, name) is None for name in fields)
    assert left.flip_angle == own.flip_angle
    assert way in {row['metadata'] for row in rows}
