"""Which card a run takes, and how runs share cards."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from bids_distclip.errors import TryAgain, UsageError
from bids_distclip.workflow.gpu import Card, choose_cards, lease, visible_cards

TWO = (Card(0, 'A', 'uuid-a', 8.0), Card(1, 'B', 'uuid-b', 8.0))


def test_the_processor_needs_no_card():
    assert choose_cards('cpu', cards=TWO) == ()


def test_auto_takes_what_is_there():
    assert choose_cards('auto', cards=TWO) == TWO
    assert choose_cards('auto', cards=()) == ()


def test_a_card_is_chosen_by_its_number():
    assert choose_cards('cuda:1', cards=TWO) == TWO[1:]


@pytest.mark.parametrize(('device', 'cards'), [('cuda', ()), ('cuda:2', TWO)])
def test_a_card_that_is_not_there_is_a_usage_error_that_says_what_to_do(device, cards):
    with pytest.raises(UsageError, match='--device cpu'):
        choose_cards(device, cards=cards)


@pytest.mark.skipif(bool(visible_cards()), reason='this machine has a card')
def test_asking_for_a_card_on_a_machine_without_one_fails_within_seconds():
    began = time.monotonic()
    with pytest.raises(UsageError):
        choose_cards('cuda')
    assert time.monotonic() - began < 10


def test_two_leases_get_two_cards(tmp_path):
    with lease(TWO, folder=tmp_path) as first, lease(TWO, folder=tmp_path) as second:
        assert {first.uuid, second.uuid} == {'uuid-a', 'uuid-b'}


def test_a_third_lease_waits_and_then_asks_to_try_again(tmp_path):
    with lease(TWO, folder=tmp_path), lease(TWO, folder=tmp_path):  # noqa: SIM117 - only the third may raise
        with pytest.raises(TryAgain), lease(TWO, folder=tmp_path, wait_s=0.3):
            pass


def test_two_places_on_one_card_are_both_given(tmp_path):
    with lease(TWO[:1], slots=2, folder=tmp_path) as first, lease(TWO[:1], slots=2, folder=tmp_path) as second:
        assert first == second == TWO[0]


def test_a_lease_of_another_process_is_respected_and_ends_with_it(tmp_path):
    code = (
        'import sys, time; from pathlib import Path; from bids_distclip.workflow.gpu import Card, lease\n'
        'with lease((Card(0, "A", "uuid-a", 8.0),), folder=Path(sys.argv[1])):\n'
        '    print("held", flush=True); time.sleep(60)\n'
    )
    with subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline().strip() == 'held'
        with pytest.raises(TryAgain), lease(TWO[:1], folder=tmp_path, wait_s=0.2):
            pass
        other.kill()
        other.wait()
    with lease(TWO[:1], folder=tmp_path, wait_s=5) as card:
        assert card.index == 0


@pytest.mark.gpu
def test_visible_cards_have_names_and_memory():
    cards = visible_cards()
    if not cards:
        pytest.skip('this machine has no card')
    assert all(card.memory_gb > 1 and card.name for card in cards)
