"""The memory that steps really take, against what they declare."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from bids_distclip.cli.toolbox import main as toolbox
from bids_distclip.dataset.inputs import find_scans
from bids_distclip.settings import make_settings
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.participant import build_graph
from bids_distclip.workflow.plan import make_plan
from bids_distclip.workflow.targets import resolve_targets
from bids_distclip.workflow.weights import engine_weights_sha256

#: A step in a process of its own. Not ru_maxrss: it starts with what the process that called this one had.
STEP = """
import sys
from pathlib import Path
from bids_distclip.workflow import steps
print(steps.{call})
for line in Path('/proc/self/status').read_text().splitlines():
    if line.startswith('VmHWM:'):
        print(line.split()[1])
"""


def measured(call: str) -> tuple[str, float]:
    """Return what a step returned, and its peak memory in gigabytes."""
    done = subprocess.run([sys.executable, '-c', STEP.format(call=call)], capture_output=True, text=True, check=True)
    answer, kilobytes = done.stdout.splitlines()[-2:]
    return answer, int(kilobytes) * 1024 / 1e9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells the peak of a process')
def test_no_step_takes_more_than_it_declares_nor_declares_far_more_than_it_takes(tmp_path):
    data, words = tmp_path / 'raw', ['--heads', '1', '--scanners', '1', '--suffixes', 'T1w', '--spacing', '1']
    assert toolbox(['simulate', str(data), *words]) == 0
    settings = make_settings({}, bids_dir=data, output_dir=tmp_path / 'out', device='cpu')
    targets = resolve_targets(settings)
    (job,) = make_plan(find_scans(data), settings=settings, targets=targets,
                       weights_sha256=engine_weights_sha256(settings.engine, weights=None)).jobs
    assert math.prod(job.shape) > 5e6
    run = Run('r', settings, tmp_path / 'work', targets, ())
    run.work.mkdir()
    graph = build_graph(run, jobs=[job], threads=2)
    declared = {node.name.partition('_')[0]: node.mem_gb for node in graph._graph.nodes()}

    files = f'{str(run.save())!r}', f'{str(job.save(run.work / "jobs"))!r}'
    ready, prepare = measured('prepare_image({}, job_file={})'.format(*files))
    made, harmonize = measured('harmonize_session({}, job_files=[{}], prepared=[{!r}])[0]'.format(*files, ready))
    _, write = measured('write_image({}, job_file={}, prepared={!r}, harmonized={!r})'.format(*files, ready, made))
    taken = {'prepare': prepare, 'harmonize': harmonize, 'write': write}
    size = math.prod(job.shape) / 1e6
    for step, peak in taken.items():
        print(f'{step}: {peak:.2f} GB taken, {declared[step]:.2f} GB declared, {size:.1f} M voxels')
    assert ready
    assert made
    assert {step: peak for step, peak in taken.items() if peak > declared[step]} == {}
    assert {step: peak for step, peak in taken.items() if declared[step] > 2.5 * peak} == {}
