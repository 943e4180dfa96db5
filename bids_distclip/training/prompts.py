"""Prompts for training: fields dropped or garbled at random, so that missing metadata is in distribution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bids_distclip.acquisition.prompt import prompt
from bids_distclip.acquisition.record import VALUE_FIELDS, Acquisition

_TEXT = (
    'manufacturer',
    'model',
    'series_description',
    'scanning_sequence',
    'sequence_variant',
    'acquisition_type',
)


def drop_fields(
    acquisition: Acquisition, rng: np.random.Generator, *, each: float = 0.12, text: float = 0.15
) -> Acquisition:
    """Return a copy without some fields: each with its own chance, all text fields at once now and then."""
    names = [n for n in VALUE_FIELDS if rng.random() < each]
    if rng.random() < text:
        names += list(_TEXT)
    return acquisition.without(*set(names))


def training_prompt(acquisition: Acquisition, rng: np.random.Generator, *, family: str, plane: str) -> str:
    """Return a prompt with dropped fields; the BIDS suffix is known in half of them, as a hint."""
    known = drop_fields(acquisition, rng)
    hint = family if rng.random() < 0.5 else None
    return prompt(replace(known, suffix=hint), plane=plane if rng.random() < 0.7 else 'NONE')
