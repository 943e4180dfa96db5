"""The audit of a dataset: one page, four tables, and a conclusion in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bids_distclip import __version__
from bids_distclip.acquisition.record import VALUE_FIELDS
from bids_distclip.audit.checks import (
    ESSENTIAL,
    KINDS,
    Finding,
    check_items,
    check_scanners,
    completeness,
    essential_share,
    gathered,
)
from bids_distclip.audit.clusters import TIMING, Protocol, check_protocols, find_protocols
from bids_distclip.audit.gather import UNKNOWN, Item, gather_items
from bids_distclip.reports.page import render, save
from bids_distclip.reports.table import cell, tsv

_PROTOCOL = ('protocol', 'scanner', 'label', 'family', 'images', 'people', 'acquisition_type', *TIMING)
_IMAGE = ('image', 'scanner', 'protocol', 'label', 'family', 'family_basis', *VALUE_FIELDS)


def audit_dataset(bids_dir: Path, *, out: Path) -> tuple[Path, list[str]]:
    """Audit the metadata of a dataset; return the page and the conclusion.

    Writes ``audit.html``, ``audit_findings.tsv``, ``audit_images.tsv``, ``audit_protocols.tsv`` and
    ``audit_completeness.tsv`` into ``out``. Serial numbers, names, places and dates are not written.

    Raises
    ------
    bids_distclip.errors.NoInput
        If there is neither an image nor a sidecar of a known contrast.
    """
    items = gather_items(bids_dir)
    protocols = find_protocols(items)
    weight = list(KINDS)
    found = [*check_items(items), *check_scanners(items), *check_protocols(protocols)]
    findings = sorted(found, key=lambda finding: weight.index(finding.kind))
    shares = completeness(items)
    tables: dict[str, tuple[Sequence[str], list[dict[str, Any]]]] = {
        'findings': (('kind', 'scanner', 'image', 'text'), [asdict(finding) for finding in findings]),
        'protocols': (_PROTOCOL, [_protocol_row(protocol) for protocol in protocols]),
        'completeness': (('scanner', 'images', 'people', *VALUE_FIELDS), shares),
        'images': (_IMAGE, _image_rows(items, protocols=protocols)),
    }
    for name, (columns, rows) in tables.items():
        save(tsv(columns, rows=rows), path=out / f'audit_{name}.tsv')
    told = conclude(items, protocols=protocols, findings=findings)
    text = render(
        'audit.html', scripts=('group.js',), version=__version__, name=bids_dir.resolve().name, conclusions=told,
        kinds=[(kind, KINDS[kind], gathered([f for f in findings if f.kind == kind])) for kind in KINDS],
        shares=shares, fields=VALUE_FIELDS, essential=ESSENTIAL,
        protocols=[{key: cell(value) for key, value in row.items()} for row in tables['protocols'][1]],
        protocol_columns=_PROTOCOL, image_columns=_IMAGE,
        images=[{key: cell(value) for key, value in row.items()} for row in tables['images'][1]],
    )
    return save(text, path=out / 'audit.html'), told


def conclude(items: Sequence[Item], *, protocols: Sequence[Protocol], findings: Sequence[Finding]) -> list[str]:
    """Say in sentences what there is, how much is known, and what to look at first."""
    people = len({item.subject for item in items})
    scanners = {item.scanner for item in items} - {UNKNOWN}
    dark = sum(item.scanner == UNKNOWN for item in items)
    share = essential_share(items)
    told = [
        f'{_count(len(items), "image")} of {_count(people, "person", "people")} on {_count(len(scanners), "scanner")}, '
        f'with {_count(sum(map(_says, protocols)), "protocol")}.',
        f'{share:.0%} of the images tell vendor, field strength, echo time, repetition time and flip angle.',
        *([f'Of {_count(dark, "image")} the scanner is not known.'] if dark else []),
    ]
    counts = Counter(finding.kind for finding in findings)
    if not counts:
        return [*told, 'Nothing contradicts itself, and no unit has slipped.']
    listed = ', '.join(f'{counts[kind]} × {kind}' for kind in KINDS if counts[kind])
    return [*told, f'{_count(len(findings), "finding")} to look at: {listed}.']


def _says(protocol: Protocol) -> bool:
    return any(getattr(protocol.settings, name) is not None for name in TIMING)


def _protocol_row(protocol: Protocol) -> dict[str, Any]:
    settings = {name: getattr(protocol.settings, name) for name in ('acquisition_type', *TIMING)}
    return {
        'protocol': protocol.name, 'scanner': protocol.scanner, 'label': protocol.label, 'family': protocol.family,
        'images': len(protocol.items), 'people': protocol.people, **settings,
    }


def _image_rows(items: Sequence[Item], *, protocols: Sequence[Protocol]) -> list[dict[str, Any]]:
    names = {item.name: protocol.name for protocol in protocols for item in protocol.items}
    return [
        {
            'image': item.name, 'scanner': item.scanner, 'protocol': names[item.name], 'label': item.label,
            'family': item.family.family, 'family_basis': item.family.basis, **item.acquisition.values(),
        }
        for item in items
    ]


def _count(number: int, word: str, plural: str = '') -> str:
    return f'{number} {word if number == 1 else plural or word + "s"}'
