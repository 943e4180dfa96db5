"""What launchers read of the app: its Boutiques descriptor and exit codes, made from the parser and the errors."""

from __future__ import annotations

import argparse
import inspect
from importlib.resources import files
from typing import Any

from bids_distclip import __version__, errors
from bids_distclip.cli.parser import build_parser
from bids_distclip.cli.targets import positive
from bids_distclip.cli.values import LEVELS

#: The names BEP027 gives to what this app calls otherwise.
BEP027 = {
    'bids_dir': 'InputDataset', 'output_dir': 'OutputLocation', 'analysis_level': 'AnalysisLevel',
    'participants': 'SubjectLabel', 'sessions': 'SessionLabel', 'help': 'Help', 'version': 'ToolVersion',
}
#: Draft of the BIDS execution specification (BEP027) that the descriptor follows.
BEP027_VERSION = '2.0'
#: Folders that need not be there before the app makes them.
_MADE = ('output_dir', 'work_dir', 'bids_database_dir')
_IMAGE = f'bids_distclip:{__version__}'
_URL = 'bids_app_spec/bids_distclip.json'


def descriptor() -> dict[str, Any]:
    """Return the Boutiques descriptor (schema 0.5) of ``bids_distclip``, with the fields of BEP027."""
    actions = list_actions()
    inputs = [_input(action) for action in actions]
    return {
        'name': 'bids_distclip', 'tool-version': __version__, 'schema-version': '0.5',
        'description': build_parser().description, 'descriptor-url': _URL,
        'command-line': ' '.join(['bids_distclip', *(item['value-key'] for item in inputs)]),
        'container-image': {'type': 'docker', 'image': _IMAGE, 'entrypoint': True},
        'inputs': inputs, 'groups': _groups(actions), 'output-files': _outputs(),
        'error-codes': [{'code': code, 'description': meaning} for code, _, meaning in exit_codes() if code],
        'suggested-resources': suggested_resources(),
        'tags': {'domain': ['neuroinformatics', 'mri'], 'bids': ['bids-app']},
        'custom': {
            'BIDSAppSpecVersion': BEP027_VERSION, 'BIDSApplicationVersion': BEP027_VERSION,
            'OutputDataSpecification': ['BIDS Derivatives'],
            'gpu': {'count': 1, 'optional': True, 'container-options': {'docker': '--gpus all', 'apptainer': '--nv'}},
        },
    }


def exit_codes() -> list[tuple[int, str, str]]:
    """Return code, name and meaning of every way the app ends, in order of the codes."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)
             if issubclass(kind, errors.DistclipError) and kind is not errors.DistclipError]
    rows = [(kind.code, kind.__name__, str(inspect.getdoc(kind)).splitlines()[0]) for kind in kinds]
    return sorted([(0, 'Done', 'Everything that was asked for is there.'), *rows])


def suggested_resources() -> dict[str, int]:
    """Return what one participant's job should be given: cores, memory in GB, seconds (``resources.json``)."""
    import json

    return json.loads((files('bids_distclip.cli') / 'templates' / 'resources.json').read_text(encoding='utf-8'))


def list_actions() -> list[argparse.Action]:
    """Return what the parser accepts: the positionals in their order, then the options."""
    actions = build_parser()._actions
    return sorted(actions, key=lambda action: bool(action.option_strings))


def flag_of(dest: str) -> str:
    """Return the spelling of an option by the name of its setting.

    >>> flag_of('participants')
    '--participant-label'
    """
    return next(_flag(action) for action in list_actions() if action.dest == dest and action.option_strings)


def name_of(action: argparse.Action) -> str:
    """Return the identifier of an action in the descriptor: BEP027's where it has one, else its long option's."""
    own = _flag(action).lstrip('-').replace('-', '_') if action.option_strings else action.dest
    return BEP027.get(action.dest, own)


def _flag(action: argparse.Action) -> str:
    return next(flag for flag in action.option_strings if flag.startswith('--'))


def _input(action: argparse.Action) -> dict[str, Any]:
    name = name_of(action)
    out: dict[str, Any] = {
        'id': name, 'name': name.replace('_', ' '), 'description': ' '.join(str(action.help).split()),
        'type': _type(action), 'value-key': f'[{name}]', 'optional': bool(action.option_strings),
    }
    if action.option_strings:
        out['command-line-flag'] = _flag(action)
    if out['type'] == 'Number':
        out |= {'integer': True} | ({'minimum': 1} if action.type is positive else {})
    if action.choices:
        out['value-choices'] = list(action.choices)
    if action.nargs == '+':
        out |= {'list': True, 'min-list-entries': 1}
    if isinstance(action, argparse._AppendAction):
        out |= {'list': True, 'list-separator': f' {_flag(action)} '}
    if name == 'AnalysisLevel':
        out['value-choices'] = list(LEVELS)
    if name == 'InputDataset':
        out |= {'list': True, 'max-list-entries': 1}
    return out


def _type(action: argparse.Action) -> str:
    if action.nargs == 0:
        return 'Flag'
    if action.type in (int, positive):
        return 'Number'
    is_path = getattr(action.type, '__name__', '') == 'Path'
    return 'File' if is_path and action.dest not in _MADE else 'String'


def _groups(actions: list[argparse.Action]) -> list[dict[str, Any]]:
    """Return one group for each setting that several options set, of which only one may be given."""
    members: dict[str, list[str]] = {}
    for action in actions:
        members.setdefault(action.dest, []).append(name_of(action))
    return [
        {'id': f'{dest}_options', 'name': f'ways to set {dest}', 'members': names, 'mutually-exclusive': True}
        for dest, names in members.items() if len(names) > 1
    ]


def _outputs() -> list[dict[str, Any]]:
    listed = (
        ('derivative', 'derivative dataset', '', False, 'The BIDS derivative dataset.'),
        ('dataset_description', 'dataset description', '/dataset_description.json', True,
         'What made the dataset, and of what; not with --dry-run.'),
        ('logs', 'logs', '/logs', True, 'Per run: settings, plan, and what became of each image (status.json).'),
        ('group_page', 'group page', '/group.html', True, 'The page over everybody; group level.'),
        ('group_table', 'group table', '/group_images.tsv', True, 'One row per image; group level.'),
    )
    return [
        {'id': name, 'name': title, 'path-template': f'[OutputLocation]{tail}', 'optional': optional,
         'description': text}
        for name, title, tail, optional, text in listed
    ]
