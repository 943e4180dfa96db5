from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.errors import BadData
from bids_distclip.networks.bank import BANK, describe_styles, load_bank, make_bank, save_bank
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.training.export import known_acquisitions


def bundles(count: int = 40) -> tuple[torch.Tensor, list[str]]:
    """Return styles in two tight bundles, and their families."""
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(2, 512, generator=generator), dim=1)
    noise = 0.01 * torch.randn(2 * count, 512, generator=generator)
    theta = F.normalize(centres.repeat_interleave(count, 0) + noise, dim=1)
    return theta, ['T1w'] * count + ['T2w'] * count


def test_a_style_is_familiar_among_its_like_and_strange_elsewhere():
    theta, families = bundles()
    bank = make_bank(theta, families)
    strange = F.normalize(torch.randn(1, 512, generator=torch.Generator().manual_seed(5)), dim=1)
    assert bank.familiarity(theta[:1]) > 0.9
    assert bank.familiarity(strange) < 0.3


def test_the_nearest_acquisitions_vote_on_the_family():
    theta, families = bundles()
    assert make_bank(theta, families).votes(theta[60:61]) == {'T2w': 1.0}


def test_the_map_holds_the_bundles_apart():
    theta, families = bundles()
    bank = make_bank(theta, families)
    points = np.array(bank.points())
    near = np.linalg.norm(points[:40] - points[:40].mean(0), axis=1).max()
    assert np.linalg.norm(points[:40].mean(0) - points[40:].mean(0)) > 5 * near
    assert np.allclose(points[7], bank.place(theta[7:8]), atol=1e-3)


def test_a_bank_comes_back_from_its_file_and_without_one_there_is_none(tmp_path):
    theta, families = bundles()
    assert load_bank(tmp_path / BANK) is None
    save_bank(tmp_path / BANK, make_bank(theta, families))
    back = load_bank(tmp_path / BANK)
    assert back.families == tuple(families)
    assert torch.allclose(back.theta, theta, atol=1e-3)


def test_a_damaged_bank_is_told(tmp_path):
    (tmp_path / BANK).write_bytes(b'not a bank')
    with pytest.raises(BadData, match='bank'):
        load_bank(tmp_path / BANK)


def test_styles_are_described_without_metadata_and_without_a_bank():
    theta, families = bundles()
    styles = {'pictures': (theta[:1], theta[50:51]), 'told': (None, theta[51:52]), 'families': ('T1w', 'T2w')}
    found = describe_styles(make_bank(theta, families), **styles)
    assert found['source_family'] == found['output_family'] == 1.0
    assert found['target_after'] > 0.9 > found['target_before']
    assert 'source_told' not in found
    assert set(found['map']) == {'source', 'output', 'target'}
    assert 'target_told_known' in found
    assert 'target_known' in describe_styles(make_bank(theta, families), **styles, pictured=True)
    assert set(describe_styles(None, **styles)) == {'target_before', 'target_after'}


def test_known_acquisitions_cover_every_family_alike():
    torch.manual_seed(0)
    bank = known_acquisitions(MRCLIP().eval(), per_family=2)
    assert sorted(bank.families) == sorted(2 * FAMILIES)
    assert torch.allclose(bank.theta.norm(dim=1), torch.ones(len(bank.theta)), atol=1e-4)
