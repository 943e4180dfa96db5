"""Which contrast an acquisition gives: by its physics first, by its description next, by the BIDS suffix last."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bids_distclip.acquisition.record import FAMILIES, Acquisition

#: What series descriptions call the families; the first match wins.
_WORDS = (
    ('FLAIR', r'dark[ _-]?fluid|t2[ _-]?flair|(?<!t1)(?<!t1[ _-])flair|tirm'),
    ('T1w', r'mp2?rage|mpr(?![a-z])|bravo|spgr|t1|tfe(?!.*t2)|tfl'),
    ('T2starw', r't2[ _-]?star|t2\*|hemo|swan|swi|ffe'),
    ('T2w', r't2|space|spc'),
    ('PDw', r'(?<![a-z])pd(?![a-z])|proton'),
)

_ALIASES = {'inplaneT1': 'T1w', 'inplaneT2': 'T2w', 'PD': 'PDw', 'T2star': 'T2starw', 'FLASH': 'T1w'}


@dataclass(frozen=True)
class FamilyCall:
    """The family of an acquisition and why.

    ``basis`` is ``physics``, ``description``, ``suffix`` or ``none``; ``conflict`` says in a sentence where the BIDS
    suffix disagrees; ``tr_meaning`` is ``inversion cycle``, ``readout`` or ``repetition``; ``echo_meaning`` is
    ``nominal`` (long 3-D trains), ``effective`` or ``echo``.
    """

    family: str | None
    sequence: str | None = None
    basis: str = 'none'
    conflict: str = ''
    tr_meaning: str | None = None
    echo_meaning: str | None = None


def infer_family(acquisition: Acquisition) -> FamilyCall:
    """Return the contrast family of an acquisition; with nothing to go by, its suffix, and without one, nothing."""
    hint = _ALIASES.get(acquisition.suffix or '', acquisition.suffix)
    hint = hint if hint in FAMILIES else None
    call, basis = _by_physics(acquisition), 'physics'
    if call is None:
        call, basis = _by_description(acquisition), 'description'
    if call is None:
        return FamilyCall(hint, basis='suffix' if hint else 'none')
    family, sequence = call
    conflict = ''
    if hint and hint != family:
        conflict = f'The file name says {hint}, the {basis} says {family}.'
    return FamilyCall(family, sequence, basis, conflict, _tr_meaning(acquisition, sequence), _echo_meaning(acquisition, sequence))


def _is_inverted(acquisition: Acquisition) -> bool:
    return 'IR' in acquisition.scanning_sequence or acquisition.inversion_time is not None


def _by_physics(acquisition: Acquisition) -> tuple[str, str] | None:
    te, tr, ti, fa = (getattr(acquisition, n) for n in ('echo_time', 'repetition_time', 'inversion_time', 'flip_angle'))
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
    if te >= 0.011:
        return 'T2starw', 'GRE'
    prepared = _is_inverted(acquisition) or 'MP' in acquisition.sequence_variant
    described = re.search(r'mprage|mpr(?![a-z])|bravo|tfe|ir-?fspgr|fsp', (acquisition.series_description or '').lower())
    if prepared or described or (tr is not None and tr > 1.0):
        return 'T1w', 'MPRAGE'
    if acquisition.flip_angle is not None and acquisition.flip_angle < 5 and te < 0.011:
        return 'PDw', 'SPGR'
    return 'T1w', 'SPGR'


def _long_echo(acquisition: Acquisition) -> tuple[str, str]:
    """T2w or T2-FLAIR whose inversion time was not written."""
    words = (acquisition.series_description or '').lower()
    if acquisition.inversion_time is None and ('IR' in acquisition.scanning_sequence or re.search(_WORDS[0][1], words)):
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
