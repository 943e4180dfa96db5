from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bids_distclip.benchmark.cli import add_evaluate_arguments
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
