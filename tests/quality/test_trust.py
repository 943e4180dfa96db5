from __future__ import annotations

import pytest

from bids_distclip.quality import trust
from bids_distclip.quality.metrics import metric_table
from bids_distclip.quality.trust import Limit, doubts, limits

STRUCTURE = Limit('structure_lost', ('residual',), 'Structure is gone', 'made up', most=0.1)
STRANGE = Limit('target_known', ('residual', 'synthesis'), 'Nothing like the target is known', 'made up', least=0.5)


@pytest.fixture(autouse=True)
def two_limits(monkeypatch):
    monkeypatch.setattr(trust, 'limits', lambda: (STRUCTURE, STRANGE))


def test_numbers_within_their_limits_raise_no_doubt():
    assert doubts({'structure_lost': 0.1, 'target_known': 0.5}, engine='distclip') == ()


def test_each_broken_limit_is_a_sentence_with_the_number_and_its_limit():
    found = doubts({'structure_lost': 0.2, 'target_known': 0.25}, engine='distclip')
    assert found == (
        'Structure is gone (structure lost 0.2, at most 0.1 expected).',
        'Nothing like the target is known (target picture known 0.25, at least 0.5 expected).',
    )


def test_a_limit_counts_only_for_its_mode():
    assert doubts({'structure_lost': 0.2}, engine='distclip', synthesize=True) == ()
    assert len(doubts({'target_known': 0.2}, engine='distclip', synthesize=True)) == 1


def test_what_is_not_known_breaks_no_limit():
    assert doubts({}, engine='distclip') == ()
    assert doubts({'structure_lost': None}, engine='distclip') == ()


def test_an_engine_that_was_not_measured_has_no_limits():
    assert doubts({'structure_lost': 0.2}, engine='histogram') == ()


def test_the_shipped_limits_are_about_numbers_that_exist(monkeypatch):
    monkeypatch.undo()
    for limit in limits():
        assert limit.number in metric_table()
        assert (limit.least is None) != (limit.most is None)
        assert set(limit.modes) <= {'residual', 'synthesis'}
        assert limit.says
        assert limit.from_
