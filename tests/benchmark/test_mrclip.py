from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.acquisition.sidecar import from_sidecar
from bids_distclip.benchmark.answers import Answer, write_answers
from bids_distclip.benchmark.embedding import Seen, embed_protocols, see
from bids_distclip.benchmark.mrclip import (
    parts,
    probes,
    question,
    real_ranks,
    retrieval,
    triples,
)
from bids_distclip.benchmark.numbers import foreign, number_order
from bids_distclip.networks.bank import make_bank
from bids_distclip.networks.eye import EYE, SIZE, load_eye
from bids_distclip.networks.weights import DEFAULT, load_trained
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
        return torch.stack([angles.cos(), angles.sin()], 1).float()

    encode_words = encode_text


@pytest.fixture(scope='module')
def protocols():
    return [draw_protocol(np.random.default_rng(i), family='T2w') for i in range(6)]


def test_embeddings_in_the_order_of_a_number_are_told_from_scrambled_ones(protocols):
    assert number_order(Ruler(scrambled=False), protocols)['echo_time'][0] > 0.99
    assert abs(number_order(Ruler(scrambled=True), protocols)['echo_time'][0]) < 0.5


def test_retrieval_ranks_each_own_prompt_and_each_own_picture():
    told = torch.eye(6)
    seen = told[[0, 1, 2, 4, 3, 5]] + 0.1 * told
    chosen = {'all': np.ones(6, dtype=bool), 'swapped': np.array([0, 0, 0, 1, 1, 0], dtype=bool)}
    found = {(a.question, a.part): a for a in retrieval(seen, told, chosen)}
    for who in ('picture finds its prompt', 'prompt finds its picture'):
        assert found[f'{who}, first', 'all'].value == pytest.approx(4 / 6)
        assert found[f'{who}, first', 'swapped'].value == 0
        assert found[f'{who}, among five', 'swapped'].value == 1
        assert found[f'{who}, first', 'all'].chance == pytest.approx(1 / 6)
    assert found['picture finds its prompt, first', 'swapped'].count == 2


def test_parts_cover_every_protocol_once():
    drawn = [draw_protocol(np.random.default_rng(i)) for i in range(40)]
    found = parts(drawn)
    for kind in ('family', 'manufacturer', 'field_strength', 'echo_time'):
        total = sum(rows.astype(int) for name, rows in found.items() if name.startswith(f'{kind} '))
        assert (total == 1).all(), kind
    assert found['all'].sum() == 40


def test_a_probe_reads_what_is_there_and_not_what_is_not():
    drawn = [draw_protocol(np.random.default_rng(i)) for i in range(200)]
    families = sorted({p.family for p in drawn})
    theta = F.one_hot(torch.tensor([families.index(p.family) for p in drawn]), len(families)).float()
    found = {a.part: a for a in probes(theta, drawn, groups=np.arange(200), of='pictures')}
    assert found['family'].value == 1.0
    noise = F.normalize(torch.randn(200, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    assert next(a.value for a in probes(noise, drawn, groups=np.arange(200), of='x') if a.part == 'family') < 0.45


@pytest.mark.parametrize(('by', 'expected'), [('protocol', 1.0), ('head', 0.0)])
def test_triples_tell_whether_protocol_or_head_decides(by, expected):
    head, protocol = np.repeat([0, 1], 4), np.tile(np.arange(4), 2)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 32))
    theta = centres[protocol if by == 'protocol' else head] + 0.01 * rng.normal(size=(8, 32))
    seen = Seen(F.normalize(torch.tensor(theta), dim=1), head, protocol)
    for answer in triples(seen, ['T1w', 'T1w', 'T2w', 'T2w']):
        assert answer.value == expected
        assert answer.count == (24 if answer.part == 'any two protocols' else 8)


def test_foreign_protocols_lie_far_from_the_known():
    protocols = [draw_protocol(np.random.default_rng(i), family='T2w') for i in range(30)]
    ruler = Ruler(scrambled=False)
    found = {a.part: a for a in foreign(ruler, make_ruler_bank(ruler, protocols), protocols)}
    assert found['echo_time'].value > 0.9
    # The ruler does not see the other numbers: with the same protocols on both sides that is chance.
    assert found['repetition_time'].value == pytest.approx(0.5)
    assert 0 < found['repetition_time'].count <= 2 * len(protocols)
    assert 'inversion_time' not in found


def test_a_number_that_other_protocols_have_is_not_foreign(monkeypatch, protocols):
    monkeypatch.setattr('bids_distclip.benchmark.numbers.FOREIGN', {'echo_time': (1.0,)})
    ruler = Ruler(scrambled=False)
    assert list(foreign(ruler, make_ruler_bank(ruler, protocols), protocols)) == []


def make_ruler_bank(ruler, protocols):
    theta = F.pad(embed_protocols(ruler, protocols), (0, 3))
    bank = make_bank(theta, ['T2w'] * len(protocols))
    return type(bank)(bank.theta[:, :2], bank.families, bank.axes[:, :2], bank.centre[:2])


def test_every_protocol_is_seen_on_as_many_heads_as_asked(protocols):
    seen = see(load_trained().clip, [phantom(seed=5)], protocols[:2], seed=1, heads=2, slices=1)
    assert seen.theta.shape == (4, 512)
    assert seen.protocol.tolist() == [0, 1, 0, 1]
    assert seen.head[0] == seen.head[1] != seen.head[2] == seen.head[3]


@pytest.mark.parametrize(('alike', 'rank'), [('own', 1), ('other', 2)])
def test_a_real_scan_is_ranked_among_the_sidecars_of_others(tmp_path, make_scan, monkeypatch, alike, rank):
    own = make_scan(tmp_path / 'own', subject='01', suffix='T2w', seed=1)
    # One that says the same word for word counts once; one of another echo time is a stranger.
    make_scan(tmp_path / 'others', subject='01', suffix='T2w', seed=2)
    stranger = make_scan(tmp_path / 'others', subject='02', suffix='T2w', seed=3)
    sidecar = Path(str(stranger).replace('.nii.gz', '.json'))
    other = {**json.loads(sidecar.read_text()), 'EchoTime': 0.3}
    sidecar.write_text(json.dumps(other))
    ruler = Ruler(scrambled=False)
    told = {name: from_sidecar(raw, suffix='T2w') for name, raw in (
        ('own', json.loads(Path(str(own).replace('.nii.gz', '.json')).read_text())), ('other', other))}
    seen = ruler.encode_text([whole_prompt(told[alike], 'T2w')])
    monkeypatch.setattr('bids_distclip.benchmark.mrclip.seen_style', lambda clip, picture: seen)
    (found,) = real_ranks(ruler, tmp_path / 'own', tmp_path / 'others')
    assert found.value == rank
    assert found.count == 2


def test_with_an_eye_pictures_and_prompts_lie_in_its_space(protocols):
    trained, eye = load_trained(), load_eye(DEFAULT / EYE)
    seen = see(trained.clip, [phantom(seed=5)], protocols[:2], seed=1, eye=eye, heads=2, slices=1)
    assert seen.theta.shape == (4, SIZE)
    assert embed_protocols(trained.clip, protocols, eye=eye).shape == (6, SIZE)


def test_a_collapsed_model_finds_nothing():
    level = F.normalize(torch.ones(50, 8), dim=1)
    found = list(retrieval(level, level, {'all': np.ones(50, dtype=bool)}))
    assert [a.value for a in found] == [0.0] * 4


@pytest.mark.parametrize('with_eye', [False, True])
def test_the_shipped_model_finds_the_family_of_a_head_it_never_saw(tmp_path: Path, with_eye):
    trained = load_trained()
    eye = load_eye(DEFAULT / EYE) if with_eye else None
    asked = question(trained.clip, trained.bank, [phantom(seed=5)], eye=eye, count=20, picture=tmp_path / 'map.png')
    answers = list(asked)
    assert (tmp_path / 'map.png').stat().st_size > 10_000
    found = {(a.question, a.part): a.value for a in answers}
    assert found['nearest prompt has the contrast family of the picture', 'no hint of the family'] > 0.4
    assert found['order of a number in the embedding of prompts (rank correlation)', 'echo_time'] > 0.5
    lines = write_answers(answers, tmp_path / 'a' / 'answers.tsv').read_text().splitlines()
    assert len(lines) == 1 + len(answers)
    assert isinstance(answers[0], Answer)
