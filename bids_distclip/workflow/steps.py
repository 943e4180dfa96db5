"""The steps of a run on files: prepare, harmonize, write, report. One image that fails never stops another."""

from __future__ import annotations

import functools
import logging
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bids_distclip.errors import BadData, DistclipError, TryAgain
from bids_distclip.harmonizers.base import CANONICAL_SCALE, Target
from bids_distclip.quality.record import record_path
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.engine import run_engine
from bids_distclip.workflow.gpu import choose_cards, lease
from bids_distclip.workflow.job import Job
from bids_distclip.workflow.pages import make_page, solid_from
from bids_distclip.workflow.products import has_result, write_failure, write_products
from bids_distclip.workflow.shortage import told
from bids_distclip.workflow.status import Status, failed, write_status
from bids_distclip.workflow.targets import TargetSpec

# Planning imports this module too, so what works on images is imported where it works.
if TYPE_CHECKING:
    from bids_distclip.volume.prepared import Prepared
    from bids_distclip.volume.tissue import Segment

log = logging.getLogger('bids_distclip')


def prepare_image(run_file: str, *, job_file: str) -> str:
    """Read and prepare one image; return the prepared file, or nothing if it failed."""
    run, job = Run.load(Path(run_file)), Job.load(Path(job_file))

    def work() -> str:
        began = time.monotonic()
        ready = _prepared(run, path=Path(job.source), job=job)
        path = run.work / 'prepared' / f'{job.name}.npz'
        path.parent.mkdir(exist_ok=True)
        ready.save(path)
        _note(run, job, seconds=time.monotonic() - began)
        return str(path)

    return attempt(run, job=job, work=work)


def prepare_target(run_file: str, *, target: str) -> str:
    """Read and prepare a target image; return the prepared file."""
    run = Run.load(Path(run_file))
    spec = run.target(target)
    folder = run.work / 'targets'
    folder.mkdir(exist_ok=True)
    path = folder / f'{spec.sha256}.npz'
    try:
        with _mark(run, name=_target_mark(spec)):
            target_image(spec, bias_correction=run.settings.bias_correction, weights=run.settings.weights).save(path)
    except Exception as error:  # noqa: BLE001 - told to every image that wanted this target
        _write_trace(run, name='target')
        reason = told(error)
        path.with_suffix('.failed').write_text(f'{getattr(reason, "code", 1)} {reason}')
    return str(path)


def target_image(spec: TargetSpec, *, bias_correction: str, weights: Path | None = None) -> Prepared:
    """Read and prepare the image of a target."""
    from bids_distclip.volume.image import read_volume
    from bids_distclip.volume.prepared import prepare

    volume = read_volume(Path(str(spec.image)))
    return prepare(volume, acquisition=spec.acquisition, family=spec.family, bias_correction=bias_correction,
                   segment=tissue_of(weights))


def tissue_of(weights: Path | None) -> Segment | None:
    """Return what tells tissue apart with the weights of a folder, else the shipped; None where neither can."""
    from bids_distclip.harmonizers.tissue import make_segment

    return make_segment(weights)


def make_target(spec: TargetSpec, *, image: Prepared | None = None) -> Target:
    """Return the target as harmonizers know it; its scale is the image's own, or the canonical one."""
    scale = image.scale if image is not None else CANONICAL_SCALE
    return Target(spec.kind, spec.name, spec.family, spec.acquisition, image, scale)


def harmonize_session(run_file: str, *, job_files: Sequence[str], prepared: Sequence[str]) -> list[str]:
    """Harmonize the images of one session on one device; return one file per image, or nothing where one failed."""
    run = Run.load(Path(run_file))
    jobs = [Job.load(Path(file)) for file in job_files]
    if not any(prepared):
        return ['' for _ in jobs]
    with ExitStack() as held:
        try:
            device = held.enter_context(_device(run))
        except DistclipError as error:
            return [attempt(run, job=job, work=functools.partial(_raise, error)) for job in jobs]
        log.info('%s ses %s: harmonizing on %s', jobs[0].subject, jobs[0].session or '-', device)
        return [
            attempt(run, job=job, work=functools.partial(_harmonize, run, job, file, device)) if file else ''
            for job, file in zip(jobs, prepared, strict=True)
        ]


def write_image(run_file: str, *, job_file: str, prepared: str, harmonized: str) -> str:
    """Write one image with all that belongs to it; return its record, or nothing if it failed before or here."""
    from bids_distclip.volume.prepared import Prepared
    from bids_distclip.workflow.files import load_harmonized

    run, job = Run.load(Path(run_file)), Job.load(Path(job_file))
    if not (prepared and harmonized):
        return ''

    def work() -> str:
        began = time.monotonic()
        result = load_harmonized(Path(harmonized))
        spec = run.target(str(job.target))
        image = Prepared.load(_target_file(run, spec)) if spec.image else None
        made = write_products(run, job=job, source=Prepared.load(Path(prepared)), result=result,
                              target=make_target(spec, image=image))
        if run.settings.clean_workdir == 'success':
            Path(prepared).unlink(missing_ok=True)
            Path(harmonized).unlink(missing_ok=True)
        seconds = _note(run, job, seconds=time.monotonic() - began)
        said = made.reason or '; '.join(job.warnings)
        write_status(run.statuses, name=job.name, status=Status(
            job.relative, job.subject, job.session, made.status, said, 0, made.output, round(seconds, 1)
        ))
        return str(record_path(run.output_dir, job.subject, job.result))

    return attempt(run, job=job, work=work)


def report_subject(run_file: str, *, subject: str) -> str:
    """Make the page of one person; a page that cannot be made is told, and never fails a run."""
    run = Run.load(Path(run_file))
    try:
        return str(make_page(run.output_dir, subject=subject, bids_dir=solid_from(run.settings)))
    except Exception as error:  # noqa: BLE001 - by contract a report never fails a run
        _write_trace(run, name=f'report_sub-{subject}')
        print(f'bids_distclip: the page of sub-{subject} could not be made ({error}); the images are fine.',
              file=sys.stderr, flush=True)
        return ''


def attempt(run: Run, *, job: Job, work: Callable[[], str]) -> str:
    """Return what ``work`` returns; if it raises, write down that this image failed, and return nothing.

    Meanwhile a file says that the image is worked on; it is still there if the process is killed (:func:`under_work`).
    """
    try:
        with _mark(run, name=job.name):
            return work()
    except Exception as error:
        if not isinstance(error, DistclipError):
            _write_trace(run, name=job.name)
        give_up(run, job=job, error=told(error))
        if run.settings.stop_on_first_crash:
            raise
        return ''


def under_work(run: Run, *, job: Job) -> bool:
    """Tell whether a step works on an image, or was killed while it did."""
    return (_begun(run) / job.name).exists()


def lose(run: Run, *, job: Job, killed: bool) -> None:
    """Write down and print what is known of an image whose steps ended without a word, ``killed`` or never reached.

    The record of a result that is there stays as it is if the image was not reached.
    """
    target = run.target(str(job.target)) if job.target else None
    of_target = not killed and target is not None and target.image and (_begun(run) / _target_mark(target)).exists()
    if killed or of_target:
        whom = 'prepared its target' if of_target else 'worked on it'
        cure = f'see the crash files in logs/{run.run_id}, give more memory, and run the same command again.'
        error = TryAgain(f'The process that {whom} was killed, most often because memory ran out.', cure=cure)
    else:
        error = TryAgain('It was not reached: the run ended before its turn.', cure='run the same command again.')
    give_up(run, job=job, error=error, tried=killed)


def forget_work(run: Run) -> None:
    """Forget which steps were killed, before their images are tried again."""
    shutil.rmtree(_begun(run), ignore_errors=True)


def give_up(run: Run, *, job: Job, error: BaseException, tried: bool = True) -> None:
    """Write down and print that an image failed, and why."""
    status = failed(error, image=job.relative, subject=job.subject, session=job.session)
    write_status(run.statuses, name=job.name, status=status)
    if tried or not has_result(run, job):
        write_failure(run, job=job, error=error)
    print(status.line(), flush=True)


@contextmanager
def _mark(run: Run, *, name: str) -> Iterator[None]:
    # Only a hint: what is wrong with the folder is told by what needs it.
    mark = _begun(run) / name
    with suppress(OSError):
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
    try:
        yield
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _begun(run: Run) -> Path:
    return run.work / 'begun'


def _target_mark(spec: TargetSpec) -> str:
    return f'target-{spec.sha256}'


def _prepared(run: Run, *, path: Path, job: Job) -> Prepared:
    from bids_distclip.volume.image import read_volume
    from bids_distclip.volume.lattice import read_mask
    from bids_distclip.volume.prepared import prepare

    volume = read_volume(path)
    brain = read_mask(Path(job.brain_mask), like=volume) if job.brain_mask else None
    return prepare(volume, acquisition=job.acquisition_record(), family=job.family,
                   bias_correction=run.settings.bias_correction, brain=brain,
                   segment=tissue_of(run.settings.weights))


def _harmonize(run: Run, job: Job, prepared: str, device: str) -> str:
    from bids_distclip.volume.prepared import Prepared
    from bids_distclip.workflow.files import save_harmonized

    began = time.monotonic()
    spec = run.target(str(job.target))
    image = Prepared.load(_target_file(run, spec)) if spec.image else None
    result = run_engine(run.settings, device=device, source=Prepared.load(Path(prepared)), name=job.relative,
                        target=make_target(spec, image=image), synthesize=job.synthesize)
    path = save_harmonized(result, path=run.work / 'harmonized' / f'{job.name}.npz')
    _note(run, job, seconds=time.monotonic() - began)
    return str(path)


def _raise(error: Exception) -> str:
    raise error


def _target_file(run: Run, spec: TargetSpec) -> Path:
    path = run.work / 'targets' / f'{spec.sha256}.npz'
    trouble = path.with_suffix('.failed')
    if trouble.exists():
        code, _, reason = trouble.read_text().partition(' ')
        kind = TryAgain if code == str(TryAgain.code) else BadData
        raise kind(f'The target image could not be prepared: {reason}')
    return path


@contextmanager
def _device(run: Run) -> Iterator[str]:
    if not run.on_card:
        yield 'cpu'
        return
    # Which cards a scheduler gave to this job can be seen only here.
    cards = choose_cards(run.settings.device) if run.scheduled else run.cards
    with lease(cards, slots=run.gpu_slots) as card:
        yield f'cuda:{card.index}'


def _note(run: Run, job: Job, *, seconds: float) -> float:
    """Add up the seconds that one image took over its steps, and return the sum."""
    path = run.work / 'seconds' / f'{job.name}.txt'
    path.parent.mkdir(exist_ok=True)
    total = seconds + (float(path.read_text()) if path.exists() else 0.0)
    path.write_text(f'{total}')
    return total


def _write_trace(run: Run, *, name: str) -> None:
    run.logs.mkdir(parents=True, exist_ok=True)
    (run.logs / f'{name}_traceback.txt').write_text(traceback.format_exc())
