"""The files that launchers need to run the app: written from the parser, so that they cannot drift from it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from bids_distclip import __version__
from bids_distclip.cli.spec import descriptor, exit_codes, flag_of, suggested_resources
from bids_distclip.cli.values import LEVELS

#: What nipoppy puts in place of a word in its files.
_PERSON, _SESSION = '[[NIPOPPY_BIDS_PARTICIPANT_ID]]', '[[NIPOPPY_BIDS_SESSION_ID]]'


def render_all() -> dict[str, str]:
    """Return the content of every file by its path below ``bids_app_spec``."""
    return {name: make() for name, make in FILES.items()}


def write_all(folder: Path) -> list[Path]:
    """Write every file below ``folder`` and return them; scripts are made executable."""
    paths = []
    for name, text in render_all().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
        path.chmod(0o755 if name.endswith('.sh') else 0o644)
        paths.append(path)
    return paths


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + '\n'


def _exit_code_table() -> str:
    rows = [('code', 'name', 'meaning'), *((str(code), name, meaning) for code, name, meaning in exit_codes())]
    return ''.join('\t'.join(row) + '\n' for row in rows)


def _invocation() -> dict[str, Any]:
    """Return an example of the descriptor's input: two people of a dataset in the current folder."""
    return {
        'InputDataset': ['data'], 'OutputLocation': 'derivatives/distclip', 'AnalysisLevel': ['participant'],
        'SubjectLabel': ['01', '02'], 'output_level': 'minimal', 'skip_bids_validation': True,
    }


def _nipoppy_config() -> dict[str, Any]:
    image = '[[PIPELINE_NAME]]_[[PIPELINE_VERSION]].sif'
    return {
        'NAME': 'bids_distclip', 'VERSION': __version__, 'PIPELINE_TYPE': 'processing', 'SCHEMA_VERSION': '1.0',
        'CONTAINER_INFO': {'FILE': f'[[NIPOPPY_DPATH_CONTAINERS]]/{image}'},
        'CONTAINER_CONFIG': {'ARGS': ['--containall']},
        'STEPS': [{
            'INVOCATION_FILE': 'invocation.json', 'DESCRIPTOR_FILE': 'descriptor.json',
            'TRACKER_CONFIG_FILE': 'tracker.json', 'HPC_CONFIG_FILE': 'hpc.json',
        }],
    }


def _nipoppy_invocation() -> dict[str, Any]:
    resources = suggested_resources()
    return {
        'InputDataset': ['[[NIPOPPY_DPATH_BIDS]]'], 'OutputLocation': '[[NIPOPPY_DPATH_PIPELINE_OUTPUT]]',
        'AnalysisLevel': ['participant'], 'SubjectLabel': ['[[NIPOPPY_PARTICIPANT_ID]]'],
        'SessionLabel': ['[[NIPOPPY_SESSION_ID]]'], 'work_dir': '[[NIPOPPY_DPATH_PIPELINE_WORK]]',
        'nprocs': resources['cpu-cores'], 'mem': f'{resources["ram"]}G', 'skip_bids_validation': True,
    }


def _nipoppy_tracker() -> dict[str, Any]:
    stem = f'{_PERSON}/{_SESSION}/anat/{_PERSON}_{_SESSION}*_desc-harmonized_*'
    return {'SCHEMA_VERSION': '1.0', 'PATHS': [f'{stem}.nii.gz', f'{stem}.json', f'{_PERSON}.html'],
            'PARTICIPANT_SESSION_DIR': f'{_PERSON}/{_SESSION}'}


def _nipoppy_hpc() -> dict[str, str]:
    resources = suggested_resources()
    return {'CORES': str(resources['cpu-cores']), 'MEMORY': f'{resources["ram"]}G',
            'TIME': _clock(resources['walltime-estimate'])}


def _clock(seconds: int) -> str:
    """Return seconds as Slurm writes a time.

    >>> _clock(5400)
    '01:30:00'
    """
    return f'{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}'


def _template(name: str) -> Callable[[], str]:
    def render() -> str:
        import jinja2

        text = (files('bids_distclip.cli') / 'templates' / f'{name}.j2').read_text(encoding='utf-8')
        resources = suggested_resources()
        return jinja2.Template(text, undefined=jinja2.StrictUndefined, keep_trailing_newline=True).render(
            version=__version__, levels=sorted(set(LEVELS.values())), flag=flag_of, cores=resources['cpu-cores'],
            memory=f'{resources["ram"]}G', time=_clock(resources['walltime-estimate']), codes=exit_codes(),
        )

    return render


FILES: dict[str, Callable[[], str]] = {
    'bids_distclip.json': lambda: _json(descriptor()),
    'invocation.json': lambda: _json(_invocation()),
    'exit_codes.tsv': _exit_code_table,
    'nipoppy/config.json': lambda: _json(_nipoppy_config()),
    'nipoppy/descriptor.json': lambda: _json(descriptor()),
    'nipoppy/invocation.json': lambda: _json(_nipoppy_invocation()),
    'nipoppy/tracker.json': lambda: _json(_nipoppy_tracker()),
    'nipoppy/hpc.json': lambda: _json(_nipoppy_hpc()),
    'babs.yaml': _template('babs.yaml'),
    'slurm_array.sh': _template('slurm_array.sh'),
}


if __name__ == '__main__':
    for path in write_all(Path(sys.argv[1])):
        print(path)
