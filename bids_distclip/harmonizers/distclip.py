"""The DIST-CLIP engine behind the harmonizer interface."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.acquisition.record import Acquisition
from bids_distclip.harmonizers.base import Harmonized, Target
from bids_distclip.quality.metrics import noise_level
from bids_distclip.volume.planes import axes_to_run, fuse
from bids_distclip.volume.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from bids_distclip.networks.mrclip import MRCLIP
    from bids_distclip.networks.weights import Trained

#: Without these fields a prompt says too little of the source: its own picture does instead.
NEEDED = ('echo_time', 'repetition_time')
#: Share that the source's own picture has in its style beside its metadata, per contrast family (docs/benchmark.md):
#: a T1w sidecar tells least of its contrast, as half of the vendors do not write the inversion time. The share grows
#: from none, where target and source are told alike, to the whole one at this cosine distance between the two styles.
PICTURED, APART = {'T1w': 0.5}, 0.05


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
    uncertainty
        Also harmonize some slices with styles much like the guides', to know what these leave open.
    calibrate
        Give the uncertainty in intensity units where the weights come with a calibration; else planes and styles count
        as they are.
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
        uncertainty: bool = True,
        calibrate: bool = True,
    ) -> None:
        self.weights, self.device, self.batch_size, self.planes = weights, device, batch_size, planes
        self.precision, self.uncertainty, self.calibrate = precision, uncertainty, calibrate

    def harmonize(self, source: Prepared, target: Target, *, synthesize: bool = False) -> Harmonized:
        """Return ``source`` in the target's contrast; see :class:`bids_distclip.harmonizers.base.Harmonizer`.

        Within one family the change between two renderings is added to the source; with ``synthesize`` the picture is
        rendered from the anatomy alone. Outside the head the source is only rescaled.
        """
        return self.explain(source, target, synthesize=synthesize)[0]

    def explain(
        self, source: Prepared, target: Target, *, synthesize: bool = False
    ) -> tuple[Harmonized, dict[str, np.ndarray]]:
        """Return the answer and what its uncertainty is made of, ``(X, Y, Z)`` each, on the normalized scale.

        ``planes`` is the spread over planes, ``style`` what other styles would make different
        (:mod:`bids_distclip.harmonizers.doubt`), ``noise`` the source's; those that cannot be told are missing.
        """
        from bids_distclip.networks.bank import describe_styles
        from bids_distclip.networks.memory import keep_freed_memory
        from bids_distclip.networks.weights import load_trained

        keep_freed_memory()
        began = time.monotonic()
        trained = load_trained(self.weights, device=self.device)
        affine = source.volume.affine
        image = _to_ras(source.volume.data / source.scale, affine)
        brain, head = (_to_ras(m, affine) for m in (source.brain, source.head))
        spacing = _ras_spacing(affine)
        styles = _styles(trained, source, target, synthesize=synthesize)
        axes = axes_to_run(spacing)
        axes = axes if self.planes == 3 else axes[-1:]
        image = np.clip(image, 0, None)
        precision = self._precision()
        fused, spread, box = self._passes(
            trained, (image, head), styles, axes=axes, spacing=spacing, precision=precision, residual=not synthesize
        )
        out = np.zeros_like(image) if synthesize else image.copy()
        out[box] = np.clip(out[box] + fused * head[box], 0, None)
        parts = {'noise': head * np.float32(noise_level(image, mask=brain))}
        if spread is not None:
            parts['planes'] = np.zeros_like(image)
            parts['planes'][box] = spread * head[box]
        doubt = self._doubt(trained, (image, out, brain), styles, source, target, spacing, precision, not synthesize)
        if doubt is not None:
            parts['style'] = doubt * head
        known = trained.uncertainty.get('synthesis' if synthesize else 'residual') if self.calibrate else None
        uncertainty = _combined(parts, known) * head if len(parts) > 1 else None
        trust = describe_styles(
            trained.bank,
            pictures=(styles.seen, _seen(trained.clip, out, brain, spacing)),
            told=(styles.told, styles.shown),
            families=(source.family or '', target.family),
            pictured=target.image is not None,
        )
        details: dict[str, Any] = {
            'engine': self.name,
            'device': self.device,
            'precision': precision,
            'planes': list(axes),
            'weights_sha256': trained.sha256,
            'model': trained.card.get('name', ''),
            **styles.words,
            'mode': 'synthesis' if synthesize else 'residual',
            'style': trust,
            'seconds': round(time.monotonic() - began, 2),
        }

        def back(array: np.ndarray, scale: float = 1.0) -> np.ndarray:
            return _from_ras(array * scale, affine).astype(np.float32)

        units = None if uncertainty is None else back(uncertainty, target.scale)
        return Harmonized(back(out, target.scale), units, details), {name: back(a) for name, a in parts.items()}

    def _precision(self) -> str:
        from bids_distclip.networks.inference import best_precision

        return best_precision(self.device) if self.precision == 'auto' else self.precision

    def _passes(
        self,
        trained: Trained,
        picture: tuple[np.ndarray, np.ndarray],
        styles: _Styles,
        *,
        axes: Sequence[int],
        spacing: tuple[float, ...],
        precision: str,
        residual: bool,
    ) -> tuple[np.ndarray, np.ndarray | None, tuple[slice, ...]]:
        """Return what the networks make of the box around the head, its spread over planes, and the box."""
        import torch

        from bids_distclip.networks.inference import run_plane

        image, head = picture
        box = (
            tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(head)) if head.any() else (slice(None),) * 3
        )
        passes = [
            run_plane(
                trained.generator,
                image[box],
                axis=axis,
                spacing=spacing,
                source=styles.source,
                target=styles.target,
                residual=residual,
                batch=self.batch_size,
                precision=torch.bfloat16 if precision == 'bf16' else torch.float32,
            )
            for axis in axes
        ]
        return *fuse(passes), box

    def _doubt(
        self,
        trained: Trained,
        arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
        styles: _Styles,
        source: Prepared,
        target: Target,
        spacing: tuple[float, ...],
        precision: str,
        residual: bool,
    ) -> np.ndarray | None:
        """Return what other styles would make different, None where no acquisition of a family is known."""
        import torch

        from bids_distclip.harmonizers.doubt import neighbours, style_doubt

        others = (
            neighbours(trained.photometer, styles.source, family=source.family),
            neighbours(trained.photometer, styles.target, family=target.family),
        )
        if others[0] is None or others[1] is None or not self.uncertainty:
            return None
        image, out, brain = arrays
        return style_doubt(
            trained.generator,
            image,
            out,
            brain=brain,
            spacing=spacing,
            styles=(styles.source, styles.target),
            others=(others[0], others[1]),
            residual=residual,
            precision=torch.bfloat16 if precision == 'bf16' else torch.float32,
            batch=self.batch_size,
        )


def _combined(parts: Mapping[str, np.ndarray], known: Mapping[str, float] | None) -> np.ndarray:
    """Return the root of the summed squares of an uncertainty's terms, weighted where weights are known.

    Without weights the source's noise, which the source shows itself, does not count.
    """
    weights = {'planes': 1.0, 'style': 1.0} if known is None else known
    squares = sum((weights[name] * part) ** 2 for name, part in parts.items() if name in weights)
    return np.sqrt(squares + weights.get('floor', 0.0) ** 2)


@dataclass(frozen=True)
class _Styles:
    """θ ``(1, 512)`` of source and target as the generator gets them; what MR-CLIP makes of the source's picture
    (``seen``), of the words of its metadata (``told``, None where they say too little) and of the target's picture or
    words (``shown``); and where they come from, in words.
    """

    source: Tensor
    target: Tensor
    seen: Tensor
    told: Tensor | None
    shown: Tensor
    words: dict[str, Any]


def _styles(trained: Trained, source: Prepared, target: Target, *, synthesize: bool) -> _Styles:
    """Return the styles of source and target, both from pictures or both from prompts where that can be."""
    seen, own = seen_style(trained.clip, source), told_style(trained, source.acquisition, source.family)
    told = None if own is None else word_style(trained, source.acquisition, source.family)
    if target.image is not None:
        pictured = {'guidance': 'image', 'source_guide': 'image', 'prompt': ''}
        theta = guide_style(trained, target.image, target.family)
        shown = seen_style(trained.clip, target.image)
        return _Styles(guide_style(trained, source, source.family), theta, seen, told, shown, pictured)
    words: dict[str, Any] = {
        'guidance': 'metadata',
        'prompt': whole_prompt(target.acquisition, target.family),
        'source_guide': 'image' if own is None else 'metadata',
        'source_prompt': '' if own is None else whole_prompt(source.acquisition, source.family),
    }
    theta = prompt_style(trained, target.acquisition, target.family)
    shown = word_style(trained, target.acquisition, target.family)
    if own is None:
        return _Styles(guide_style(trained, source, source.family), theta, seen, told, shown, words)
    share = 0.0 if synthesize else PICTURED.get(source.family or '', 0.0) * min(1.0, _distance(own, theta) / APART)
    if share > 0:
        own = _between(own, guide_style(trained, source, source.family), share)
        words |= {'source_guide': 'metadata and image', 'source_image_share': round(share, 3)}
    return _Styles(own, theta, seen, told, shown, words)


def _distance(one: Tensor, other: Tensor) -> float:
    """Return the cosine distance of two unit vectors ``(1, 512)``; 0 where rounding alone holds them apart."""
    distance = float(1 - (one * other).sum())
    return distance if distance > 1e-5 else 0.0


def _between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Return the unit vector ``(1, 512)`` with ``share`` of the second."""
    mixed = (1 - share) * one + share * other
    return mixed / mixed.norm()


def guide_style(trained: Trained, picture: Prepared, family: str | None) -> Tensor:
    """Return the style ``(1, 512)`` that a picture is rendered in, or is to be rendered like.

    By photometry where the weights come with a photometer that knows the family, else as the image tower sees it.
    """
    from bids_distclip.networks.inference import picture_style

    meter = trained.photometer
    if meter is None or family not in meter.families or not picture.brain.any():
        return seen_style(trained.clip, picture)
    affine = picture.volume.affine
    image, brain = _to_ras(picture.volume.data / picture.scale, affine), _to_ras(picture.brain, affine)
    theta = picture_style(meter, image, brain=brain, spacing=_ras_spacing(affine), family=family)
    return theta.to(next(trained.generator.parameters()).device)


def seen_style(clip: MRCLIP, picture: Prepared) -> Tensor:
    """Return the style ``(1, 512)`` that the image tower sees in a prepared image."""
    affine = picture.volume.affine
    image, brain = _to_ras(picture.volume.data / picture.scale, affine), _to_ras(picture.brain, affine)
    return _seen(clip, image, brain, _ras_spacing(affine))


def told_style(trained: Trained, acquisition: Acquisition, family: str | None) -> Tensor | None:
    """Return the style ``(1, 512)`` of an acquisition; None where its metadata say too little (:data:`NEEDED`)."""
    return prompt_style(trained, acquisition, family) if tells_enough(acquisition) else None


def tells_enough(acquisition: Acquisition) -> bool:
    """Tell whether metadata say enough (:data:`NEEDED`) to be the guide."""
    return all(getattr(acquisition, name) is not None for name in NEEDED)


def prompt_style(trained: Trained, acquisition: Acquisition, family: str | None) -> Tensor:
    """Return the style ``(1, 512)`` of the prompt of an acquisition, however little it says."""
    from bids_distclip.networks.inference import embed_prompt

    return embed_prompt(trained.clip, whole_prompt(acquisition, family))


def word_style(trained: Trained, acquisition: Acquisition, family: str | None) -> Tensor:
    """Return the words ``(1, 512)`` of the prompt of an acquisition, which pictures can be compared with."""
    from bids_distclip.networks.inference import embed_words

    return embed_words(trained.clip, whole_prompt(acquisition, family))


def _seen(clip: MRCLIP, image: np.ndarray, brain: np.ndarray, spacing: tuple[float, ...]) -> Tensor:
    """Return the style the image tower sees in a RAS volume ``(X, Y, Z)`` on its normalized scale."""
    from bids_distclip.networks.inference import embed_volume

    return embed_volume(clip, image, spacing=spacing, brain=brain)


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
