from __future__ import annotations

import pickle

import pytest
import torch

from bids_distclip.errors import BadData, NoInput
from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.weights import load_generator, load_trained, save_weights, weights_sha256

OPTIONS = GeneratorOptions(mapper=(8, 8), decoder=(8, 8))


def test_weights_come_back_as_they_were_written(tmp_path):
    model = Generator(OPTIONS)
    save_weights(tmp_path / 'w.safetensors', model, options=OPTIONS.to_dict(), half=False)
    again = load_generator(tmp_path / 'w.safetensors')
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=False):
        torch.testing.assert_close(a, b)


def test_everybody_may_read_written_weights(tmp_path):
    save_weights(tmp_path / 'w.safetensors', Generator(OPTIONS), options=OPTIONS.to_dict())
    assert (tmp_path / 'w.safetensors').stat().st_mode & 0o777 == 0o644


def test_a_pickle_is_refused_and_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / 'sprung'), 'w'))

    (tmp_path / 'w.safetensors').write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadData):
        load_generator(tmp_path / 'w.safetensors')
    assert not (tmp_path / 'sprung').exists()


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(NoInput, match=r'w\.safetensors'):
        load_generator(tmp_path / 'w.safetensors')


def test_the_shipped_weights_load_and_fit_their_card():
    trained = load_trained()
    assert trained.card['sha256'] == trained.sha256 == weights_sha256()
    assert trained.generator.count() == trained.card['generator']['parameters']
