"""The shipped table of named protocols."""

from __future__ import annotations

import pytest

from bids_distclip.acquisition.family import infer_family
from bids_distclip.acquisition.protocols import default_protocol, load_protocols, protocol
from bids_distclip.acquisition.record import FAMILIES
from bids_distclip.errors import UsageError


@pytest.mark.parametrize('name', list(load_protocols()))
def test_the_physics_of_a_protocol_gives_the_family_it_claims(name):
    row = protocol(name)
    call = infer_family(row.acquisition)
    assert (call.family, call.basis, call.conflict) == (row.family, 'physics', '')
    assert row.evidence in ('sidecar', 'published', 'representative')
    assert row.source
    assert set(row.acquisition.provenance) == set(row.acquisition.known())


@pytest.mark.parametrize('family', FAMILIES)
def test_each_family_has_one_default_and_several_vendors(family):
    rows = [row for row in load_protocols().values() if row.family == family]
    assert [row.name for row in rows if row.default] == [default_protocol(family).name]
    assert {row.acquisition.manufacturer for row in rows} >= {'Siemens', 'GE', 'Philips', 'United Imaging'}
    assert {row.acquisition.field_strength for row in rows} >= {1.5, 3.0}


def test_a_misspelled_protocol_is_refused_with_the_closest_names():
    with pytest.raises(UsageError, match='siemens-prisma-mprage') as caught:
        protocol('siemens-prisma-mpraeg')
    assert caught.value.code == 64


def test_names_are_found_in_any_case():
    assert protocol(' Siemens-Prisma-MPRAGE').name == 'siemens-prisma-mprage'


def test_an_unknown_family_has_no_default():
    with pytest.raises(UsageError):
        default_protocol('bold')
