"""What a run would do with every file it found, before anything is done."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib

from bids_distclip import __version__
from bids_distclip.dataset.atomic import sha256
from bids_distclip.dataset.content import readable
from bids_distclip.dataset.inputs import Rejection, Scan, Selection
from bids_distclip.dataset.masks import MaskChoice, find_brain_mask
from bids_distclip.dataset.outputs import is_complete, made_of, output_name
from bids_distclip.errors import BadData, NoInput, UsageError
from bids_distclip.quality.record import DONE, read_record, record_path
from bids_distclip.settings import Settings
from bids_distclip.workflow.job import Job
from bids_distclip.workflow.targets import TargetSpec, choose_target

#: Without any of these, an image counts as one without metadata.
PHYSICS = ('manufacturer', 'model', 'field_strength', 'echo_time', 'repetition_time', 'inversion_time', 'flip_angle',
           'scanning_sequence')

#: The desc label of a source that was passed through because its result could not be trusted.
UNTOUCHED = 'untouched'

#: Voxels of a common head, for one that cannot be read.
_COMMON = (256, 256, 256)
#: Why an image is skipped, as far as it decides the exit code when no image is left.
_FAMILY, _METADATA, _THERE = 'has no target', 'has no metadata', 'is there'


@dataclass(frozen=True)
class Plan:
    """The jobs of a run, and the files that are no part of it."""

    jobs: tuple[Job, ...]
    rejections: tuple[Rejection, ...]

    def of(self, state: str) -> tuple[Job, ...]:
        """Return the jobs in that state."""
        return tuple(job for job in self.jobs if job.state == state)

    def describe(self) -> str:
        """Return one line per file: what becomes of it, and why."""
        lines = [line for job in self.jobs for line in _describe(job)]
        lines += [f'rejected  {item.relative}: {item.reason}' for item in self.rejections]
        counts = (f'{len(self.of("process"))} to harmonize, {len(self.of("reuse"))} done already, '
                  f'{len(self.of("skip"))} skipped, {len(self.rejections)} rejected')
        return '\n'.join([*lines, counts])

    def descriptions(self) -> dict[str, str]:
        """Return what the desc labels mean that carry the suffix of their image."""
        found = {}
        for job in self.jobs:
            if job.state != 'skip' and job.suffix != 'T1w':
                found[_word('brain', job.suffix)] = f'The brain mask of the {job.suffix} image, on its own grid.'
                found[_word('tissue', job.suffix)] = f'The tissue of the {job.suffix} image, on its own grid.'
            if job.state != 'skip' and job.synthesize:
                said = f'The source as it is: the {job.out_suffix} made of it could not be trusted.'
                found[f'{UNTOUCHED}To{job.out_suffix}'] = said
            if job.state != 'skip' and job.out_suffix != 'T1w':
                found[_word(job.desc, job.out_suffix)] = f'What belongs to the desc-{job.desc} {job.out_suffix} image.'
        return found

    def check(self) -> None:
        """Raise UsageError or NoInput if nothing remains to be harmonized."""
        if not self.jobs or any(job.state != 'skip' for job in self.jobs):
            return
        first = self.jobs[0]
        if any(_FAMILY in job.reason for job in self.jobs):
            raise UsageError(f'No image remains to be harmonized; {first.relative}: {first.reason}',
                             cure='give a target of the images\' family, or add --synthesize.')
        if any(_THERE in job.reason for job in self.jobs):
            raise UsageError(f'No image remains to be harmonized; {first.relative}: {first.reason}',
                             cure='remove that image, or give another output folder.')
        raise NoInput(f'No image remains to be harmonized; {first.relative}: {first.reason}',
                      cure='add metadata, or use --missing-metadata warn.')


def make_plan(
    selection: Selection, *, settings: Settings, targets: Sequence[TargetSpec], weights_sha256: str | None
) -> Plan:
    """Return what is to be done with each selected scan.

    Raises
    ------
    bids_distclip.errors.BadData
        If an image has no metadata and ``--missing-metadata error`` was given.
    """
    jobs = [_job(scan, settings=settings, targets=tuple(targets)) for scan in selection.scans]
    jobs = [_resumed(job, settings=settings, targets=targets, weights_sha256=weights_sha256) for job in jobs]
    return Plan(tuple(_unclashed(jobs, settings=settings)), tuple(selection.rejections))


def fingerprint(job: Job, *, settings: Settings, target: TargetSpec, weights_sha256: str | None) -> str:
    """Return the SHA-256 of all that decides an image's outputs: source, target, engine, options, version.

    Device, threads and memory are not part of it.
    """
    acquisition = {key: value for key, value in job.acquisition.items() if key not in ('provenance', 'notes')}
    mask = sha256(Path(job.brain_mask)) if job.brain_mask else None
    facts = {
        'version': __version__, 'source': job.sha256, 'acquisition': acquisition, 'family': job.family, 'mask': mask,
        'target': {k: v for k, v in target.to_dict().items() if k not in ('name', 'image')},
        'engine': settings.engine, 'weights': weights_sha256,
        'bias_correction': settings.bias_correction, 'planes': settings.planes, 'seed': settings.random_seed,
        'tissue': settings.tissue_brightness,
        'level': settings.output_level, 'on_doubt': settings.on_doubt, 'desc': job.desc, 'output': job.output,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _job(scan: Scan, *, settings: Settings, targets: tuple[TargetSpec, ...]) -> Job:
    call = scan.family_call
    mask = find_brain_mask(scan, settings.derivatives) if settings.derivatives else MaskChoice()
    shape, spacing = _grid(scan.path)
    job = Job(
        name=_stem(scan.path), source=str(scan.path), relative=str(scan.relative), subject=scan.subject,
        session=scan.session, suffix=scan.suffix, entities=dict(scan.entities),
        acquisition=scan.acquisition.to_dict(), family=call.family, family_basis=call.basis,
        family_conflict=call.conflict or None, sidecar=dict(scan.sidecar), shape=shape, spacing=spacing,
        brain_mask=str(mask.path) if mask.path else None,
        warnings=(*([call.conflict] if call.conflict else []), *mask.warnings),
    )
    if not any(name in scan.acquisition.known() for name in PHYSICS):
        job = _without_metadata(job, choice=settings.missing_metadata)
    if job.state == 'skip':
        return job
    return _aimed(job, scan=scan, settings=settings, targets=targets)


def _without_metadata(job: Job, *, choice: str) -> Job:
    said = 'it has no metadata on how it was acquired'
    if choice == 'error':
        raise BadData('An image has no acquisition metadata.', file=job.source,
                      cure='add a JSON sidecar, or use --missing-metadata warn or skip.')
    if choice == 'skip':
        return job.skipped(f'it {_METADATA}, and --missing-metadata skip was given')
    return replace(job, warnings=(*job.warnings, f'{said}; the picture itself is the guide.'))


def _aimed(job: Job, *, scan: Scan, settings: Settings, targets: tuple[TargetSpec, ...]) -> Job:
    target = choose_target(targets, family=job.family, synthesize=settings.synthesize)
    if target is None:
        given = ', '.join(f'{target.name} ({target.family})' for target in targets)
        return job.skipped(f'its family {job.family or "(unknown)"} {_FAMILY}: given is {given}; '
                           '--synthesize allows another family')
    other = job.family != target.family
    desc = 'synthetic' if other else settings.output_desc
    suffix = target.family if other else job.suffix
    return replace(
        job, target=target.name, desc=desc, out_suffix=suffix,
        output=str(output_name(scan, desc=desc, suffix=suffix)),
        mask_output=str(output_name(scan, desc=_word('brain', scan.suffix), suffix='mask')),
        tissue_output=str(output_name(scan, desc=_word('tissue', scan.suffix), suffix='dseg')),
        spread_output=str(output_name(scan, desc=_word(desc, suffix), suffix='uncertainty')),
        untouched_output=str(output_name(scan, desc=f'{UNTOUCHED}To{suffix}' if other else UNTOUCHED)),
    )


def _word(desc: str, suffix: str) -> str:
    """Return a desc label for what has lost the suffix of its image: without this, T1w and T2w would share a name."""
    return desc if suffix == 'T1w' else f'{desc}{suffix}'


def _resumed(job: Job, *, settings: Settings, targets: Sequence[TargetSpec], weights_sha256: str | None) -> Job:
    """Add hashes, and mark the job as done where its output is there and matches."""
    try:
        job = replace(job, sha256=sha256(Path(job.source)))
    except OSError:
        return job
    if job.state == 'skip':
        return job
    target = next(target for target in targets if target.name == job.target)
    mark = fingerprint(job, settings=settings, target=target, weights_sha256=weights_sha256)
    job = replace(job, fingerprint=mark)
    if not _is_recorded(job, output_dir=settings.output_dir):
        return job
    if is_complete(settings.output_dir / str(job.output), fingerprint=mark):
        return replace(job, state='reuse', reason='its output is there and matches')
    if is_complete(settings.output_dir / str(job.untouched_output), fingerprint=mark):
        said = 'it was left as it is, for the same reasons'
        return replace(job, state='reuse', output=job.untouched_output, reason=said)
    return job


def _is_recorded(job: Job, *, output_dir: Path) -> bool:
    """Tell whether the record tells of this very result; pages could not be made of another's, or of none."""
    try:
        record = read_record(record_path(output_dir, job.subject, job.result))
    except (OSError, ValueError):
        return False
    return record.status in DONE and record.fingerprint == job.fingerprint


def _unclashed(jobs: Sequence[Job], *, settings: Settings) -> list[Job]:
    """Skip what would be written over another image, as two families synthesized to one suffix would.

    The other image may be one that an earlier run made, of a source that is still there.
    """
    taken: dict[str, str] = {}
    out = []
    for job in sorted(jobs, key=lambda job: (job.relative, job.suffix)):
        before = _made_before(job, settings=settings)
        if before:
            job = job.skipped(f'{job.output} {_THERE}, made of {before}')
        owner = taken.setdefault(job.output, job.relative) if job.output else job.relative
        out.append(job if owner == job.relative else job.skipped(f'its output would be that of {owner}'))
    return out


def _made_before(job: Job, *, settings: Settings) -> str:
    """Return which other image of the dataset a job's output on disk was made of; empty where it is the job's own."""
    earlier = made_of(settings.output_dir / job.output) if job.output else ()
    if job.relative in earlier:
        return ''
    return next((name for name in earlier if (settings.bids_dir / name).is_file()), '')


def _describe(job: Job) -> list[str]:
    words = {'process': 'harmonize', 'reuse': 'done', 'skip': 'skipped'}
    if job.state == 'skip':
        return [f'skipped   {job.relative}: {job.reason}']
    record = job.acquisition_record()
    family = f'{job.family} by {job.family_basis}'
    lines = [
        f'{words[job.state]:<9} {job.relative} -> {job.output}',
        f'          family {family}; target {job.target}; mask {job.brain_mask or "estimated"}',
        f'          known: {", ".join(record.known()) or "nothing"}',
        f'          missing: {", ".join(record.missing()) or "nothing"}',
    ]
    return [*lines, *(f'          note: {note}' for note in (*job.warnings, *record.notes))]


def _grid(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the image's shape and spacing from its header alone; those of a common head if it cannot be read."""
    if not readable(path):
        return _COMMON, ()
    try:
        header: Any = nib.load(path).header
        shape = tuple(int(n) for n in header.get_data_shape())
        spacing = tuple(round(float(size), 4) for size in header.get_zooms()[:3])
    except Exception:  # noqa: BLE001 - reading it in earnest will say what is wrong with the file
        return _COMMON, ()
    return (shape, spacing) if math.prod(shape) > 0 else ((1, 1, 1), spacing)


def _stem(path: Path) -> str:
    return path.name.removesuffix('.gz').removesuffix('.nii')

