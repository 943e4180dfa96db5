"""The DIST-CLIP engine behind the harmonizer interface."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_distclip.acquisition.prompt import prompt
from bids_distclip.acquisition.record import Acquisition
from bids_distclip.harmonizers.base import Harmonized, Target
from bids_distclip.volume.planes import axes_to_run, fuse
from bids_distclip.volume.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from bids_distclip.networks.weights import Trained

#: Without these fields a prompt says too little of the source: its own picture does instead.
NEEDED = ('echo_time', 'repetition_time')


class DistClip:
    """Harmonize with the shipped weights or those of a folder.

    Parameters
    ----------
    weights
        Folder with ``distclip.safetensors``, ``mrclip.safetensors`` and ``model_card.json``; default: the shipped.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    precision
        ``fp32`` or ``bf16``; ``auto`` takes bf16 on a GPU and on a CPU that multiplies it natively, else fp32.
    batch_size
        Slices per pass.
    planes
        How many planes to run and fuse: 3, or 1 for the acquisition plane alone.
    """

    name = 'distclip'

    def __init__(
        self,
        *,
        weights: Path | None = None,
        device: str = 'cpu',
        precision: str = 'auto',
        batch_size: int = 8,
        planes: int = 3,
    ) -> None:
        self.weights, self.device, self.batch_size, self.planes = weights, device, batch_size, planes
        self.precision = precision

    def harmonize(self, source: Prepared, target: Target, *, synthesize: bool = False) -> Harmonized:
        """Return ``source`` in the target's contrast; see :class:`bids_distclip.harmonizers.base.Harmonizer`.

        Within one family the change between two renderings is added to the source; with ``synthesize`` the picture is
        rendered from the anatomy alone. Outside the head the source is only rescaled.
        """
        import torch

        from bids_distclip.networks.inference import best_precision, run_plane
        from bids_distclip.networks.memory import keep_freed_memory
        from bids_distclip.networks.weights import load_trained

        keep_freed_memory()
        began = time.monotonic()
        precision = best_precision(self.device) if self.precision == 'auto' else self.precision
        trained = load_trained(self.weights, device=self.device)
        image = _to_ras(source.volume.data / source.scale, source.volume.affine)
        brain, head = (_to_ras(m, source.volume.affine) for m in (source.brain, source.head))
        spacing = _ras_spacing(source.volume.affine)
        theta_source, theta_target, guides = self._styles(trained, source, target, (image, brain, spacing))
        axes = axes_to_run(spacing)
        axes = axes if self.planes == 3 else axes[-1:]
        image = np.clip(image, 0, None)
        box = (
            tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(head)) if head.any() else (slice(None),) * 3
        )
        passes = [
            run_plane(
                trained.generator,
                image[box],
                axis=axis,
                spacing=spacing,
                source=theta_source,
                target=theta_target,
                residual=not synthesize,
                batch=self.batch_size,
                precision=torch.bfloat16 if precision == 'bf16' else torch.float32,
            )
            for axis in axes
        ]
        fused, spread = fuse(passes)
        out = np.zeros_like(image) if synthesize else image.copy()
        out[box] = np.clip(out[box] + fused * head[box], 0, None)
        uncertainty = np.zeros_like(image)
        if spread is not None:
            uncertainty[box] = spread * head[box]
        details: dict[str, Any] = {
            'engine': self.name,
            'device': self.device,
            'precision': precision,
            'planes': list(axes),
            'weights_sha256': trained.sha256,
            'model': trained.card.get('name', ''),
            **guides,
            'mode': 'synthesis' if synthesize else 'residual',
            'seconds': round(time.monotonic() - began, 2),
        }
        back = [_from_ras(a * target.scale, source.volume.affine).astype(np.float32) for a in (out, uncertainty)]
        return Harmonized(back[0], back[1] if spread is not None else None, details)

    def _styles(self, trained: Trained, source: Prepared, target: Target, picture) -> tuple[Tensor, Tensor, dict]:
        """Return θ of source and target, both from pictures or both from prompts where that can be."""
        from bids_distclip.networks.inference import embed_prompt, embed_volume

        image, brain, spacing = picture
        own_prompt = describe(source.acquisition, family=source.family)
        if target.image is not None:
            other = target.image
            affine = other.volume.affine
            theta = embed_volume(
                trained.clip,
                _to_ras(other.volume.data / other.scale, affine),
                brain=_to_ras(other.brain, affine),
                spacing=_ras_spacing(affine),
            )
            return (
                embed_volume(trained.clip, image, spacing=spacing, brain=brain),
                theta,
                {
                    'guidance': 'image',
                    'source_guide': 'image',
                    'prompt': '',
                },
            )
        told = describe(target.acquisition, family=target.family)
        theta = embed_prompt(trained.clip, told)
        by_prompt = all(getattr(source.acquisition, n) is not None for n in NEEDED)
        own = (
            embed_prompt(trained.clip, own_prompt)
            if by_prompt
            else embed_volume(trained.clip, image, spacing=spacing, brain=brain)
        )
        return (
            own,
            theta,
            {
                'guidance': 'metadata',
                'prompt': told,
                'source_guide': 'metadata' if by_prompt else 'image',
                'source_prompt': own_prompt if by_prompt else '',
            },
        )


def describe(acquisition: Acquisition, *, family: str | None) -> str:
    """Return the prompt of an acquisition whose contrast family is known from elsewhere, if need be."""
    from dataclasses import replace

    return prompt(replace(acquisition, suffix=family or acquisition.suffix), plane='NONE')


def _to_ras(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the array with its axes turned to right, anterior, superior; no resampling."""
    return nib.orientations.apply_orientation(data, nib.orientations.io_orientation(affine))


def _ras_spacing(affine: np.ndarray) -> tuple[float, ...]:
    """Return the voxel sizes in mm along the axes that :func:`_to_ras` gives."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(nib.orientations.io_orientation(affine)[:, 0])
    return tuple(float(v) for v in zooms[order])


def _from_ras(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undo :func:`_to_ras`."""
    there = nib.orientations.io_orientation(affine)
    back = nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), there)
    return nib.orientations.apply_orientation(data, back)
