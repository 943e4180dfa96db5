"""The graph of a run: which steps there are, what they wait for, and what they take."""

from __future__ import annotations

import dataclasses

import pytest

from bids_distclip.settings import make_settings
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.gpu import Card
from bids_distclip.workflow.job import Job
from bids_distclip.workflow.participant import build_graph
from bids_distclip.workflow.targets import resolve_targets

JOB = Job(
    name='', source='', relative='', subject='01', session=None, suffix='T1w', entities={}, acquisition={},
    family='T1w', family_basis='suffix', family_conflict=None, shape=(100, 100, 100), target='siemens-prisma-mprage',
)


def jobs(*names: str) -> list[Job]:
    """Return jobs named like ``01_a_T1w``: subject, session, suffix."""
    parts = [name.split('_') for name in names]
    return [dataclasses.replace(JOB, name=f'sub-{s}_ses-{v}_{c}', subject=s, session=v, suffix=c) for s, v, c in parts]


@pytest.fixture
def run(tmp_path) -> Run:
    settings = make_settings({}, bids_dir=tmp_path, output_dir=tmp_path / 'out')
    return Run('r', settings, tmp_path / 'work', resolve_targets(settings), ())


def graph_of(run: Run, *names: str, threads: int = 2):
    run.work.mkdir(parents=True)
    graph = build_graph(run, jobs=jobs(*names), threads=threads)
    nodes = {node.name: node for node in graph._graph.nodes()}
    return nodes, {(a.name, b.name) for a, b in graph._graph.edges()}


def test_each_session_has_one_harmonize_step_for_all_its_images(run):
    nodes, edges = graph_of(run, '01_a_T1w', '01_a_T2w', '01_b_T1w', '02_a_T1w')
    assert sum(name.startswith('harmonize_') for name in nodes) == 3
    assert sum(name.startswith('prepare_') for name in nodes) == 4
    assert sum(name.startswith('write_') for name in nodes) == 4
    assert {name for name in nodes if name.startswith('report_')} == {'report_01', 'report_02'}
    first = 'harmonize_sub_01_ses_a_T1w'
    assert (first, 'write_sub_01_ses_a_T1w') in edges
    assert (first, 'write_sub_01_ses_a_T2w') in edges
    assert len(nodes[first].inputs.job_files) == 2


def test_on_the_processor_no_step_asks_nipype_for_a_card(run):
    nodes, _ = graph_of(run, '01_a_T1w', threads=4)
    assert not any(node.is_gpu_node() for node in nodes.values())
    assert nodes['harmonize_sub_01_ses_a_T1w'].n_procs == 4


@pytest.mark.parametrize('cards', [{'cards': (Card(0, 'A', 'u', 8.0),)}, {'scheduled': True}])
def test_with_a_card_only_the_harmonize_step_asks_for_it_and_takes_one_slot(run, cards):
    run = dataclasses.replace(run, **cards)
    nodes, _ = graph_of(run, '01_a_T1w', '01_a_T2w', threads=4)
    assert [name for name, node in nodes.items() if node.is_gpu_node()] == ['harmonize_sub_01_ses_a_T1w']
    assert nodes['harmonize_sub_01_ses_a_T1w'].n_procs == 1
    assert nodes['harmonize_sub_01_ses_a_T1w'].plugin_args['sbatch_args'] == '--gres=gpu:1'


def test_larger_images_declare_more_memory(run, tmp_path):
    nodes, _ = graph_of(run, '01_a_T1w')
    small = nodes['prepare_sub_01_ses_a_T1w'].mem_gb
    big = dataclasses.replace(jobs('02_a_T1w')[0], shape=(300, 300, 300))
    other = dataclasses.replace(run, work=tmp_path / 'other')
    other.work.mkdir()
    graph = build_graph(other, jobs=[big], threads=1)
    assert max(node.mem_gb for node in graph._graph.nodes() if node.name.startswith('prepare')) > 2 * small


def test_a_job_and_a_run_come_back_from_their_files_as_they_went(run, tmp_path):
    job = jobs('01_a_T1w')[0]
    assert Job.load(job.save(tmp_path)) == job
    run.work.mkdir()
    assert Run.load(run.save()) == run
