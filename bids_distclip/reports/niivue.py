"""NiiVue, the viewer in 3-D: taken out of the Python package that carries it, put beside the pages as one file."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

from bids_distclip.errors import UsageError

#: The package that carries NiiVue, and where in it.
PACKAGE, WIDGET = 'ipyniivue', 'static/widget.js'
#: Where the library lies in an output folder; one file for all pages.
PLACE = 'assets/niivue.js'
_INSTALL = "pip install 'bids_distclip[reports]' (or pip install --no-deps ipyniivue), or leave --report-viewer out."
#: The whole library stands in the widget once more as text, for pages that a notebook saves: escaped as in an address,
#: an ES module whose last statement names what it exports.
_TEXT = re.compile(r'"([\w%.~*!\'()+-]*export%7B[\w%.~*!\'()+-]*)"')
_EXPORTS = re.compile(r'export\{([\w$, ]*)\};?\s*$')


def read_library() -> str:
    """Return NiiVue as a plain script that sets ``globalThis.niivue``; the package is read, never imported.

    A page opened from disk may not load ES modules, so the export at the end becomes an assignment.

    Raises
    ------
    bids_distclip.errors.UsageError
        If the package is not installed, or does not carry the library as this app knows it.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UsageError(f'--report-viewer niivue needs the Python package {PACKAGE}, which is not installed.',
                         cure=_INSTALL)
    path = Path(next(iter(found.submodule_search_locations))) / WIDGET
    try:
        text = _TEXT.search(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f'The viewer in the package {PACKAGE} cannot be read ({error}).', file=path,
                         cure=_INSTALL) from error
    module = unquote(text[1]) if text else ''
    names = _EXPORTS.search(module)
    exported = dict(_pairs(names[1])) if names else {}
    if names is None or not {'Niivue', 'NVImage'} <= set(exported):
        raise UsageError(f'The package {PACKAGE} does not carry NiiVue as this app knows it.', file=path,
                         cure=f"pip install '{PACKAGE}==2.4.4'.")
    gift = ', '.join(f'{name}: {exported[name]}' for name in ('Niivue', 'NVImage'))
    body = module[: names.start()]
    return f"{_licence()}(() => {{ 'use strict';\n{body}\nglobalThis.niivue = {{ {gift} }};\n}})();\n"


def write_library(output_dir: Path) -> Path:
    """Write the library beside the pages of an output folder and return its path."""
    from bids_distclip.reports.page import save

    return save(read_library(), path=output_dir / PLACE)


def _pairs(exports: str) -> list[tuple[str, str]]:
    """Return exported name and own name of what a module exports.

    >>> _pairs('Niivue,NVMesh3 as NVMesh')
    [('Niivue', 'Niivue'), ('NVMesh', 'NVMesh3')]
    """
    parts = [part.split(' as ') for part in exports.split(',')]
    return [(part[-1].strip(), part[0].strip()) for part in parts]


def _licence() -> str:
    """Return the library's licence as a comment, as the licence wants of every copy."""
    try:
        about = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ''
    text = about.read_text('licenses/LICENSE') or about.read_text('LICENSE') or 'BSD-2-Clause'
    comment = text.replace('*/', '* /').strip()
    return f'/*! NiiVue, from {PACKAGE} {about.version}\n\n{comment}\n*/\n'
