"""Foreign, absurd and missing metadata: what the app makes of them, what it says, and what becomes of the image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bids_distclip.acquisition.family import infer_family
from bids_distclip.acquisition.record import Acquisition
from bids_distclip.acquisition.sidecar import from_sidecar, to_sidecar
from bids_distclip.benchmark.cases import Case
from bids_distclip.harmonizers.base import Harmonizer, Target
from bids_distclip.quality.metrics import image_metrics, paper_protocol, style_metrics
from bids_distclip.quality.trust import doubts

COLUMNS = ('spoilt', 'metadata', 'data', 'head', 'draw', 'pair', 'outcome', 'written', 'result', 'said')
#: What can become of an image; *result* is harmonized, whether or not it is written.
OUTCOMES = ('harmonized', 'abstained', 'left', 'refused')
_TIMES = ('EchoTime', 'RepetitionTime', 'InversionTime')
_NUMBERS = (*_TIMES, 'FlipAngle', 'MagneticFieldStrength')
#: Where a sentence ends and another begins.
_SENTENCE = re.compile(r'(?<=\.) (?=[A-Z])')
Raw = Mapping[str, Any]


def _times(raw: Raw, factor: float, keys: Sequence[str] = _TIMES) -> dict[str, Any]:
    return {**raw, **{key: raw[key] * factor for key in keys if key in raw}}


def _numbers(raw: Raw, change: Callable[[Any], str]) -> dict[str, Any]:
    return {**raw, **{key: change(raw[key]) for key in _NUMBERS if key in raw}}


def _less(raw: Raw, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in keys}


def _only_words(raw: Raw, words: str) -> dict[str, Any]:
    return {'SeriesDescription': words}


#: Ways to spoil a sidecar, by name.
WAYS: Mapping[str, Callable[[Raw], dict[str, Any]]] = {
    'as it is': dict,
    'times in milliseconds': lambda raw: _times(raw, 1000.0),
    'field strength in gauss': lambda raw: {**raw, 'MagneticFieldStrength': 1e4 * raw.get('MagneticFieldStrength', 3)},
    'numbers as text': lambda raw: _numbers(raw, str),
    'numbers with a comma': lambda raw: _numbers(raw, lambda value: str(value).replace('.', ',')),
    '7 T': lambda raw: {**raw, 'MagneticFieldStrength': 7.0},
    'echo time three times as long': lambda raw: _times(raw, 3.0, ('EchoTime',)),
    'repetition time a third': lambda raw: _times(raw, 1 / 3, ('RepetitionTime',)),
    'flip angle of 720 degrees': lambda raw: {**raw, 'FlipAngle': 720},
    'negative times': lambda raw: _times(raw, -1.0),
    'echo time longer than repetition time': lambda raw: {**raw, 'EchoTime': 0.9, 'RepetitionTime': 0.05},
    'unknown vendor': lambda raw: {**raw, 'Manufacturer': 'ACME Imaging', 'ManufacturersModelName': 'Foo 9000'},
    'Chinese and Japanese words': lambda raw: {
        **raw, 'SeriesDescription': '头部三维加权成像', 'Manufacturer': 'シーメンス'
    },
    'ten thousand letters': lambda raw: {**raw, 'SeriesDescription': 'lorem ipsum ' * 833},
    'German words alone': lambda raw: _only_words(raw, 'Kopf nativ, bitte eilig'),
    'without the echo time': lambda raw: _less(raw, 'EchoTime'),
    'without the repetition time': lambda raw: _less(raw, 'RepetitionTime'),
    'without the inversion time': lambda raw: _less(raw, 'InversionTime'),
    'without the flip angle': lambda raw: _less(raw, 'FlipAngle'),
    'without the field strength': lambda raw: _less(raw, 'MagneticFieldStrength'),
    'without the scanner': lambda raw: _less(raw, 'Manufacturer', 'ManufacturersModelName'),
    'without the slice thickness': lambda raw: _less(raw, 'SliceThickness'),
    'without the dimension': lambda raw: _less(raw, 'MRAcquisitionType'),
    'without the sequence': lambda raw: _less(raw, 'ScanningSequence', 'SequenceVariant', 'EchoTrainLength'),
    'without the description': lambda raw: _less(raw, 'SeriesDescription', 'ProtocolName'),
    'nothing': lambda raw: {},
}


def ask_metadata(engine: Harmonizer, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Yield one row per case and way, once with the source's metadata spoilt and once with the target's.

    Guided by metadata; cases with nothing to do are left out. ``written`` and ``result`` are PSNR (dB, the paper's
    protocol) of what the app writes, the source itself where it abstains, and of what the engine made.
    """
    for case in cases:
        if case.nothing_to_do:
            continue
        about = {'data': case.data, 'head': case.head, 'draw': case.draw, 'pair': case.pair}
        before = _near(case, case.source.volume.data / case.source.scale)
        for name, spoil in WAYS.items():
            for side in ('source', 'target'):
                outcome, result, said = _asked(engine, case, side, spoil)
                written = {'harmonized': result, 'abstained': before}.get(outcome, float('nan'))
                yield {'spoilt': side, 'metadata': name, **about, 'outcome': outcome, 'written': written,
                       'result': result, 'said': ' '.join(said)}


def _asked(
    engine: Harmonizer, case: Case, side: str, spoil: Callable[[Raw], dict[str, Any]]
) -> tuple[str, float, Sequence[str]]:
    """Return what becomes of the image, PSNR of the result (nan without), and what the app says of it."""
    family = case.source_family if side == 'source' else case.target_family
    own = case.source.acquisition if side == 'source' else case.metadata_target.acquisition
    read = from_sidecar(spoil(to_sidecar(own)), suffix=family)
    if side == 'target' and not read.known():
        return 'refused', float('nan'), ('The sidecar says nothing about an acquisition.',)
    call = infer_family(read)
    if call.family != family:
        return 'left', float('nan'), (*read.notes, call.conflict)
    source, target = case.source, case.metadata_target
    if side == 'source':
        source = replace(source, acquisition=read)
    else:
        target = Target('metadata', target.name, family, read, scale=target.scale)
    synthesize = case.source_family != case.target_family
    answer = engine.harmonize(source, target, synthesize=synthesize)
    metrics = image_metrics(source, answer.data, target) | style_metrics(answer.details.get('style', {}))
    numbers = {name: entry['value'] for name, entry in metrics.items()}
    found = doubts(numbers, engine=str(answer.details.get('engine')), synthesize=synthesize)
    result = _near(case, answer.data / target.scale)
    return ('abstained' if found else 'harmonized'), result, (*_without(read, own), *found)


def _without(read: Acquisition, own: Acquisition) -> tuple[str, ...]:
    """Return what was said of the metadata that is not said of the unspoilt ones."""
    return tuple(note for note in read.notes if note not in own.notes)


def _near(case: Case, picture: np.ndarray) -> float:
    brain = case.source.brain
    decibel, _ = paper_protocol(np.clip(picture, 0, 1) * brain, np.clip(case.truth, 0, 1) * brain)
    return float(min(decibel, 99.0))


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a Markdown table, a row per way to spoil metadata: of the source's and of the target's how many images had
    which of :data:`OUTCOMES`, how near the truth is what was written (and, where that differs, what was made), and the
    first thing said."""
    groups: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        groups.setdefault(row['metadata'], {'source': [], 'target': []})[row['spoilt']].append(row)
    # No source is refused: metadata that say nothing of it are an image's lack, not the user's choice.
    sides = {'source': OUTCOMES[:3], 'target': OUTCOMES}
    titles = ['metadata']
    for side, outcomes in sides.items():
        titles += [f'of the {side}: {", ".join(outcomes)}', 'written (result)']
    lines = [_line(*titles, 'what the app says'), '|' + '---|' * (len(titles) + 1)]
    for name, found in groups.items():
        cells = [name]
        for side, outcomes in sides.items():
            cells.append(', '.join(str(sum(row['outcome'] == o for row in found[side])) for o in outcomes))
            written, result = (_mean([row[column] for row in found[side]]) for column in ('written', 'result'))
            cells.append(written if written == result else f'{written} ({result})')
        said = next((row['said'] for row in (*found['source'], *found['target']) if row['said']), '')
        lines.append(_line(*cells, _SENTENCE.split(said)[0]))
    return '\n'.join(lines) + '\n'


def _line(*cells: str) -> str:
    return f'| {" | ".join(cell.replace("|", "/") for cell in cells)} |'


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return f'{np.mean(known):.1f}' if known else ''
