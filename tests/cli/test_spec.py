"""What launchers read: regenerated from the parser, compared with what is in the repository, and tried."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from bids_distclip import errors
from bids_distclip.cli.app import main, read_settings
from bids_distclip.cli.launchers import FILES, render_all, write_all
from bids_distclip.cli.spec import BEP027, descriptor, exit_codes, flag_of, list_actions

SPEC = Path(__file__).parents[2] / 'bids_app_spec'


def inputs() -> dict[str, dict]:
    return {item['id']: item for item in descriptor()['inputs']}


def command_line(invocation: dict) -> list[str]:
    """Fill the descriptor's command line as Boutiques does."""
    words = descriptor()['command-line']
    for name, item in inputs().items():
        value = invocation.get(name)
        shown = '' if value in (None, False) or item['type'] == 'Flag' else str(value)
        if isinstance(value, list):
            shown = item.get('list-separator', ' ').join(shlex.quote(str(one)) for one in value)
        flag = item.get('command-line-flag', '') if value not in (None, False) else ''
        words = words.replace(item['value-key'], f'{flag} {shown}'.strip())
    return shlex.split(words)[1:]


@pytest.mark.parametrize('name', sorted(FILES))
def test_what_is_in_the_repository_is_what_the_parser_says(name):
    assert (SPEC / name).read_text() == render_all()[name], 'write it anew with scripts/spec'


def test_nothing_else_is_in_the_folder(tmp_path):
    there = {path.relative_to(SPEC).as_posix() for path in SPEC.rglob('*') if path.is_file()}
    assert there == set(FILES)
    assert {path.relative_to(tmp_path).as_posix() for path in write_all(tmp_path)} == there


def test_every_option_of_the_parser_is_described_once():
    names = [item['id'] for item in descriptor()['inputs']]
    assert len(names) == len(set(names)) == len(list_actions())
    assert all(item['description'] for item in descriptor()['inputs'])
    keys = [item['value-key'] for item in descriptor()['inputs']]
    assert not [(a, b) for a in keys for b in keys if a != b and a in b]


def test_the_arguments_that_bep027_requires_are_there_under_its_names():
    found = inputs()
    assert set(BEP027.values()) <= set(found)
    assert found['InputDataset']['list'] is True
    assert {'subject', 'dataset'} <= set(found['AnalysisLevel']['value-choices'])
    assert descriptor()['custom']['BIDSAppSpecVersion']


def test_the_descriptor_is_printed_on_request(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--bids-exec-spec'])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == descriptor()


def test_the_example_invocation_is_a_call_the_parser_understands():
    invocation = json.loads((SPEC / 'invocation.json').read_text())
    settings = read_settings(command_line(invocation))
    assert settings.participants == ('01', '02')
    assert settings.levels == ('participant',)
    assert settings.output_level == 'minimal'
    assert settings.skip_bids_validation


def test_repeated_options_and_numbers_survive_the_descriptor():
    settings = read_settings(command_line({
        'InputDataset': ['data'], 'OutputLocation': 'out', 'AnalysisLevel': ['subject', 'dataset'],
        'target_protocol': ['a', 'b'], 'nprocs': 3, 'mem': '8G', 'planes': 1, 'no_gpu': True, 'modalities': ['T1w'],
    }))
    assert settings.levels == ('participant', 'group')
    assert (settings.target_protocol, settings.nprocs, settings.mem_gb) == (('a', 'b'), 3, 8.0)
    assert (settings.planes, settings.device, settings.modalities) == (1, 'cpu', ('T1w',))


def test_options_that_set_the_same_thing_exclude_each_other():
    groups = {group['id']: group for group in descriptor()['groups']}
    assert groups['device_options']['members'] == ['device', 'gpu', 'no_gpu']
    assert groups['device_options']['mutually-exclusive']


def test_every_error_has_an_exit_code_in_the_table_and_none_is_reserved_by_the_shell():
    codes = [code for code, _, _ in exit_codes()]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind.code for kind in kinds} <= set(codes)
    assert codes == sorted(set(codes))
    assert not [code for code in codes if code == 2 or 126 <= code <= 165]


def test_nipoppy_fills_only_inputs_that_exist():
    filled = json.loads((SPEC / 'nipoppy' / 'invocation.json').read_text())
    assert set(filled) <= set(inputs())
    config = json.loads((SPEC / 'nipoppy' / 'config.json').read_text())
    assert {file for key, file in config['STEPS'][0].items() if key.endswith('FILE')} | {'config.json'} == {
        path.name for path in (SPEC / 'nipoppy').iterdir()}


def test_babs_gives_only_options_that_exist():
    config = yaml.safe_load((SPEC / 'babs.yaml').read_text())
    known = {flag for action in list_actions() for flag in action.option_strings}
    given = {key for key in config['bids_app_args'] if not key.startswith('$')}
    assert given <= known
    assert config['bids_app_args']['$SUBJECT_SELECTION_FLAG'] == flag_of('participants')
    assert 'distclip: FAILED' in config['alert_log_messages']['stdout']


@pytest.fixture
def slurm_task(tmp_path, stand_in):
    """Return a function that runs one task of the array with a stand-in for the app that prints its words."""
    (tmp_path / 'people.txt').write_text('01\n02\n03 04\n')

    def run(task: str | None, *words: str) -> subprocess.CompletedProcess:
        environment = {'PATH': f'{tmp_path}/bin:/usr/bin:/bin', 'SLURM_CPUS_PER_TASK': '3'}
        environment |= {'SLURM_ARRAY_TASK_ID': task} if task else {}
        call = ['bash', str(SPEC / 'slurm_array.sh'), 'data', 'out', 'people.txt', *words]
        return subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_task_of_the_slurm_array_harmonizes_its_own_person(slurm_task, tmp_path):
    done = slurm_task('2', '--output-level', 'minimal')
    settings = read_settings(done.stdout.splitlines())
    assert (settings.participants, settings.nprocs, settings.output_level) == (('02',), 3, 'minimal')
    assert (settings.bids_dir, settings.output_dir) == (tmp_path / 'data', tmp_path / 'out')
    assert settings.work_dir is not None
    assert not settings.work_dir.exists()


def test_a_line_of_several_people_is_one_task_of_the_slurm_array(slurm_task):
    assert read_settings(slurm_task('3').stdout.splitlines()).participants == ('03', '04')


@pytest.mark.parametrize('task', ['4', None])
def test_a_slurm_task_without_a_person_fails(slurm_task, task):
    done = slurm_task(task)
    assert done.returncode != 0
    assert not done.stdout
    assert 'array' in done.stderr or 'people' in done.stderr
