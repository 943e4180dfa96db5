"""The walls of the house: which room may import what, read from the source; and what --help must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import bids_distclip

PACKAGE = Path(bids_distclip.__file__).parent
FLOORS = {
    'cli': 5, '__main__': 5, 'workflow': 4, 'benchmark': 4, 'harmonizers': 3, 'training': 3, 'audit': 3, 'networks': 2,
    'simulation': 2, 'dataset': 2, 'volume': 2, 'settings': 2, 'acquisition': 1, 'quality': 1, 'reports': 1,
    'errors': 0, 'draft': 0, 'weights': 0,
}
#: Which rooms may import a library at all.
OWNERS = {
    'nipype': {'workflow'}, 'bids': {'dataset'}, 'pydicom': {'acquisition/dicom'},
    'torch': {'networks', 'harmonizers', 'training', 'simulation', 'benchmark'},
    'open_clip': {'networks', 'harmonizers', 'training', 'benchmark'},
}
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if path.parent != PACKAGE or path.stem != '__init__')


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix('').parts[0]


def imports(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """Yield the dotted names a module imports; those for type checkers alone do not count."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        names = node.test if isinstance(node, ast.If) else None
        if isinstance(names, ast.Name) and names.id == 'TYPE_CHECKING':
            skipped.update(inner for part in node.body for inner in ast.walk(part))
        if at_import and isinstance(node, ast.FunctionDef):
            skipped.update(inner for part in node.body for inner in ast.walk(part))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_a_fenced_library_only_in_its_room(path):
    inside = path.relative_to(PACKAGE).with_suffix('').as_posix()
    for name in imports(path):
        owners = OWNERS.get(name.split('.')[0])
        assert owners is None or any(inside == owner or inside.startswith(f'{owner}/') for owner in owners), name


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_its_own_floor_and_lower_ones(path):
    own = room(path)
    for name in imports(path):
        parts = name.split('.')
        if parts[0] != 'bids_distclip' or len(parts) < 2 or parts[1] in ('__version__', own):
            continue
        assert FLOORS[parts[1]] <= FLOORS[own], f'{own} (floor {FLOORS[own]}) imports {name}'


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_app_never_imports_training_or_benchmark(path):
    if room(path) in ('training', 'benchmark') or path.relative_to(PACKAGE).as_posix() == 'cli/toolbox.py':
        return
    never = ('bids_distclip.training', 'bids_distclip.benchmark')
    assert not [name for name in imports(path) if name.startswith(never)]


@pytest.mark.parametrize('path', sorted((PACKAGE / 'acquisition').glob('*.py')), ids=lambda path: path.name)
def test_acquisition_lives_on_the_standard_library_alone(path):
    allowed = {*sys.stdlib_module_names, 'bids_distclip', 'numpy'} | ({'pydicom'} if path.stem == 'dicom' else set())
    assert {name.split('.')[0] for name in imports(path, at_import=True)} <= allowed


@pytest.mark.parametrize('path', [p for p in MODULES if room(p) == 'harmonizers'], ids=lambda path: path.name)
def test_harmonizers_import_torch_only_when_they_run(path):
    assert not [name for name in imports(path, at_import=True) if name.split('.')[0] in ('torch', 'open_clip')]


def loaded_by(code: str) -> set[str]:
    tail = '\nimport sys; print("\\n" + " ".join(sorted({name.split(".")[0] for name in sys.modules})))'
    done = subprocess.run([sys.executable, '-c', code + tail], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize('tool', ['app', 'toolbox'])
def test_help_loads_nothing_heavy(tool):
    code = (f'from bids_distclip.cli.{tool} import main\n'
            'try:\n    main(["--help"])\nexcept SystemExit as ended:\n    assert ended.code == 0')
    heavy = {'torch', 'nipype', 'bids', 'numpy', 'nibabel', 'SimpleITK', 'matplotlib', 'pydantic', 'scipy', 'pandas'}
    assert not loaded_by(code) & heavy


def test_the_audit_loads_no_torch_and_no_images():
    assert not loaded_by('import bids_distclip.audit.page') & {'torch', 'nipype', 'open_clip', 'nibabel', 'SimpleITK'}


def test_planning_loads_neither_torch_nor_nipype():
    assert not loaded_by('import bids_distclip.workflow.levels') & {'torch', 'nipype', 'open_clip', 'matplotlib'}


def test_help_is_there_in_less_than_half_a_second():
    began = time.perf_counter()
    subprocess.run([sys.executable, '-m', 'bids_distclip', '--help'], capture_output=True, check=True)
    # 0.05 s on an idle core; the bound leaves room for a busy machine.
    assert time.perf_counter() - began < 2.0
