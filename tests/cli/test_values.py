"""How words of the command line become values."""

from __future__ import annotations

import argparse

import pytest

from bids_distclip.cli.values import parse_labels, parse_levels, parse_memory, parse_pairs
from bids_distclip.errors import UnknownLevel, UsageError


def test_labels_lose_their_prefix_are_sorted_and_stand_once():
    assert parse_labels(['sub-10', '02', '10'], prefix='sub') == ('02', '10')


def test_a_text_file_stands_for_the_labels_in_its_lines(tmp_path):
    listing = tmp_path / 'people.txt'
    listing.write_text('sub-03\n\n01\n')
    assert parse_labels([str(listing), '02'], prefix='sub') == ('01', '02', '03')


@pytest.mark.parametrize(
    ('text', 'unit', 'gigabytes'),
    [('16G', 'm', 16.0), ('16GB', 'm', 16.0), ('16000M', 'm', 16.0), ('16000', 'm', 16.0), ('16', 'g', 16.0),
     ('1.5g', 'm', 1.5), ('2T', 'm', 2000.0)],
)
def test_memory_is_read_with_or_without_a_unit(text, unit, gigabytes):
    assert parse_memory(text, unit=unit) == pytest.approx(gigabytes)


@pytest.mark.parametrize('text', ['', 'much', '-4G', '0', '4 X'])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_memory(text)


def test_levels_run_participants_first_and_know_other_words():
    assert parse_levels(['group', 'participant']) == ('participant', 'group')
    assert parse_levels(['subject', 'dataset']) == ('participant', 'group')


def test_an_unknown_level_is_named():
    with pytest.raises(UnknownLevel, match='everybody'):
        parse_levels(['everybody'])


def test_derivatives_are_named_or_take_the_name_of_their_folder():
    assert parse_pairs(['a=/x/y', '/x/smriprep']) == {'a': '/x/y', 'smriprep': '/x/smriprep'}


@pytest.mark.parametrize(('word', 'name'), [('/d/run=2', 'run=2'), ('./run=2', 'run=2'), ('run=2', 'run=2'),
                                            ('other=2', 'other'), ('smriprep/', 'smriprep')])
def test_a_folder_with_an_equals_sign_is_a_path(word, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'run=2').mkdir()
    assert list(parse_pairs([word])) == [name]


def test_two_datasets_of_one_name_are_an_error():
    with pytest.raises(UsageError, match='/a/fmriprep and /b/fmriprep'):
        parse_pairs(['/a/fmriprep', '/b/fmriprep'])
