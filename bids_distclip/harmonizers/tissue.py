"""The tissue segmenter behind the interface that preparing an image asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_distclip.volume.image import Volume
from bids_distclip.volume.planes import axes_to_run
from bids_distclip.volume.prepared import Prepared
from bids_distclip.volume.ras import from_ras, ras_spacing, to_ras
from bids_distclip.volume.tissue import Segment, told_tissue


def make_segment(weights: Path | None = None, *, precision: str = 'auto') -> Segment | None:
    """Return what segments a volume with the weights of a folder, else with the shipped; None where neither has any.

    ``precision`` is that of :class:`bids_distclip.harmonizers.distclip.DistClip`; the processor is used.
    """
    from bids_distclip.networks.segmenter import SEGMENTER
    from bids_distclip.networks.weights import DEFAULT

    folders = [Path(weights), DEFAULT] if weights else [DEFAULT]
    found = [folder / SEGMENTER for folder in folders if (folder / SEGMENTER).exists()]
    if not found:
        return None

    def apply(volume: Volume) -> np.ndarray:
        return _segmented(volume, path=found[0], precision=precision)

    return apply


def _segmented(volume: Volume, *, path: Path, precision: str) -> np.ndarray:
    import torch

    from bids_distclip.networks.inference import best_precision
    from bids_distclip.networks.memory import keep_freed_memory
    from bids_distclip.networks.segmenter import segment
    from bids_distclip.networks.weights import load_segmenter

    keep_freed_memory()
    half = (best_precision('cpu') if precision == 'auto' else precision) == 'bf16'
    spacing = ras_spacing(volume.affine)
    shares = segment(
        load_segmenter(path),
        to_ras(volume.data, volume.affine),
        spacing=spacing,
        axes=axes_to_run(spacing),
        precision=torch.bfloat16 if half else torch.float32,
    )
    return np.stack([from_ras(one, volume.affine) for one in shares])


def with_tissue(image: Prepared, segment: Segment) -> Prepared:
    """Return a prepared image with its tissue, where that can be told."""
    return replace(image, tissue=told_tissue(image.volume, image.brain, segment))
