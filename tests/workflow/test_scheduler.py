"""What becomes of a run on a cluster when a job is killed, or when the scheduler does not answer."""

from __future__ import annotations

import subprocess

import pytest
from nipype import config
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe
from nipype.pipeline import plugins
from nipype.pipeline.plugins.base import SGELikeBatchManagerBase

from bids_distclip.workflow import scheduler as module
from bids_distclip.workflow.scheduler import scheduler_plugin


class Batch(SGELikeBatchManagerBase):
    """A scheduler whose jobs are processes of this machine, and which is asked in vain the first ``silent`` times."""

    silent = 0.0

    def __init__(self, plugin_args):
        self.jobs: dict[int, subprocess.Popen] = {}
        super().__init__('#!/bin/bash', plugin_args=plugin_args)

    def _is_pending(self, taskid):
        if Batch.silent > 0:
            Batch.silent -= 1
            raise RuntimeError('Unable to contact the controller')
        return self.jobs[taskid].poll() is None

    def _submit_batchtask(self, scriptfile, node):
        process = subprocess.Popen(['bash', scriptfile], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.jobs[process.pid] = process
        self._pending[process.pid] = node.output_dir()
        return process.pid


@pytest.fixture
def run_graph(tmp_path, monkeypatch):
    """Return a function that runs one job that is killed beside one that is not, and what the latter leads to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, 'BatchPlugin', Batch, raising=False)
    monkeypatch.setattr(Batch, 'silent', 0.0)
    config.update_config({'execution': {
        'poll_sleep_duration': 0.1, 'job_finished_timeout': 1, 'crashdump_dir': str(tmp_path),
        'crashfile_format': 'txt',
    }})
    graph = pe.Workflow(name='w', base_dir=str(tmp_path))
    killed = pe.Node(Function(['x'], ['y'], _die), name='killed')
    killed.inputs.x = 1
    first = pe.Node(Function(['path'], ['path'], _touch), name='first')
    then = pe.Node(Function(['path'], ['path'], _touch), name='then')
    first.inputs.path = str(tmp_path / 'done')
    graph.connect(first, 'path', then, 'path')
    graph.add_nodes([killed])

    def run():
        plugin = scheduler_plugin('Batch', plugin_args={})
        with pytest.raises(RuntimeError) as told:
            graph.run(plugin=plugin, plugin_args={})
        return plugin, str(told.value)

    return run


def test_a_killed_job_fails_its_own_step_and_the_rest_goes_on(tmp_path, run_graph):
    plugin, told = run_graph()
    assert 'results file does not exist' in told
    assert (tmp_path / 'done.done').exists()
    assert (plugin.pending_tasks, plugin.lost_sight) == ([], False)
    assert any('results file does not exist' in path.read_text() for path in tmp_path.glob('crash-*.txt'))


def test_a_scheduler_that_does_not_answer_for_a_while_is_asked_again(tmp_path, run_graph, caplog):
    Batch.silent = 5
    plugin, _ = run_graph()
    assert (tmp_path / 'done.done').exists()
    assert not plugin.lost_sight
    assert [line for line in caplog.messages if 'it is asked again' in line and 'the controller' in line]


def test_jobs_that_nothing_is_heard_of_are_given_up_as_maybe_alive(tmp_path, run_graph, monkeypatch):
    monkeypatch.setattr(module, 'PATIENCE', 0.5)
    Batch.silent = float('inf')
    plugin, _ = run_graph()
    assert plugin.lost_sight
    assert not (tmp_path / 'done.done').exists()
    assert any('did not say' in path.read_text() for path in tmp_path.glob('crash-*.txt'))


def test_what_runs_on_this_machine_is_nipypes_own():
    assert type(scheduler_plugin('Linear', plugin_args={})) is plugins.LinearPlugin
    assert issubclass(type(scheduler_plugin('SLURM', plugin_args={})), plugins.SLURMPlugin)


def _die(x):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return x


def _touch(path):
    from pathlib import Path

    Path(path).touch()
    return path + '.done'
