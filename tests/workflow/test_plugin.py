"""What happens to the other steps when the system kills a worker, and how steps share a card."""

from __future__ import annotations

import itertools
import time

import pytest
from nipype import config
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe

from bids_distclip.workflow.plugin import SurvivingMultiProc
from bids_distclip.workflow.run import on_cluster


@pytest.fixture
def run_graph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.update_config({'execution': {'poll_sleep_duration': 0.1, 'crashdump_dir': str(tmp_path)}})

    def run(graph: pe.Workflow, **extra) -> None:
        plugin_args = {'n_procs': 2, 'memory_gb': 4, 'mp_context': 'forkserver', 'n_gpu_procs': 1, **extra}
        graph.run(plugin=SurvivingMultiProc(plugin_args=plugin_args), plugin_args=plugin_args)

    return run


def test_a_killed_worker_fails_its_own_step_and_the_rest_goes_on(tmp_path, run_graph):
    graph = pe.Workflow(name='w', base_dir=str(tmp_path))
    killed = pe.Node(Function(['x'], ['y'], _die), name='killed', n_procs=2)
    killed.inputs.x = 1
    first = pe.Node(Function(['path'], ['path'], _touch), name='first', n_procs=2)
    then = pe.Node(Function(['path'], ['path'], _touch_beside), name='then', n_procs=2)
    first.inputs.path = str(tmp_path / 'done')
    graph.connect(first, 'path', then, 'path')
    graph.add_nodes([killed])
    began = time.monotonic()
    with pytest.raises(RuntimeError, match='worker process ended'):
        run_graph(graph)
    assert time.monotonic() - began < 120
    assert (tmp_path / 'done').exists()
    assert (tmp_path / 'done.then').exists()


def test_alone_nothing_runs_beside_a_step_whatever_it_takes(tmp_path, run_graph):
    graph = pe.Workflow(name='w', base_dir=str(tmp_path))
    for number in range(3):
        node = pe.Node(Function(['path'], ['path'], _spell), name=f'prepare_{number}')
        node.inputs.path = str(tmp_path / 'spells')
        # One that takes a card would be refused if it were said to take all cores.
        node.inputs.trait_set(use_gpu=number == 0)
        graph.add_nodes([node])
    run_graph(graph, alone=True)
    spells = sorted(tuple(map(float, line.split())) for line in (tmp_path / 'spells').read_text().splitlines())
    assert len(spells) == 3
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spells))


def test_an_image_is_written_before_the_last_one_is_prepared(tmp_path, run_graph):
    graph = pe.Workflow(name='w', base_dir=str(tmp_path))
    for number in range(4):
        before = None
        for step in ('prepare', 'harmonize', 'write'):
            node = pe.Node(Function(['path', 'after'], ['path'], _note), name=f'{step}_{number}')
            node.inputs.path = str(tmp_path / 'order')
            if before is None:
                node.inputs.after = f'{step}_{number}'
            else:
                graph.connect(before, 'path', node, 'after')
            before = node
    run_graph(graph, n_procs=1)
    order = [line.split('/')[-2] for line in (tmp_path / 'order').read_text().splitlines()]
    assert len(order) == 12
    assert order.index('write_0') < order.index('prepare_3')
    for number in range(4):
        assert order.index(f'prepare_{number}') < order.index(f'harmonize_{number}') < order.index(f'write_{number}')
    assert [name for name in order if name.startswith('write')] == [
        name.replace('prepare', 'write') for name in order if name.startswith('prepare')
    ]


def _note(path, after):
    import os

    with open(path, 'a') as stream:
        stream.write(os.getcwd() + '/\n')
    return path


def _die(x):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return x


def _touch(path):
    from pathlib import Path

    Path(path).touch()
    return path


def _touch_beside(path):
    from pathlib import Path

    Path(path + '.then').touch()
    return path


PLUGINS = [('SLURM', True), ('PBS', True), ('MultiProc', False), ('Linear', False)]


@pytest.mark.parametrize(('name', 'elsewhere'), PLUGINS)
def test_only_plugins_of_schedulers_compute_elsewhere(tmp_path, name, elsewhere):
    (tmp_path / 'plugin.yaml').write_text(f'plugin: {name}\n')
    assert on_cluster(tmp_path / 'plugin.yaml') is elsewhere
    assert not on_cluster(None)


def _spell(path):
    import time

    began = time.time()
    time.sleep(0.5)
    with open(path, 'a') as stream:
        stream.write(f'{began} {time.time()}\n')
    return path
