from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from bids_distclip.benchmark.embedding import evaluate_mrclip, number_order, retrieval, write_scores
from bids_distclip.networks.weights import load_trained
from bids_distclip.simulation.phantom import phantom
from bids_distclip.simulation.protocol import draw_protocol


class Ruler:
    """A text tower whose embeddings lie on a circle, in the order of the echo time (or of its scrambled digits)."""

    def __init__(self, *, scrambled: bool):
        self.scrambled = scrambled

    def encode_text(self, prompts):
        words = (re.search(r'Flip Angle\): \(([^,]+),', p) for p in prompts)
        values = [float(w[1]) for w in words if w]
        angles = torch.tensor([v * 7919 % 1 if self.scrambled else np.log(v) / 5 for v in values])
        return torch.stack([angles.cos(), angles.sin()], 1)


@pytest.fixture(scope='module')
def protocols():
    return [draw_protocol(np.random.default_rng(i), family='T2w') for i in range(6)]


def test_embeddings_in_the_order_of_a_number_are_told_from_scrambled_ones(protocols):
    assert number_order(Ruler(scrambled=False), protocols)['echo_time'] > 0.99
    assert abs(number_order(Ruler(scrambled=True), protocols)['echo_time']) < 0.5


def test_retrieval_counts_own_prompts_and_families():
    told = torch.eye(6)
    seen = told[[0, 1, 2, 4, 3, 5]]
    found = retrieval(seen, told, ['T1w', 'T1w', 'T2w', 'PDw', 'FLAIR', 'FLAIR'])
    assert found['top5'] >= found['top1'] == pytest.approx(4 / 6)
    assert found['family'] == pytest.approx(4 / 6)
    assert found['agreement'] == pytest.approx(4 / 6)


def test_the_shipped_towers_find_the_family_of_a_head_they_never_saw(tmp_path):
    found = evaluate_mrclip(load_trained().clip, [phantom(seed=5)], count=20)
    assert found['family'] > 0.4
    assert found['order_echo_time'] > 0.3
    assert write_scores(found, tmp_path / 'a' / 'scores.tsv').read_text().count('\n') == 2
