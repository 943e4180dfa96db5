"""All that is written for one image: the image, its sidecar, masks, figures, numbers and record."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_distclip import __version__
from bids_distclip.dataset.atomic import sha256, write_json
from bids_distclip.dataset.outputs import made_with, sidecar, update_scans_tsv
from bids_distclip.errors import DistclipError
from bids_distclip.quality.record import DONE, ENDING, ImageRecord, read_record, record_path, write_record
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.job import Job
from bids_distclip.workflow.maps import as_float, beside, write_mask, write_spread, write_tissue
from bids_distclip.workflow.weights import known_acquisitions

# Planning imports this module for what it writes without an image, so what works on images is imported where it works.
if TYPE_CHECKING:

    from bids_distclip.harmonizers.base import Harmonized, Target
    from bids_distclip.quality.guard import Guard
    from bids_distclip.volume.prepared import Prepared

#: What a person can do about an image whose result could not be trusted.
_ABSTAINED = 'check the image and its metadata; --on-doubt warn writes the result all the same.'

#: Packages whose versions decide the numbers.
_PACKAGES = ('torch', 'numpy', 'scipy', 'nibabel', 'SimpleITK', 'scikit-image', 'nipype', 'intensity-normalization')


def write_products(run: Run, *, job: Job, source: Prepared, result: Harmonized, target: Target) -> ImageRecord:
    """Write everything that belongs to one harmonized image and return its record.

    Where the result cannot be trusted the source is passed through instead, under another name. The image and its
    sidecar come last: while they are not there, a later run does all of it again.
    """
    from bids_distclip.quality.guard import compare_structure
    from bids_distclip.quality.metrics import image_metrics, style_metrics
    from bids_distclip.quality.profile import look
    from bids_distclip.quality.trust import doubts
    from bids_distclip.volume.mask import stripped_brain

    guard = compare_structure(source.volume.data / source.scale, result.data / target.scale, mask=source.brain,
                              spacing=source.volume.spacing)
    metrics = image_metrics(source, result.data, target, guard=guard) | style_metrics(result.details.get('style', {}))
    looks = {'before': look(source.volume.data / source.scale, brain=source.brain),
             'after': look(result.data / target.scale, brain=source.brain)}
    drawn, trouble = _figures(run, job=job, source=source, result=result, target=target, guard=guard)
    stripped = stripped_brain(source.volume) is not None
    doubtful = doubts({name: entry['value'] for name, entry in metrics.items()}, synthesize=job.synthesize,
                      engine=str(result.details.get('engine')))
    abstained = bool(doubtful) and run.settings.on_doubt == 'abstain'
    if run.settings.output_level != 'minimal':
        write_mask(run, job=job, source=source)
        write_tissue(run, job=job, source=source)
    if run.settings.output_level == 'full' and result.uncertainty is not None and not abstained:
        write_spread(run, job=job, source=source, uncertainty=result.uncertainty)
    state = 'abstained' if abstained else 'synthetic' if job.synthesize else 'harmonized'
    output, other = (job.output, job.untouched_output)[:: -1 if abstained else 1]
    record = ImageRecord(
        **_about(job, target=_target(target)), status=state, preparation=_preparation(run, source=source),
        engine=dict(result.details), metrics=metrics, look=looks, output=str(output), **drawn,
        reason=' '.join(doubtful) if abstained else '', cure=_ABSTAINED if abstained else '',
        warnings=(*job.warnings, *source.volume.notes, *trouble, *(() if abstained else doubtful)), versions=versions(),
        fingerprint=job.fingerprint,
    )
    _write(run, job=job, record=record)
    row = {name: entry['value'] for name, entry in metrics.items()}
    row |= {'filename': output, 'distclip_status': state}
    update_scans_tsv(run.output_dir, job.subject, job.session, row, instead_of=other)
    _remove(run, str(other))
    if abstained:
        _write_source(run, job=job, result=result, target=target, doubtful=doubtful)
    else:
        _write_image(run, job=job, source=source, result=result, target=target, stripped=stripped)
    return record


def write_failure(run: Run, *, job: Job, error: BaseException) -> None:
    """Write the record of an image that failed, so that the page of its person tells of it."""
    if isinstance(error, DistclipError):
        reason, cure = error.what, error.cure
    else:
        reason, cure = f'{type(error).__name__}: {error}', 'see the traceback in the logs folder.'
    left = _left_of_others(run, job)
    record = ImageRecord(
        **_about(job, target=_planned_target(run, job)), status='failed', reason=reason, cure=cure,
        warnings=(*job.warnings, *left), versions=versions(),
    )
    _write(run, job=job, record=record)


def write_skip(run: Run, *, job: Job) -> None:
    """Write the record of an image that was left out on purpose, unless a result of it is there from another run."""
    if has_result(run, job):
        return
    record = ImageRecord(**_about(job, target={}), status='skipped', reason=job.reason, warnings=job.warnings,
                         versions=versions())
    _write(run, job=job, record=record)


def harmonization_block(
    *, target: Target, result: Harmonized, source_sha256: str | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a sidecar says under ``Harmonization`` of how an image came to be."""
    return {
        'Engine': result.details.get('engine'), 'EngineDetails': dict(result.details),
        'Target': _brief(target), 'IntensityScale': target.scale, 'SourceSHA256': source_sha256,
        'WeightsSHA256': result.details.get('weights_sha256'), 'Seed': settings.get('random_seed'),
        'Device': result.details.get('device', 'cpu'), 'BiasCorrection': settings.get('bias_correction'),
        'Versions': versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of this app, of Python and of the packages that decide the numbers."""
    found = {'bids_distclip': __version__, 'python': platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def has_result(run: Run, job: Job) -> bool:
    """Tell whether a result of a job's image is there and recorded, of whichever run."""
    return any(_is_there(run, record) for _, record in _records_of(run, job))


def _write(run: Run, *, job: Job, record: ImageRecord) -> None:
    """Write the record of a job's result; a former run's word that its image was skipped is no longer true."""
    path = record_path(run.output_dir, job.subject, job.result)
    write_record(record, path=path)
    for other, known in _records_of(run, job):
        if other != path and known.status == 'skipped':
            other.unlink(missing_ok=True)


def _records_of(run: Run, job: Job) -> Iterator[tuple[Path, ImageRecord]]:
    """Yield the records of all results of a job's image, also those of other runs."""
    folder = record_path(run.output_dir, job.subject, job.name).parent
    for path in (folder / f'{job.name}{ENDING}', *sorted(folder.glob(f'{job.name}_to-*{ENDING}'))):
        # One that is missing or cannot be read says nothing of the image.
        with contextlib.suppress(OSError, ValueError):
            yield path, read_record(path)


def _is_there(run: Run, record: ImageRecord) -> bool:
    return record.status in DONE and record.output is not None and (run.output_dir / record.output).is_file()


def _left_of_others(run: Run, job: Job) -> tuple[str, ...]:
    """Say that a former run's image is where the one that failed belongs."""
    if None in (job.output, job.fingerprint) or made_with(run.output_dir / str(job.output)) in (None, job.fingerprint):
        return ()
    return (f'The image {job.output} is not of this run: an earlier one made it, with other settings.',)


def _write_image(
    run: Run, *, job: Job, source: Prepared, result: Harmonized, target: Target, stripped: bool
) -> None:
    from bids_distclip.volume.image import write_volume

    path = run.output_dir / str(job.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    block = harmonization_block(target=target, result=result, source_sha256=job.sha256,
                                settings=run.settings.model_dump(mode='json'))
    write_volume(source.volume.with_data(result.data), path)
    block |= {'Fingerprint': job.fingerprint, 'OutputSHA256': sha256(path)}
    family = f'{target.family}, computed from {job.family}' if job.synthesize else str(job.family)
    content = sidecar(
        dict(job.entities), description=f'{family} image as {target.name} would have shown it.',
        skull_stripped=stripped, harmonization=block, sources=[job.relative],
        metadata=job.sidecar,
    )
    write_json(beside(path), content)


def _write_source(
    run: Run, *, job: Job, result: Harmonized, target: Target, doubtful: tuple[str, ...]
) -> None:
    """Write the source as it is, with a sidecar that says why it was not harmonized."""
    from bids_distclip.volume.image import read_volume, write_volume
    from bids_distclip.volume.mask import stripped_brain

    path = run.output_dir / str(job.untouched_output)
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = read_volume(Path(job.source))
    write_volume(as_float(volume), path)
    block = harmonization_block(target=target, result=result, source_sha256=job.sha256,
                                settings=run.settings.model_dump(mode='json'))
    block |= {'Abstained': list(doubtful), 'Fingerprint': job.fingerprint, 'OutputSHA256': sha256(path)}
    said = f'The {job.suffix} image as it is: its result for {target.name} was not trusted.'
    content = sidecar(
        dict(job.entities), description=said, skull_stripped=stripped_brain(volume) is not None, harmonization=block,
        sources=[job.relative], metadata=job.sidecar,
    )
    write_json(beside(path), content)


def _remove(run: Run, relative: str) -> None:
    """Remove an image that a former run wrote in place of the one that is written now, and its sidecar."""
    path = run.output_dir / relative
    for file in (beside(path), path):
        file.unlink(missing_ok=True)


def _figures(
    run: Run, *, job: Job, source: Prepared, result: Harmonized, target: Target, guard: Guard
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Draw the figures of the record; those that cannot be drawn are told, and never fail an image."""
    if run.settings.report_figures == 'none':
        return {}, ()
    folder = record_path(run.output_dir, job.subject, job.result).parent
    try:
        from bids_distclip.quality.guard import find_places
        from bids_distclip.reports.figures import draw_figures
        from bids_distclip.reports.findings import draw_findings
        from bids_distclip.reports.stylemap import draw_style_map, read_points

        figures = draw_figures(source, result.data, target, uncertainty=result.uncertainty, structure=guard.map,
                               out_dir=folder, stem=job.result)
        findings = draw_findings(source, result.data, target, structure=guard.map, out_dir=folder, stem=job.result,
                                 findings=find_places(guard, affine=source.volume.affine))
        figures |= draw_style_map(result.details.get('style', {}).get('map', {}), out_dir=folder, stem=job.result,
                                  points=read_points(known_acquisitions(run.settings.weights)))
        return {'figures': figures, 'findings': tuple(findings)}, ()
    except Exception as error:  # noqa: BLE001 - by contract a report never fails a run
        return {}, (f'The figures could not be drawn ({type(error).__name__}: {error}).',)


def _about(job: Job, *, target: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'source': {
            'path': job.relative, 'sha256': job.sha256, 'suffix': job.suffix, 'shape': list(job.shape),
            'spacing': list(job.spacing), 'family': job.family, 'family_basis': job.family_basis,
            'family_conflict': job.family_conflict,
        },
        'acquisition': dict(job.acquisition), 'target': dict(target),
    }


def _planned_target(run: Run, job: Job) -> dict[str, Any]:
    if job.target is None:
        return {}
    spec = run.target(job.target)
    return {'kind': spec.kind, 'name': spec.name, 'family': spec.family, 'acquisition': spec.acquisition.to_dict()}


def _target(target: Target) -> dict[str, Any]:
    return {'kind': target.kind, 'name': target.name, 'family': target.family,
            'acquisition': target.acquisition.to_dict()}


def _brief(target: Target) -> dict[str, Any]:
    values = {name: value for name, value in target.acquisition.values().items() if value not in (None, ())}
    return {'Kind': target.kind, 'Name': target.name, 'Family': target.family, 'Acquisition': values}


def _preparation(run: Run, *, source: Prepared) -> dict[str, Any]:
    return {'bias_correction': run.settings.bias_correction, 'brain_mask': source.brain_from,
            'tissue': source.tissue is not None}
