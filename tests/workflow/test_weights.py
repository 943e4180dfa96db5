"""The digest of the weights that planning compares, without torch."""

from __future__ import annotations

import shutil

import pytest

from bids_distclip.errors import NoInput
from bids_distclip.workflow.weights import FILES, OPTIONAL, SHIPPED, engine_weights_sha256


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / 'weights')
    return tmp_path / 'weights'


def test_it_is_the_digest_that_results_carry(folder):
    from bids_distclip.networks.weights import weights_sha256

    assert engine_weights_sha256('distclip', weights=folder) == weights_sha256(folder)
    assert engine_weights_sha256('distclip', weights=None) == weights_sha256()


@pytest.mark.parametrize('name', [*FILES, *OPTIONAL])
def test_any_other_file_of_weights_is_another_digest(folder, name):
    before = engine_weights_sha256('distclip', weights=folder)
    with (folder / name).open('ab') as stream:
        stream.write(b'\0')
    assert engine_weights_sha256('distclip', weights=folder) != before


def test_an_engine_without_weights_depends_on_the_segmenter_alone(folder):
    before = engine_weights_sha256('histogram', weights=folder)
    (folder / FILES[0]).unlink()
    assert engine_weights_sha256('histogram', weights=folder) == before
    (folder / 'segmenter.safetensors').unlink()
    assert engine_weights_sha256('histogram', weights=folder) is None


@pytest.mark.parametrize('name', FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(NoInput, match=name):
        engine_weights_sha256('distclip', weights=folder)
