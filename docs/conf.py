"""Sphinx configuration; tables that the package knows are written from the package, so that they cannot drift."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from importlib.resources import files
from pathlib import Path

import bids_distclip
from bids_distclip.cli import spec, toolbox
from bids_distclip.cli.parser import build_parser
from bids_distclip.quality.metrics import metric_table

project = 'bids_distclip'
author = 'bids_distclip contributors'
copyright = author
release = version = bids_distclip.__version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.doctest']
exclude_patterns = ['_build', '_generated']
html_theme = 'alabaster'
html_theme_options = {'description': 'Brain MRI from one scanner as another would have shown it', 'fixed_sidebar': True}
myst_enable_extensions = ['dollarmath']
autodoc_mock_imports = ['torch']
autodoc_typehints = 'description'
HERE = Path(__file__).parent


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ['---'] * len(columns), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines) + '\n'


def exit_codes() -> str:
    """Return the table of exit codes from the errors of the package."""
    rows = [[str(code), f'`{name}`', meaning] for code, name, meaning in spec.exit_codes()]
    return table(['code', 'name', 'meaning'], rows)


def numbers() -> str:
    """Return the table of quality numbers."""
    rows = [[f'`{name}`', row['label'], row['unit'] or '–', row['meaning'], row['good']]
            for name, row in metric_table().items()]
    return table(['column', 'name', 'unit', 'meaning', 'what is good'], rows)


def protocols() -> str:
    """Return the table of shipped protocols."""
    text = (files('bids_distclip.acquisition') / 'protocols.tsv').read_text(encoding='utf-8')
    shown = ['name', 'family', 'default', 'manufacturer', 'model', 'field_strength', 'echo_time',
             'repetition_time', 'inversion_time', 'flip_angle']
    rows = [[(row[c] if row[c] != 'n/a' else '') for c in shown]
            for row in csv.DictReader(text.splitlines(), delimiter='\t')]
    return table([c.replace('_', ' ') for c in shown], rows)


def scanners() -> str:
    """Return the table of simulated sequences, ranges as from–to."""
    rows = json.loads((files('bids_distclip.simulation') / 'scanners.json').read_text(encoding='utf-8'))
    shown = ['TE', 'TR', 'TI', 'FA']
    lines = [[row['name'], row['family'], row['sequence'], f'{row["B0"]:g}', *(span(row.get(name)) for name in shown)]
             for row in rows]
    return table(['name', 'family', 'sequence', 'field strength', *shown], lines)


def span(limits: list[float] | None) -> str:
    """Return a range as text."""
    return '' if limits is None else f'{limits[0]:g}–{limits[1]:g}'


def tissues() -> str:
    """Return the table of tissue parameters."""
    text = (files('bids_distclip.simulation') / 'tissues.tsv').read_text(encoding='utf-8')
    rows = list(csv.DictReader(text.splitlines(), delimiter='\t'))
    shown = [c for c in rows[0] if c not in ('spread', 'texture', 'MT')]
    return table([c.replace('_', ' ') for c in shown], [[row[c] for c in shown] for row in rows])


def limits() -> str:
    """Return the table of limits past which the app abstains."""
    rows = json.loads((files('bids_distclip.quality') / 'limits.json').read_text(encoding='utf-8'))['limits']
    if not rows:
        return 'No limit has been measured for these weights yet, so the app never abstains.\n'
    lines = [
        [f'`{row["number"]}`', 'at least' if 'least' in row else 'at most', f'{row.get("least", row.get("most")):g}',
         ', '.join(row['modes']), row['from']]
        for row in rows
    ]
    return table(['number', 'must be', 'limit', 'for', 'how it was found'], lines)


def usage() -> str:
    """Return the help text of the app."""
    sys.argv[0] = 'bids_distclip'
    return f'```text\n{build_parser().format_help()}```\n'


def tools() -> str:
    """Return the help texts of the toolbox, one section per subcommand."""
    shown = ((name, subparsers(toolbox.build_parser(name))[name]) for name in subparsers(toolbox.build_parser()))
    return '\n'.join(f'### distclip {name}\n\n```text\n{parser.format_help()}```\n' for name, parser in shown)


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a parser's subcommands by name."""
    return next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def model_card() -> str:
    """Return the cards shipped beside the weights: Markdown as it stands, JSON as nested lists."""
    folder = Path(str(files('bids_distclip'))) / 'weights'
    cards = sorted([*folder.rglob('*.md'), *folder.rglob('*card*.json')])
    if not cards:
        return ':::{note}\nThis copy of the package holds no weights, so there is no card to show.\n:::\n'
    parts = []
    for card in cards:
        text = card.read_text(encoding='utf-8')
        parts.append(text if card.suffix == '.md' else f'### {card.name}\n\n' + nested(json.loads(text)))
    return '\n\n'.join(parts)


def nested(value: object, *, depth: int = 0) -> str:
    """Return JSON as a nested Markdown list."""
    pad = '  ' * depth
    if isinstance(value, dict):
        items = [(f'**{key}**', item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [('', item) for item in value]
    else:
        return f'{pad}- {value}\n'
    lines = []
    for name, item in items:
        if isinstance(item, list) and all(isinstance(one, (int, float)) or len(str(one)) < 20 for one in item):
            item = ', '.join(map(str, item))
        if isinstance(item, (dict, list)):
            lines.append(f'{pad}- {name or "entry"}\n{nested(item, depth=depth + 1)}')
        else:
            lines.append(f'{pad}- {name + ": " if name else ""}{item}\n')
    return ''.join(lines)


def setup(app) -> None:
    """Write the generated pieces before Sphinx reads the pages."""
    folder = HERE / '_generated'
    folder.mkdir(exist_ok=True)
    for make in (exit_codes, numbers, protocols, scanners, tissues, limits, usage, tools, model_card):
        (folder / f'{make.__name__}.md').write_text(make(), encoding='utf-8')
