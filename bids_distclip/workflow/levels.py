"""One run from its settings to its exit code: check, plan, process, tell."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
import time

from bids_distclip import __version__
from bids_distclip.dataset.inputs import Selection, find_scans
from bids_distclip.dataset.outputs import write_dataset_files
from bids_distclip.dataset.validate import validate
from bids_distclip.errors import NoInput, UsageError
from bids_distclip.quality.record import find_records
from bids_distclip.settings import Settings
from bids_distclip.workflow.context import Run, new_run_id, open_work, probe_writable, work_root
from bids_distclip.workflow.gpu import choose_cards
from bids_distclip.workflow.group import run_group
from bids_distclip.workflow.job import Job
from bids_distclip.workflow.pages import check_viewer, connect_pages, is_stale, make_pages, place_viewer, solid_from
from bids_distclip.workflow.plan import Plan, make_plan
from bids_distclip.workflow.products import write_skip
from bids_distclip.workflow.resources import available_cores
from bids_distclip.workflow.run import device_line, on_cluster, process_images, wants_card
from bids_distclip.workflow.status import Status, exit_code, merge, read_statuses, write_status
from bids_distclip.workflow.steps import report_subject
from bids_distclip.workflow.targets import resolve_targets
from bids_distclip.workflow.weights import check_engine, engine_weights_sha256

log = logging.getLogger('bids_distclip')


def run_levels(settings: Settings) -> int:
    """Run the levels that were asked for and return the exit code: that of the first level that did not end well."""
    _start_logging(settings.verbose)
    if not settings.dry_run:
        probe_writable(settings.output_dir, option='output_dir')
        probe_writable(work_root(settings), option='--work-dir')
    codes = []
    if 'participant' in settings.levels:
        check_viewer(settings)
        codes.append(run_reports(settings) if settings.reports_only else run_participants(settings))
    if 'group' in settings.levels and not settings.dry_run:
        codes.append(run_group(settings))
    return next((code for code in codes if code), 0)


def run_participants(settings: Settings) -> int:
    """Harmonize the selected images of a dataset and return the exit code.

    Raises
    ------
    bids_distclip.errors.DistclipError
        If the run cannot start: wrong options, an invalid dataset, nothing to do.
    """
    if not settings.bids_dir.is_dir():
        raise NoInput('The dataset is not there.', file=settings.bids_dir, cure='check bids_dir.')
    for folder in settings.derivatives.values():
        if not folder.is_dir():
            raise UsageError('This derivative dataset is not there.', file=folder, cure='check --derivatives.')
    scheduled = wants_card(settings) and settings.device.startswith('cuda') and on_cluster(settings.use_plugin)
    cards = choose_cards(settings.device) if wants_card(settings) and not scheduled else ()
    targets = resolve_targets(settings)
    check_engine(settings.engine, targets=targets)
    weights = engine_weights_sha256(settings.engine, weights=settings.weights)
    selection = select(settings)
    if not settings.skip_bids_validation:
        people = tuple(sorted({scan.subject for scan in selection.scans}))
        found = validate(settings.bids_dir, participants=people)
        if found.warning:
            log.warning('%s', found.warning)
    plan = make_plan(selection, settings=settings, targets=targets, weights_sha256=weights)
    if settings.dry_run:
        print(plan.describe(), flush=True)
        plan.check()
        return 0
    plan.check()
    run_id = new_run_id()
    with open_work(settings, run_id=run_id) as work:
        jobs = settings.gpu_jobs or len(cards)
        run = Run(
            run_id=run_id, settings=settings, work=work, targets=targets, cards=cards,
            gpu_slots=max(1, -(-jobs // len(cards))) if cards else 1, weights_sha256=weights, scheduled=scheduled,
        )
        _begin(run, plan=plan)
        return _process(run, plan=plan)


def run_reports(settings: Settings) -> int:
    """Make the pages of people anew from the records in the output folder, side by side; return the exit code.

    Raises
    ------
    bids_distclip.errors.NoInput
        If there is no record of anybody asked for.
    """
    found = {path.relative_to(settings.output_dir).parts[0] for path in find_records(settings.output_dir)}
    people = sorted(name for name in (folder.removeprefix('sub-') for folder in found)
                    if not settings.participants or name in settings.participants)
    if not people:
        raise NoInput('There is no record to make a page of.', file=settings.output_dir,
                      cure='run without --reports-only first.')
    place_viewer(settings)
    return make_pages(settings.output_dir, people=people, workers=settings.nprocs or available_cores(),
                      bids_dir=solid_from(settings))


def select(settings: Settings) -> Selection:
    """Return the scans that the options select, and the files they do not, each with its reason."""
    return find_scans(
        settings.bids_dir, participants=settings.participants or None, sessions=settings.sessions or None,
        modalities=settings.modalities, filters=settings.bids_filter_file,
        database_dir=settings.bids_database_dir, reset_database=settings.bids_database_wipe,
    )


def _begin(run: Run, *, plan: Plan) -> None:
    """Write and print what can be told before any image is processed."""
    settings = run.settings
    run.logs.mkdir(parents=True)
    (run.logs / 'config.toml').write_text(settings.to_toml())
    (run.logs / 'plan.txt').write_text(plan.describe() + '\n')
    for item in plan.rejections:
        log.log(logging.WARNING if item.fetchable else logging.INFO, 'rejected %s: %s', item.relative, item.reason)
    for job in plan.of('process'):
        for said in job.warnings:
            log.warning('%s: %s', job.relative, said)
    told = write_dataset_files(settings.output_dir, bids_dir=settings.bids_dir, descriptions=plan.descriptions())
    for warning in told:
        log.warning(warning)
    place_viewer(settings)
    print(device_line(run), flush=True)


def _process(run: Run, *, plan: Plan) -> int:
    began = time.time()
    todo = plan.of('process')
    for job in (*plan.of('reuse'), *plan.of('skip')):
        _tell_at_once(run, job)
    if todo:
        process_images(run, jobs=todo, told=_Progress(run, jobs=todo))
    elif plan.of('reuse'):
        print('Nothing to do: every image is done already.', flush=True)
    _report_rest(run, plan=plan)
    # Of this run's people alone: another run may be writing the pages of others.
    connect_pages(run.output_dir, people={job.subject for job in plan.jobs})
    found = read_statuses(run.statuses)
    statuses = [found[job.name] for job in plan.jobs]
    code = exit_code(statuses)
    merge(run.logs / 'status.json', statuses=statuses, run_id=run.run_id, version=__version__, exit_code=code,
          seconds=round(time.time() - began, 1), device=device_line(run), command=sys.argv)
    shutil.rmtree(run.statuses, ignore_errors=True)
    return code


def _tell_at_once(run: Run, job: Job) -> None:
    state = {'reuse': 'reused', 'skip': 'skipped'}[job.state]
    status = Status(job.relative, job.subject, job.session, state, job.reason, 0, job.output)
    write_status(run.statuses, name=job.name, status=status)
    print(status.line(), flush=True)
    if job.state == 'skip':
        write_skip(run, job=job)


def _report_rest(run: Run, *, plan: Plan) -> None:
    """Make the pages that the graph did not: those that are missing or older than what they tell of, and of people
    whose images were all skipped or done, if they are to be shown in 3-D."""
    in_graph = {job.subject for job in plan.of('process')}
    run_file = str(run.save())
    solid = solid_from(run.settings) is not None
    for subject in sorted({job.subject for job in plan.jobs}):
        if (solid and subject not in in_graph) or is_stale(run.output_dir, subject=subject):
            report_subject(run_file, subject=subject)


@dataclasses.dataclass
class _Progress:
    """Prints a line whenever an image is done."""

    run: Run
    jobs: tuple[Job, ...]
    done: set[str] = dataclasses.field(default_factory=set)

    def __call__(self, node: str) -> None:
        """Look which images have a status since the last node ended."""
        if not node.startswith(('write_', 'report_')):
            return
        for name, status in read_statuses(self.run.statuses).items():
            if name not in self.done and status.state in ('harmonized', 'synthetic', 'abstained'):
                self.done.add(name)
                print(f'[{len(self.done)}/{len(self.jobs)}] {status.line()}', flush=True)


def _start_logging(verbose: int) -> None:
    logging.basicConfig(format='%(asctime)s %(levelname)s %(message)s', datefmt='%H:%M:%S', force=False)
    log.setLevel(logging.INFO if verbose else logging.WARNING)
