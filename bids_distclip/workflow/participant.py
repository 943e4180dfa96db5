"""The graph of a run: read and prepare each image, harmonize each session, write each image, report each person."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from nipype.interfaces.utility import Merge
from nipype.pipeline import engine as pe

from bids_distclip.workflow.context import Run
from bids_distclip.workflow.job import Job
from bids_distclip.workflow.nodes import Harmonize, Prepare, PrepareTarget, Report, Write
from bids_distclip.workflow.resources import (
    BASE_GB,
    PREPARE_BYTES,
    TORCH_GB,
    WRITE_BYTES,
    harmonize_memory,
    step_memory,
)


def build_graph(run: Run, *, jobs: Sequence[Job], threads: int) -> pe.Workflow:
    """Return the graph that processes ``jobs``.

    One harmonize node per subject and session holds all its images, so that the model is loaded once and the
    card is never idle on file input; ``threads`` is what that node takes when it runs on the processor.
    """
    graph = pe.Workflow(name='distclip', base_dir=str(run.work))
    run_file = run.save()
    target_nodes = _target_nodes(run, jobs=jobs, run_file=run_file)
    sessions: dict[tuple[str, str | None], list[Job]] = defaultdict(list)
    for job in jobs:
        sessions[job.subject, job.session].append(job)
    written: dict[str, list[pe.Node]] = defaultdict(list)
    for (subject, _), members in sessions.items():
        written[subject] += _session(graph, run=run, run_file=run_file, jobs=members, targets=target_nodes,
                                     threads=threads)
    for subject, nodes in written.items():
        _report(graph, run=run, run_file=run_file, subject=subject, written=nodes)
    return graph


def _target_nodes(run: Run, *, jobs: Sequence[Job], run_file: Path) -> list[pe.Node]:
    used = {job.target for job in jobs}
    images = [target for target in run.targets if target.image and target.name in used]
    nodes = []
    for number, target in enumerate(images):
        interface = PrepareTarget(run_file=str(run_file), target=target.name)
        memory = TORCH_GB + step_memory(PREPARE_BYTES, voxels=256**3)
        nodes.append(pe.Node(interface, name=f'target_{number}', mem_gb=memory))
    return nodes


def _session(
    graph: pe.Workflow, *, run: Run, run_file: Path, jobs: Sequence[Job], targets: Sequence[pe.Node], threads: int
) -> list[pe.Node]:
    """Add the nodes of one subject and session; return those that write."""
    files = [str(job.save(run.work / 'jobs')) for job in jobs]
    gather = pe.Node(Merge(len(jobs)), name=_name('gather', jobs[0]), run_without_submitting=True)
    on_card = run.on_card
    harmonize = pe.Node(
        Harmonize(run_file=str(run_file), job_files=files, use_gpu=on_card), name=_name('harmonize', jobs[0]),
        n_procs=1 if on_card else threads,
        mem_gb=harmonize_memory([job.shape for job in jobs]),
    )
    if on_card:
        harmonize.plugin_args = {'sbatch_args': '--gres=gpu:1', 'overwrite': False}
    graph.connect(gather, 'out', harmonize, 'prepared')
    if targets:
        ready = pe.Node(Merge(len(targets)), name=_name('targets', jobs[0]), run_without_submitting=True)
        for number, node in enumerate(targets, 1):
            graph.connect(node, 'prepared', ready, f'in{number}')
        graph.connect(ready, 'out', harmonize, 'targets')

    writers = []
    for number, (job, file) in enumerate(zip(jobs, files, strict=True)):
        voxels = math.prod(job.shape)
        prepare = pe.Node(Prepare(run_file=str(run_file), job_file=file), name=_name('prepare', job),
                          mem_gb=TORCH_GB + step_memory(PREPARE_BYTES, voxels=voxels))
        write = pe.Node(Write(run_file=str(run_file), job_file=file), name=_name('write', job),
                        mem_gb=step_memory(WRITE_BYTES, voxels=voxels))
        graph.connect(prepare, 'prepared', gather, f'in{number + 1}')
        graph.connect(prepare, 'prepared', write, 'prepared')
        graph.connect(harmonize, ('harmonized', _pick, number), write, 'harmonized')
        writers.append(write)
    return writers


def _report(
    graph: pe.Workflow, *, run: Run, run_file: Path, subject: str, written: Sequence[pe.Node]
) -> None:
    gather = pe.Node(Merge(len(written)), name=f'records_{_word(subject)}', run_without_submitting=True)
    for number, node in enumerate(written, 1):
        graph.connect(node, 'record', gather, f'in{number}')
    # In 3-D a page reads the volumes of one image after the other, which takes half of what writing it took.
    memory = BASE_GB if run.settings.report_viewer == 'none' else max(node.mem_gb for node in written)
    report = pe.Node(Report(run_file=str(run_file), subject=subject), name=f'report_{_word(subject)}', mem_gb=memory)
    graph.connect(gather, 'out', report, 'records')


def _pick(values: list[str] | str, number: int) -> str:
    return values if isinstance(values, str) else values[number]


def _name(step: str, job: Job) -> str:
    return f'{step}_{_word(job.name)}'


def _word(text: str) -> str:
    return re.sub(r'\W', '_', text)
