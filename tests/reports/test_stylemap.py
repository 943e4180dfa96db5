from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image

from bids_distclip.networks.bank import BANK, MAP, make_bank, save_bank
from bids_distclip.reports.stylemap import draw_style_map, read_points

PLACES = {'source': [0.1, 0.2], 'output': [0.3, 0.1], 'target': [0.32, 0.12]}


def test_the_map_is_drawn_from_the_table_beside_the_weights(tmp_path):
    theta = F.normalize(torch.randn(20, 512, generator=torch.Generator().manual_seed(0)), dim=1)
    save_bank(tmp_path / BANK, make_bank(theta, ['T1w', 'T2w'] * 10))
    points = read_points(tmp_path / MAP)
    assert {family: len(known) for family, known in points.items()} == {'T1w': 10, 'T2w': 10}
    drawn = draw_style_map(PLACES, points=points, out_dir=tmp_path, stem='sub-01_T1w')
    with Image.open(tmp_path / drawn['stylemap']) as picture:
        assert min(picture.size) > 200


def test_without_places_or_known_acquisitions_nothing_is_drawn(tmp_path):
    assert read_points(tmp_path / 'none.tsv') == {}
    assert draw_style_map(PLACES, points={}, out_dir=tmp_path, stem='a') == {}
    assert draw_style_map({}, points={'T1w': [(0.0, 0.0)]}, out_dir=tmp_path, stem='a') == {}
