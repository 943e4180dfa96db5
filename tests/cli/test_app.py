"""The command line of the app: what it accepts, what it refuses, and with which code."""

from __future__ import annotations

import pytest

from bids_distclip import __version__
from bids_distclip.cli.app import guarded, main, read_settings
from bids_distclip.errors import BadData, UsageError

CALL = ['data', 'out', 'participant']


def test_a_plain_call_takes_the_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = read_settings(CALL)
    assert settings.bids_dir == tmp_path / 'data'
    assert settings.levels == ('participant',)
    assert settings.output_desc == 'harmonized'
    assert settings.device == 'auto'
    assert settings.participants == ()


@pytest.mark.parametrize('spelling', ['--participant-label', '--participant_label', '--subject-label'])
def test_people_may_be_named_in_every_usual_spelling(spelling):
    assert read_settings([*CALL, spelling, 'sub-02', '01']).participants == ('01', '02')


@pytest.mark.parametrize('spelling', ['--session-label', '--session_label', '--session-id'])
def test_sessions_may_be_named_in_every_usual_spelling(spelling):
    assert read_settings([*CALL, spelling, 'ses-b', 'a']).sessions == ('a', 'b')


@pytest.mark.parametrize(
    'spelling', ['--skip-bids-validation', '--skip_bids_validator', '--skip-bids-validator', '--skip_bids_validation']
)
def test_validation_may_be_skipped_in_every_usual_spelling(spelling):
    assert read_settings([*CALL, spelling]).skip_bids_validation


@pytest.mark.parametrize(
    ('words', 'name', 'value'),
    [
        (['--nprocs', '3'], 'nprocs', 3), (['--n_cpus', '3'], 'nprocs', 3), (['--nthreads', '3'], 'nprocs', 3),
        (['--mem', '16G'], 'mem_gb', 16.0), (['--mem-mb', '8000'], 'mem_gb', 8.0), (['--mem-gb', '8'], 'mem_gb', 8.0),
        (['--device', 'cuda:1'], 'device', 'cuda:1'), (['--gpu'], 'device', 'cuda'), (['--no-gpu'], 'device', 'cpu'),
        (['--n-gpu-procs', '2'], 'gpu_jobs', 2), (['-m', 'T1w'], 'modalities', ('T1w',)),
        (['--target-protocol', 'a', '--target-protocol', 'b'], 'target_protocol', ('a', 'b')),
        (['--output-level', 'full'], 'output_level', 'full'), (['-v', '-v'], 'verbose', 2),
        (['--missing-metadata', 'skip'], 'missing_metadata', 'skip'),
    ],
)
def test_options_land_in_the_settings(words, name, value):
    assert getattr(read_settings([*CALL, *words]), name) == value


def test_options_may_stand_between_the_positionals():
    settings = read_settings(['data', 'out', '--nprocs', '2', 'participant', 'group'])
    assert settings.levels == ('participant', 'group')


def test_tracking_can_be_declined_though_there_is_none():
    assert read_settings([*CALL, '--notrack']) == read_settings(CALL)


def test_the_command_line_wins_over_the_config_file(tmp_path):
    config = tmp_path / 'config.toml'
    config.write_text('nprocs = 3\noutput_level = "full"\n')
    settings = read_settings([*CALL, '--config-file', str(config), '--nprocs', '5'])
    assert (settings.nprocs, settings.output_level) == (5, 'full')


def test_derivatives_given_by_several_options_are_all_taken(tmp_path):
    settings = read_settings([*CALL, '-d', str(tmp_path / 'a'), '--derivatives', f'x={tmp_path / "b"}'])
    assert settings.derivatives == {'a': tmp_path / 'a', 'x': tmp_path / 'b'}


@pytest.mark.parametrize('text', ['derivatives = ["/a"]', 'derivatives = "/a"', '[derivatives]\na = 3',
                                  'nprocz = 3', 'nprocs = "many"', 'nprocs = 0', 'nprocs 3', 'device = "tpu"'])
def test_a_wrong_config_file_is_a_usage_error(tmp_path, text):
    config = tmp_path / 'config.toml'
    config.write_text(text + '\n')
    with pytest.raises(UsageError):
        read_settings([*CALL, '--config-file', str(config)])


@pytest.mark.parametrize(
    ('words', 'code'),
    [
        ([], 64), (['data'], 64), ([*CALL, '--unknown'], 64), ([*CALL, '--nprocs', '0'], 64),
        ([*CALL, '--device', 'tpu'], 64), ([*CALL, '--mem', 'lots'], 64), ([*CALL, '--output-level', 'most'], 64),
        (['data', 'out', 'everybody'], 17), (['data', 'data', 'participant'], 64),
    ],
)
def test_a_wrong_call_ends_with_its_code_and_never_with_2(words, code, capsys):
    assert main(words) == code
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f'bids_distclip: finished, exit {code}'
    assert 'What to do' in said.err


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--version'])
    assert ended.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_a_failure_ends_with_its_own_code_and_its_cure(capsys):
    def work() -> int:
        raise BadData('It has four dimensions.', file='x.nii', cure='give a 3-D image.')

    assert guarded(work, prog='tool') == 65
    assert 'give a 3-D image' in capsys.readouterr().err


def test_an_interruption_asks_to_run_again():
    def work() -> int:
        raise KeyboardInterrupt

    assert guarded(work, prog='tool') == 75


def test_a_dataset_that_is_not_there_is_no_input(tmp_path, capsys):
    assert main([str(tmp_path / 'nowhere'), str(tmp_path / 'out'), 'participant']) == 66
    assert 'nowhere' in capsys.readouterr().err
