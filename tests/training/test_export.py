from __future__ import annotations

import json

from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.weights import CARD, CLIP, GENERATOR, save_weights, weights_sha256
from bids_distclip.training.export import refresh_card


def test_a_card_follows_what_is_added_to_its_folder(tmp_path):
    for name in (CLIP, GENERATOR):
        save_weights(tmp_path / name, MRCLIP(), options={'config': 'mrclip-tiny'})
    refresh_card(tmp_path)
    assert not (tmp_path / CARD).exists()
    (tmp_path / CARD).write_text(json.dumps({'name': 'x', 'sha256': 'old'}))
    refresh_card(tmp_path)
    assert json.loads((tmp_path / CARD).read_text()) == {'name': 'x', 'sha256': weights_sha256(tmp_path)}
