from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path

import pytest

from bids_distclip.benchmark import commands, inputs
from bids_distclip.benchmark.cli import COMMANDS, add_evaluate_arguments, run_evaluate
from bids_distclip.benchmark.inputs import asked_engines
from bids_distclip.errors import UsageError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    return parser.parse_args([*words, '--out', 'unused'])


def test_weights_to_compare_stand_beside_the_engines_with_both_guides():
    engines = asked_engines(parsed('--engines', 'identity,distclip', '--compare', 'mine=folder/of mine'))
    assert list(engines) == ['identity', 'distclip, image', 'distclip, metadata', 'mine, image', 'mine, metadata']
    assert engines['mine, image'][0].weights == Path('folder/of mine')
    assert engines['distclip, image'][0].weights != Path('folder/of mine')
    assert [kind for _, kind in engines.values()] == ['image', 'image', 'metadata', 'image', 'metadata']


def test_tissue_is_held_unless_what_was_rendered_is_asked_for():
    held = asked_engines(parsed('--engines', 'distclip'))['distclip, image'][0]
    rendered = asked_engines(parsed('--engines', 'distclip', '--tissue-brightness', 'rendered'))['distclip, image'][0]
    assert held.hold_tissue
    assert not rendered.hold_tissue


@pytest.mark.parametrize('given', ['mine', '=folder', 'mine='])
def test_weights_without_a_name_or_a_folder_are_refused(given):
    with pytest.raises(UsageError, match='NAME=FOLDER'):
        asked_engines(parsed('--compare', given))


def reads(function, seen=()) -> set[str]:
    """Return the options that a command reads, itself or by the functions it hands them to."""
    source = inspect.getsource(function)
    found = set(re.findall(r'args\.(\w+)', source))
    for name in set(re.findall(r'(\w+)\(args[,)]', source)) - {function.__name__, *seen}:
        helper = getattr(commands, name, None) or getattr(inputs, name, None)
        if helper is not None:
            found |= reads(helper, (*seen, function.__name__))
    return found


@pytest.mark.parametrize('what', COMMANDS)
def test_every_table_takes_the_options_it_reads_and_no_other(what):
    function, takes = COMMANDS[what]
    assert set(takes) | {'out'} == reads(getattr(commands, function))


def test_an_option_that_a_table_does_not_take_is_refused(monkeypatch):
    monkeypatch.setattr(commands, 'compare_with_real', lambda args: 0)
    assert run_evaluate(parsed('realism', '--labels', 'somewhere')) == 0
    with pytest.raises(UsageError, match='realism takes no --every, --tissue-brightness'):
        run_evaluate(parsed('realism', '--every', '8', '--tissue-brightness', 'rendered'))


def test_slices_are_left_out_by_the_tables_that_say_so(monkeypatch):
    seen = []
    monkeypatch.setattr(commands, 'hold_tissues', lambda args: seen.append(args.every) or 0)
    monkeypatch.setattr(commands, 'compare_pairs', lambda args: seen.append(args.every) or 0)
    for words in (['tone'], ['tone', '--every', '3'], [], ['pairs', '--every', '8']):
        run_evaluate(parsed(*words))
    assert seen == [12, 3, 1, 8]
