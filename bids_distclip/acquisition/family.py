"""Which contrast an acquisition gives: by physics first, by description next, by the BIDS suffix last."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bids_distclip.acquisition.record import FAMILIES, Acquisition

#: What series descriptions call the families; the first match wins.
_WORDS = (
    ('FLAIR', r'dark[ _-]?fluid|t2[ _-]?flair|(?<!t1)(?<!t1[ _-])flair|tirm'),
    ('T1w', r'mp2?rage|mpr(?![a-z])|bravo|spgr|t1|tfe(?!.*t2)|tfl'),
    ('T2starw', r't2[ _-]?star|t2\*|hemo|swan|swi|ffe'),
    ('T2w', r't2|space|spc'),
    ('PDw', r'(?<![a-z])pdw?(?![a-z])|proton'),
)

#: Seconds; between white and grey matter at 3 T (Stanisz et al., Magn Reson Med 2005: 1.08 and 1.82).
_T1 = 1.2

_ALIASES = {'inplaneT1': 'T1w', 'inplaneT2': 'T2w', 'PD': 'PDw', 'T2star': 'T2starw', 'FLASH': 'T1w'}


@dataclass(frozen=True)
class FamilyCall:
    """The family of an acquisition and why.

    ``basis`` is ``physics``, ``description``, ``suffix`` or ``none``; ``conflict`` says in a sentence where
    the BIDS suffix disagrees; ``sequence`` is ``MPRAGE``, ``SPGR``, ``SE``, ``TSE``, ``IR-TSE`` or ``GRE``;
    ``tr_meaning`` is ``inversion cycle``, ``readout`` or ``repetition``; ``echo_meaning`` is ``nominal``
    (long 3-D trains), ``effective`` or ``echo``.
    """

    family: str | None
    sequence: str | None = None
    basis: str = 'none'
    conflict: str = ''
    tr_meaning: str | None = None
    echo_meaning: str | None = None


def infer_family(acquisition: Acquisition) -> FamilyCall:
    """Return the contrast family of an acquisition; with nothing to go by, its suffix or nothing.

    Physics decides where it can; a series description is asked next, the suffix last. A suffix that
    disagrees is reported in ``conflict``.
    """
    hint = _ALIASES.get(acquisition.suffix or '', acquisition.suffix)
    hint = hint if hint in FAMILIES else None
    call: tuple[str, str | None] | None = _by_physics(acquisition)
    basis = 'physics'
    if call == ('T2w', 'TSE') and hint == 'FLAIR' and not acquisition.scanning_sequence:
        # A long echo without inversion time and sequence codes may be either: here the file name decides.
        call, basis = ('FLAIR', 'IR-TSE'), 'suffix'
    if call is None:
        call, basis = _by_description(acquisition), 'description'
    if call is None:
        return FamilyCall(hint, basis='suffix' if hint else 'none')
    family, sequence = call
    conflict = ''
    if hint and hint != family:
        conflict = f'The file name says {hint}, the {basis} says {family}.'
    meanings = _tr_meaning(acquisition, sequence), _echo_meaning(acquisition, sequence)
    return FamilyCall(family, sequence, basis, conflict, *meanings)


def _is_inverted(acquisition: Acquisition) -> bool:
    return 'IR' in acquisition.scanning_sequence or acquisition.inversion_time is not None


def _by_physics(acquisition: Acquisition) -> tuple[str, str] | None:
    """Return family and sequence from the timing; limits in seconds, from the ranges of real sidecars."""
    te, tr = acquisition.echo_time, acquisition.repetition_time
    ti, fa = acquisition.inversion_time, acquisition.flip_angle
    if te is None or (tr is None and ti is None):
        return None
    if _is_gradient(acquisition, te, tr, fa):
        return _gradient_echo(acquisition, te, tr)
    if ti is not None and ti > 1.3 and te > 0.05:
        return 'FLAIR', 'IR-TSE'
    if ti is not None and ti <= 1.3 and te <= 0.05:
        return 'T1w', 'IR-TSE'
    if tr is None:
        return None
    if te <= 0.045 and 'IR' in acquisition.scanning_sequence and ti is None and tr < 4:
        return 'T1w', 'IR-TSE'
    if te <= 0.045:
        return ('T1w', 'SE') if tr < 1.2 else ('PDw', 'TSE') if tr >= 1.6 and ti is None else None
    if te >= 0.06 and tr >= 1.5:
        return _long_echo(acquisition)
    return None


def _is_gradient(acquisition: Acquisition, te: float, tr: float | None, fa: float | None) -> bool:
    codes = acquisition.scanning_sequence
    if 'GR' in codes and 'SE' not in codes:
        return True
    if 'SE' in codes:
        return False
    if te < 0.007:
        return True
    return fa is not None and fa < 50 and te < 0.06 and (tr is None or tr < 1.0)


def _gradient_echo(acquisition: Acquisition, te: float, tr: float | None) -> tuple[str, str] | None:
    """T2starw by its echo, prepared T1w by codes, name or cycle; else T1w or PDw by the Ernst angle."""
    if te >= 0.011:
        return 'T2starw', 'GRE'
    prepared = _is_inverted(acquisition) or 'MP' in acquisition.sequence_variant
    words = (acquisition.series_description or '').lower()
    described = re.search(r'mprage|mpr(?![a-z])|bravo|tfe|ir-?fspgr|fsp', words)
    if prepared or described or (tr is not None and tr > 1.0):
        return 'T1w', 'MPRAGE'
    angle = acquisition.flip_angle
    if angle is not None and tr is not None:
        if angle >= 35 and tr < 0.012:
            return None  # balanced steady state: neither of the families
        if angle < 0.6 * math.degrees(math.acos(math.exp(-tr / _T1))):
            return 'PDw', 'SPGR'
    return 'T1w', 'SPGR'


def _long_echo(acquisition: Acquisition) -> tuple[str, str]:
    """T2w or T2-FLAIR whose inversion time was not written."""
    words = (acquisition.series_description or '').lower()
    inverted = 'IR' in acquisition.scanning_sequence or re.search(_WORDS[0][1], words)
    if acquisition.inversion_time is None and inverted:
        return 'FLAIR', 'IR-TSE'
    return 'T2w', 'TSE'


def _by_description(acquisition: Acquisition) -> tuple[str, None] | None:
    words = (acquisition.series_description or '').lower()
    for family, pattern in _WORDS:
        if words and re.search(pattern, words):
            return family, None
    return None


def _tr_meaning(acquisition: Acquisition, sequence: str | None) -> str | None:
    if acquisition.repetition_time is None or sequence is None:
        return None
    if sequence == 'MPRAGE':
        return 'readout' if acquisition.repetition_time < 0.1 else 'inversion cycle'
    return 'repetition'


def _echo_meaning(acquisition: Acquisition, sequence: str | None) -> str | None:
    if acquisition.echo_time is None or sequence is None:
        return None
    if sequence in ('TSE', 'IR-TSE'):
        return 'nominal' if acquisition.echo_time > 0.2 else 'effective'
    return 'echo'
