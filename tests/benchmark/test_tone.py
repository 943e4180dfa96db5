"""The brightness of tissue, as the network leaves it and held."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import numpy as np
import pytest

from bids_distclip.benchmark import commands
from bids_distclip.benchmark.cli import add_evaluate_arguments, run_evaluate
from bids_distclip.benchmark.tone import COLUMNS, PURE, TOLD, Pair, compare_shares, mixture

#: Two families that the table does not know, so that no tissue sets the scale.
ANOTHER = ('another family', 'one more')


def pairs(*, count: int = 60, scanner: float, person: float, seed: int = 0) -> list[Pair]:
    """Pairs of a family whose scale no tissue sets; what the network makes keeps the source's departure."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        before, after = (np.array([0.4, 0.6, 0.9, 0.5, 0.55]) + rng.normal(0, 0.05, PURE) for _ in range(2))
        own = rng.normal(0, person, len(TOLD))
        truth = after[: len(TOLD)] + own
        off = rng.normal(0, scanner, len(TOLD))
        made.append(Pair(i % 2 == 0, before[: len(TOLD)] + own + off, truth + off, truth, before, after))
    return made


def best(rows, tissue: str) -> float:
    row = next(r for r in rows if r['tissue'] == tissue and r['target'] == 'any')
    shares = [name for name in COLUMNS if name.startswith('share_')]
    return float(min(shares, key=row.__getitem__).removeprefix('share_'))


def test_a_mixture_of_tissues_is_found_again():
    pure = np.random.default_rng(0).uniform(0.2, 1, (200, PURE))
    shares = np.array([0.1, 0.6, 0.3, 0.0, 0.0])
    np.testing.assert_allclose(mixture(pure, pure @ shares), shares, atol=1e-3)


@pytest.mark.parametrize(('scanner', 'person', 'least', 'most'), [(0.06, 0.01, 0.75, 1.0), (0.01, 0.06, 0.0, 0.25)])
def test_the_best_share_is_large_where_scanners_differ_more_than_people(scanner, person, least, most):
    rows = compare_shares(pairs(scanner=scanner, person=person), ANOTHER)
    for tissue in TOLD:
        assert least <= best(rows, tissue) <= most


def test_every_tissue_has_a_row_for_each_kind_of_target():
    rows = compare_shares(pairs(scanner=0.03, person=0.03), ANOTHER)
    assert {(row['tissue'], row['target']) for row in rows} == {
        (tissue, target) for tissue in TOLD for target in ('departs from nothing', 'any')
    }
    assert all(tuple(row) == COLUMNS for row in rows)


def test_pairs_whose_scale_setting_tissue_is_not_the_brightest_do_not_count():
    assert compare_shares(pairs(scanner=0.03, person=0.03), ('T1w', 'T1w')) == []
    assert compare_shares([], ('T1w', 'T1w')) == compare_shares([], ANOTHER) == []


@pytest.mark.parametrize(('words', 'every'), [([], 12), (['--every', '5'], 5), (['--every', '1'], 1)])
def test_the_command_line_says_how_many_slices_are_looked_at(words, every, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr('bids_distclip.benchmark.tone.gather_pairs', lambda *_, every, **__: asked.append(every) or ())
    monkeypatch.setattr('bids_distclip.training.split.training_heads', lambda _: [SimpleNamespace(whole_head=True)])
    monkeypatch.setattr('bids_distclip.harmonizers.tissue.make_segment', lambda _: len)
    monkeypatch.setattr(commands, 'distclip_engine', lambda *_, **__: None)
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    words = ['tone', '--labels', 'x', '--pairs', 'T1w-T1w', '--out', str(tmp_path), *words]
    assert run_evaluate(parser.parse_args(words)) == 0
    assert asked == [every]
