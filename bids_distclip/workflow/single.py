"""One image without BIDS: the same steps as the app's, in one process and without a graph."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_distclip.acquisition.family import infer_family
from bids_distclip.dataset.atomic import sha256, write_json
from bids_distclip.dataset.outputs import is_ours, sidecar
from bids_distclip.errors import BadData, CannotWrite, UsageError
from bids_distclip.harmonizers.base import Harmonized, Target
from bids_distclip.settings import Settings, make_settings
from bids_distclip.volume.image import read_volume, write_volume
from bids_distclip.volume.lattice import read_mask
from bids_distclip.volume.mask import stripped_brain
from bids_distclip.volume.prepared import Prepared, prepare
from bids_distclip.workflow.context import probe_writable
from bids_distclip.workflow.engine import run_engine
from bids_distclip.workflow.gpu import choose_cards, lease
from bids_distclip.workflow.products import harmonization_block
from bids_distclip.workflow.run import wants_card
from bids_distclip.workflow.shortage import told
from bids_distclip.workflow.steps import make_target, target_image, tissue_of
from bids_distclip.workflow.targets import TargetSpec, choose_target, read_acquisition, resolve_targets
from bids_distclip.workflow.weights import check_engine, engine_weights_sha256


def harmonize_file(
    source: Path, *, out: Path, source_metadata: Path | None = None, brain_mask: Path | None = None, **options: Any
) -> str:
    """Harmonize one NIfTI file, write the image and a JSON sidecar beside it, and return what was done in words.

    ``options`` are those of :class:`bids_distclip.settings.Settings` on target, engine and device.

    Raises
    ------
    bids_distclip.errors.DistclipError
        If the image, the target or an option cannot be used, if the result cannot be trusted, or if the output cannot
        be written.
    """
    source, out = Path(source).absolute(), Path(out).absolute()
    if not out.name.endswith(('.nii', '.nii.gz')):
        raise UsageError('The output must be NIfTI.', file=out, cure='end its name in .nii.gz.')
    beside = out.with_name(out.name.removesuffix('.gz').removesuffix('.nii') + '.json')
    given = (source, source_metadata, brain_mask, options.get('target_image'), options.get('target_metadata'))
    _check_free(out, beside=beside, given=[Path(path) for path in given if path])
    settings = make_settings({}, bids_dir=source.parent, output_dir=out.parent, **options)
    probe_writable(out.parent, option='OUT')
    cards = choose_cards(settings.device) if wants_card(settings) else ()
    engine_weights_sha256(settings.engine, weights=settings.weights)
    acquisition = read_acquisition(source, metadata=source_metadata)
    family = infer_family(acquisition).family
    spec = _target(settings, family=family, source=source)
    check_engine(settings.engine, targets=(spec,))
    volume = read_volume(source)
    brain = read_mask(brain_mask, like=volume) if brain_mask else None
    ready = prepare(volume, acquisition=acquisition, family=family,
                    bias_correction=settings.bias_correction, brain=brain, segment=tissue_of(settings.weights))
    image = (
        target_image(spec, bias_correction=settings.bias_correction, weights=settings.weights) if spec.image else None
    )
    target, synthesize = make_target(spec, image=image), spec.family != family
    with lease(cards) if cards else contextlib.nullcontext() as card:
        device = f'cuda:{card.index}' if card else 'cpu'
        try:
            result = run_engine(settings, device=device, source=ready, target=target, synthesize=synthesize,
                                name=source.name)
        except Exception as error:
            reason = told(error)
            if reason is error:
                raise
            raise reason from error
    doubtful = _doubts(ready, result=result, target=target, synthesize=synthesize)
    if doubtful and settings.on_doubt == 'abstain':
        raise BadData(f'The result could not be trusted and was not written: {" ".join(doubtful)}', file=source,
                      cure='check the image and its metadata; --on-doubt warn writes the result all the same.')
    write_volume(replace(ready.volume, data=np.asarray(result.data, dtype=np.float32)), out)
    block = harmonization_block(target=target, result=result, source_sha256=sha256(source),
                                settings=settings.model_dump(mode='json'))
    content = sidecar({}, description=f'{source.name} as {target.name} would have shown it.',
                      skull_stripped=stripped_brain(ready.volume) is not None, harmonization=block, sources=[],
                      metadata={})
    write_json(beside, content)
    what = 'synthetic' if synthesize else 'harmonized'
    said = f'distclip: {out} ({what}: {family} to {target.name}, on {result.details.get("device", "cpu")})'
    return '\n'.join([said, *(f'doubtful: {sentence}' for sentence in doubtful)])


def _check_free(out: Path, *, beside: Path, given: Sequence[Path]) -> None:
    """Raise CannotWrite if the output or its sidecar would replace what was given, or a sidecar that is not ours."""
    for path in (out, beside):
        same = next((other for other in given if path.resolve() == other.resolve()), None)
        if same is not None:
            raise CannotWrite(f'The output would overwrite {same.name}, which was given.', file=path,
                              cure='give another name.')
    if beside.exists() and not is_ours(out):
        raise CannotWrite('The sidecar of the output would overwrite a file that is not of this app.', file=beside,
                          cure='give another name, or move that file.')


def _doubts(ready: Prepared, *, result: Harmonized, target: Target, synthesize: bool) -> tuple[str, ...]:
    from bids_distclip.quality.metrics import image_metrics, style_metrics
    from bids_distclip.quality.trust import MEASURED, doubts

    engine = str(result.details.get('engine'))
    if engine not in MEASURED:
        return ()
    metrics = image_metrics(ready, result.data, target) | style_metrics(result.details.get('style', {}))
    return doubts({name: entry['value'] for name, entry in metrics.items()}, engine=engine, synthesize=synthesize)


def _target(settings: Settings, *, family: str | None, source: Path) -> TargetSpec:
    targets = resolve_targets(settings)
    found = choose_target(targets, family=family, synthesize=settings.synthesize)
    if found is None and family is None:
        raise UsageError('The contrast family of the source is not known.', file=source,
                         cure='name it as BIDS does (…_T1w.nii.gz), or give --source-metadata.')
    if found is None:
        raise UsageError(f'The source is {family}, the target is {targets[0].family}.', file=source,
                         cure='give a target of the same family, or add --synthesize.')
    return found
