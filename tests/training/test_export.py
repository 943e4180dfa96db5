from __future__ import annotations

import json

from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.weights import CARD, CLIP, GENERATOR, save_weights, weights_sha256
from bids_distclip.training.export import LIMITS, data_of, limits_of, refresh_card


def test_a_card_follows_what_is_added_to_its_folder(tmp_path):
    for name in (CLIP, GENERATOR):
        save_weights(tmp_path / name, MRCLIP(), options={'config': 'mrclip-tiny'})
    refresh_card(tmp_path)
    assert not (tmp_path / CARD).exists()
    (tmp_path / CARD).write_text(json.dumps({'name': 'x', 'sha256': 'old'}))
    refresh_card(tmp_path)
    assert json.loads((tmp_path / CARD).read_text()) == {'name': 'x', 'sha256': weights_sha256(tmp_path)}


def test_a_card_says_whose_images_were_learnt_from():
    bids = {'images': 4, 'people': 2, 'dataset': 'Ours', 'pairs': 1, 'share_of_batches': 0.25}
    assert data_of({'anatomies': ['a']}).endswith('No image of a person.')
    assert limits_of({'anatomies': ['a']}) == list(LIMITS)
    mixed = data_of({'anatomies': ['a'], 'bids': bids})
    assert 'SynthSeg' in mixed
    assert '4 images of 2 people of the dataset "Ours", 1 pairs of one anatomy; 25% of the batches.' in mixed
    assert 'No image of a person' not in mixed
    alone = data_of({'anatomies': [], 'bids': bids, 'init': 'abc'})
    assert 'SynthSeg' not in alone
    assert 'went on from other weights' in alone
    assert 'Ours' in limits_of({'bids': bids})[0]
    assert 'simulated images only' not in ' '.join(limits_of({'bids': bids}))
