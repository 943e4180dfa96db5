"""One HTML file that needs no other: templates, styles, scripts and images in one, under a strict policy."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from bids_distclip.draft import draft

_TYPES = {'.webp': 'image/webp', '.png': 'image/png', '.jpg': 'image/jpeg', '.jpeg': 'image/jpeg'}


@dataclass(frozen=True)
class Inlined:
    """An image as part of a page: a ``data:`` address and its size in pixels."""

    address: str
    width: int
    height: int


@functools.cache
def environment() -> Environment:
    """Return the jinja2 environment of the pages: everything is escaped, a missing name is an error."""
    return Environment(
        loader=PackageLoader('bids_distclip.reports'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def page_spec() -> dict[str, Any]:
    """Return what pages show and in which words, as written in ``page.yaml``."""
    return yaml.safe_load((files('bids_distclip.reports') / 'page.yaml').read_text(encoding='utf-8'))


def render(template: str, *, scripts: Sequence[str], loads: bool = False, **values: Any) -> str:
    """Render a page with the shared style and scripts of ``templates/``, all inlined, the scripts as one.

    The page's Content-Security-Policy names style and script by their hashes and allows images from ``data:`` alone,
    so that a browser neither runs planted scripts nor asks any other place for anything. With ``loads`` these scripts,
    and nothing else, may load a further one that lies beside the page.
    """
    folder = files('bids_distclip.reports') / 'templates'
    style, *parts = ((folder / name).read_text(encoding='utf-8') for name in ('style.css', *scripts))
    code = ''.join(parts)
    trusted = f"'{_digest(code)}'" + (" 'strict-dynamic'" if loads else '')
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src {trusted}; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment().get_template(template).render(
        policy=policy, style=Markup(style), script=Markup(code), **values
    )


def _digest(text: str) -> str:
    return 'sha256-' + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def inline(name: str, *, folders: Iterable[Path]) -> Inlined | None:
    """Read an image of one of some folders as a ``data:`` address; None if there is none that can be read.

    Only the last part of ``name`` counts: a record cannot make a page show files of other folders.
    """
    for folder in folders:
        path = folder / Path(name).name
        if path.suffix.lower() not in _TYPES or not path.is_file():
            continue
        try:
            with Image.open(path) as image:
                width, height = image.size
        except (UnidentifiedImageError, OSError):
            continue
        data = base64.b64encode(path.read_bytes()).decode()
        return Inlined(f'data:{_TYPES[path.suffix.lower()]};base64,{data}', width, height)
    return None


def save(text: str, *, path: Path) -> Path:
    """Write a page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft(path) as hidden:
        hidden.write_text(text, encoding='utf-8')
    return path
