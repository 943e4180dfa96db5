"""Executing the graph: the plugin, its resources, nipype's settings."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from bids_distclip.errors import TryAgain, UsageError
from bids_distclip.settings import Settings
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.job import Job
from bids_distclip.workflow.resources import available_cores, available_memory, harmonize_memory, step_threads
from bids_distclip.workflow.status import read_statuses
from bids_distclip.workflow.steps import forget_work, lose, under_work

log = logging.getLogger('bids_distclip')

#: Plugins whose steps run on this machine.
_LOCAL = (None, 'MultiProc', 'LegacyMultiProc', 'Linear', 'Debug')


def process_images(run: Run, *, jobs: Sequence[Job], told: Callable[[str], None]) -> None:
    """Process ``jobs``, and again, one step at a time, those that were lost because a worker was killed.

    One image for which memory does not suffice takes with it the steps side by side and what waits for them. Once
    nothing runs beside it, as on a cluster from the start, an image that is lost again was the one; the others go on
    without it. In the end every image has a status. ``told`` gets the name of each node that ended.

    Raises
    ------
    bids_distclip.errors.UsageError
        As :func:`run_graph`.
    """
    left, alone, marked = list(jobs), on_cluster(run.settings.use_plugin), list[Job]()
    over = run_graph(run, jobs=left, told=told)
    while (left := _without_status(run, left)) and over and not run.settings.stop_on_first_crash:
        known, marked = marked, [job for job in left if under_work(run, job=job)]
        if alone and not marked:
            marked = known
            break
        for job in marked if alone else ():
            lose(run, job=job, killed=True)
        left, alone = _without_status(run, left), True
        if left:
            log.warning('%d images were lost with a process that was killed; they are tried again.', len(left))
            forget_work(run)
            over = run_graph(run, jobs=left, told=told, alone=True)
    for job in left:
        lose(run, job=job, killed=over and (job in marked or under_work(run, job=job)))


def _without_status(run: Run, jobs: Sequence[Job]) -> list[Job]:
    known = read_statuses(run.statuses)
    return [job for job in jobs if job.name not in known]


def run_graph(run: Run, *, jobs: Sequence[Job], told: Callable[[str], None], alone: bool = False) -> bool:
    """Process ``jobs``; ``told`` gets the name of each node that ended. Return whether every step has ended: where a
    scheduler took no more of them, some may still run.

    What became of each image stands in its status file, whatever happens here; an image whose process was killed has
    none. With ``alone`` no other step runs on this machine beside one.

    Raises
    ------
    bids_distclip.errors.UsageError
        If a step needs more memory than the run may use, or the plugin file is wrong.
    """
    plugin, plugin_args = read_plugin(run.settings.use_plugin)
    cores = run.settings.nprocs or available_cores()
    memory = run.settings.mem_gb or available_memory()
    threads = _threads(run, jobs=jobs, cores=cores, memory=memory, on_cluster=on_cluster(run.settings.use_plugin))
    _prepare_environment(run, threads=threads)

    from bids_distclip.workflow.participant import build_graph

    _configure_nipype(run)
    graph = build_graph(run, jobs=jobs, threads=threads)
    if run.settings.write_graph:
        _write_graph(graph, folder=run.logs)
    if plugin in (None, 'MultiProc'):
        _check_memory(graph, memory=memory)
    plugin_args = {
        'n_procs': cores, 'memory_gb': memory, 'n_gpu_procs': run.settings.gpu_jobs or max(1, len(run.cards)),
        'raise_insufficient': True, 'mp_context': 'forkserver', **plugin_args, 'status_callback': _Teller(told),
        'alone': alone,
    }
    log.info('Running %d images on %d cores (%d per step), %.1f GB', len(jobs), cores, threads, memory)
    return _execute(graph, plugin=plugin, plugin_args=plugin_args)


def _threads(run: Run, *, jobs: Sequence[Job], cores: int, memory: float, on_cluster: bool) -> int:
    """Return the threads of a step: as asked for, else such that sessions side by side keep all cores busy.

    On a cluster every step is a job of its own.
    """
    if run.settings.omp_nthreads:
        return min(run.settings.omp_nthreads, cores)
    sessions: dict[tuple[str, str | None], list[Sequence[int]]] = {}
    for job in jobs:
        sessions.setdefault((job.subject, job.session), []).append(job.shape)
    most = max(harmonize_memory(shapes) for shapes in sessions.values())
    return step_threads(sessions=1 if on_cluster else len(sessions), cores=cores, memory=memory, each=most)


def read_plugin(path: Path | None) -> tuple[str | None, dict[str, Any]]:
    """Return the plugin and its arguments from a YAML file; nothing without one.

    Raises
    ------
    bids_distclip.errors.UsageError
        If the file is not such a YAML.
    """
    if path is None:
        return None, {}
    cure = 'write for example: {plugin: MultiProc, plugin_args: {n_procs: 4}}'
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f'The plugin file cannot be read ({error}).', file=path, cure=cure) from error
    if not isinstance(raw, dict) or set(raw) - {'plugin', 'plugin_args'} or not isinstance(raw.get('plugin'), str):
        raise UsageError('The plugin file must hold plugin and, if need be, plugin_args.', file=path, cure=cure)
    if raw['plugin'].endswith('Graph') or raw['plugin'] == 'CondorDAGMan':
        raise UsageError(f'The plugin {raw["plugin"]} returns before the images are done.', file=path,
                         cure=f'use {raw["plugin"].removesuffix("Graph")} instead.')
    return raw['plugin'], dict(raw.get('plugin_args') or {})


def on_cluster(plugin_file: Path | None) -> bool:
    """Tell whether a plugin hands each step to a scheduler, which has its own cards; raises as :func:`read_plugin`."""
    return read_plugin(plugin_file)[0] not in _LOCAL


class _Teller:
    """Passes on which node ended; nipype calls it with node and status."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self.told = told

    def __call__(self, node: Any, status: str) -> None:
        """Take nipype's word."""
        if status in ('end', 'exception'):
            self.told(node.name)


def _execute(graph: Any, *, plugin: str | None, plugin_args: dict[str, Any]) -> bool:
    # nipype changes into node folders; a run must leave the process where it was.
    here = os.getcwd()
    runner: Any = plugin
    try:
        if plugin in (None, 'MultiProc'):
            from bids_distclip.workflow.plugin import SurvivingMultiProc

            runner = SurvivingMultiProc(plugin_args=plugin_args)
        else:
            from bids_distclip.workflow.scheduler import scheduler_plugin

            runner = scheduler_plugin(plugin, plugin_args=plugin_args)
        graph.run(plugin=runner, plugin_args=plugin_args)
    except KeyboardInterrupt:
        if plugin in (None, 'MultiProc'):
            runner.stop()
        raise
    except TryAgain as error:
        log.error('%s', error)
    except Exception as error:  # noqa: BLE001 - images without a status are told as failed by the caller
        log.error('The graph ended early: %s', error)
    finally:
        os.chdir(here)
    return not getattr(runner, 'pending_tasks', None) and not getattr(runner, 'lost_sight', False)


def _prepare_environment(run: Run, *, threads: int) -> None:
    """Set what worker processes and the cluster plugins read from the environment."""
    os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = str(threads)
    # Threads that spin while they wait cost a third more time where something else runs beside them.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    os.environ['ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS'] = '1'
    os.environ['NO_ET'] = os.environ['NIPYPE_NO_ET'] = '1'
    # The Slurm plugins read LOGNAME, which --cleanenv removes.
    os.environ.setdefault('LOGNAME', 'distclip')
    home = run.work / 'nipype'
    home.mkdir(exist_ok=True)
    level = 'INFO' if run.settings.verbose > 1 else 'ERROR'
    (home / 'nipype.cfg').write_text(
        f'[logging]\nworkflow_level = {level}\nutils_level = {level}\ninterface_level = {level}\n'
    )
    os.environ['NIPYPE_CONFIG_DIR'] = str(home)


def _configure_nipype(run: Run) -> None:
    from nipype import config
    from nipype import logging as nipype_logging

    level = 'INFO' if run.settings.verbose > 1 else 'ERROR'
    config.update_config({
        'execution': {
            # Each look at a scheduler is a call for every job it has.
            'poll_sleep_duration': 2 if on_cluster(run.settings.use_plugin) else 0.1,
            'crashdump_dir': str(run.logs), 'crashfile_format': 'txt',
            'hash_method': 'content', 'check_version': False, 'remove_unnecessary_outputs': False,
            'create_report': False,
            'stop_on_first_crash': run.settings.stop_on_first_crash, 'use_relative_paths': False,
        },
        'logging': {'log_to_file': False, 'workflow_level': level, 'interface_level': level, 'utils_level': level},
    })
    nipype_logging.update_logging(config)


def _check_memory(graph: Any, *, memory: float) -> None:
    most = max(graph._graph.nodes(), key=lambda node: node.mem_gb)
    if most.mem_gb > memory:
        raise UsageError(
            f'The step {most.name} needs {most.mem_gb:.1f} GB of memory; this run may use {memory:.1f} GB.',
            cure='give the job more memory, or raise --mem if the limit is only what you set there.',
        )


def _write_graph(graph: Any, *, folder: Path) -> None:
    edges = sorted([a.name, b.name] for a, b in graph._graph.edges())
    nodes = {node.name: {'n_procs': node.n_procs, 'mem_gb': round(node.mem_gb, 3)} for node in graph._graph.nodes()}
    (folder / 'graph.json').write_text(json.dumps({'nodes': nodes, 'edges': edges}, indent=2) + '\n')
    lines = [f'  "{a}" -> "{b}";' for a, b in edges]
    (folder / 'graph.dot').write_text('digraph distclip {\n  rankdir=LR;\n' + '\n'.join(lines) + '\n}\n')


def device_line(run: Run) -> str:
    """Return in words what the run computes on."""
    if run.scheduled:
        return f'device: {run.settings.device}, of the card that the scheduler gives to each job'
    if not run.cards:
        return 'device: cpu' + (' (no card is visible)' if run.settings.device == 'auto' else '')
    return 'device: ' + ', '.join(f'cuda:{c.index} {c.name} ({c.memory_gb:.0f} GB)' for c in run.cards)


def wants_card(settings: Settings) -> bool:
    """Tell whether the engine can make use of a card at all, or one was asked for by name."""
    return settings.engine == 'distclip' or settings.device.startswith('cuda')
