"""The DIST-CLIP engine behind the harmonizer interface."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_distclip.harmonizers.base import Harmonized, Target
from bids_distclip.harmonizers.styles import Styles, find_styles, seen_in
from bids_distclip.harmonizers.tone import tone
from bids_distclip.quality.metrics import noise_level
from bids_distclip.volume.planes import axes_to_run, bounding_box, fuse
from bids_distclip.volume.prepared import Prepared
from bids_distclip.volume.ras import from_ras, ras_spacing, to_ras

if TYPE_CHECKING:
    from bids_distclip.networks.weights import Trained

Box = tuple[slice, ...]


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
    hold_tissue
        Hold tissues to the brightness that both styles let expect (:mod:`bids_distclip.harmonizers.tone`).
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
        hold_tissue: bool = True,
    ) -> None:
        self.weights, self.device, self.batch_size, self.planes = weights, device, batch_size, planes
        self.precision, self.uncertainty, self.calibrate = precision, uncertainty, calibrate
        self.hold_tissue = hold_tissue

    def harmonize(self, source: Prepared, target: Target, *, synthesize: bool = False) -> Harmonized:
        """Return ``source`` in the target's contrast; see :class:`bids_distclip.harmonizers.base.Harmonizer`.

        Within one family the change between two renderings is added to the source; with ``synthesize`` the picture is
        rendered from the anatomy alone. Outside the head nothing but the curve of a held tissue changes the source.
        """
        return self._answered(source, target, synthesize, every=False)[0]

    def explain(
        self, source: Prepared, target: Target, *, synthesize: bool = False
    ) -> tuple[Harmonized, dict[str, np.ndarray]]:
        """Return the answer and what its uncertainty is made of, ``(X, Y, Z)`` each, on the normalized scale.

        ``planes`` is the spread over planes, ``style`` what other styles would make different
        (:mod:`bids_distclip.harmonizers.doubt`), ``noise`` the source's, ``tissue`` what a whole tissue may be off
        (:mod:`bids_distclip.harmonizers.tone`); those that cannot be told are missing.
        """
        answer, parts, box = self._answered(source, target, synthesize, every=True)
        affine = source.volume.affine
        shape = to_ras(source.head, affine).shape
        return answer, {name: _back(_whole(part, box, shape), affine) for name, part in parts.items()}

    def _answered(
        self, source: Prepared, target: Target, synthesize: bool, *, every: bool
    ) -> tuple[Harmonized, dict[str, np.ndarray], Box]:
        """Return the answer, and what its uncertainty is made of in the box around the head: beyond it there is none.

        With ``every`` part of it, else without what takes long and weighs nothing beside the others.
        What is as large as the whole image is made in place or let go, as a head of 1 mm takes 64 MiB each time.
        """
        from bids_distclip.networks.memory import keep_freed_memory
        from bids_distclip.networks.weights import load_trained

        keep_freed_memory()
        began = time.monotonic()
        trained = load_trained(self.weights, device=self.device)
        affine = source.volume.affine
        image = to_ras(source.volume.data / source.scale, affine)
        brain, head = (to_ras(m, affine) for m in (source.brain, source.head))
        spacing = ras_spacing(affine)
        styles = find_styles(trained, source, target, synthesize=synthesize)
        axes = axes_to_run(spacing)[0 if self.planes == 3 else -1 :]
        np.clip(image, 0, None, out=image)
        precision = self._precision()
        box = _around(head)
        near = head[box]
        fused, spread = fuse(self._passes(
            trained, image[box], near, styles, axes=axes, spacing=spacing, precision=precision, residual=not synthesize
        ))
        out = np.zeros_like(image) if synthesize else image.copy()
        fused *= near
        fused += out[box]
        out[box] = np.clip(fused, 0, None)
        known = trained.uncertainty.get('synthesis' if synthesize else 'residual') if self.calibrate else None
        doubt = None
        if every or spread is None or _weighs(known, 'style'):
            doubt = self._doubt(
                trained, (image[box], out[box], brain[box], near), styles, source, target, spacing, precision,
                not synthesize,
            )
        parts = _terms(near, noise=noise_level(image, mask=brain), planes=spread, style=doubt)
        del image, fused
        held = None
        if self.hold_tissue:
            family = target.family if synthesize else source.family or ''
            held = tone(trained.photometer, source, styles, from_ras(out, affine), family=family)
        if held is not None:
            out = held.applied(out)
            parts['tissue'] = held.doubt(out[box]) * near
        details: dict[str, Any] = {
            **self._settings(trained, axes, precision),
            **styles.words,
            'mode': 'synthesis' if synthesize else 'residual',
            'style': _trust(trained, styles, source, target, (out, brain, spacing)),
            **({} if held is None else {'tissue_held': held.told()}),
            'seconds': round(time.monotonic() - began, 2),
        }
        units = None
        if len(parts) > 1:
            units = _back(_whole(_combined(parts, known) * near * target.scale, box, head.shape), affine)
        out *= target.scale
        return Harmonized(_back(out, affine), units, details), parts, box

    def _precision(self) -> str:
        from bids_distclip.networks.inference import best_precision

        return best_precision(self.device) if self.precision == 'auto' else self.precision

    def _settings(self, trained: Trained, axes: Sequence[int], precision: str) -> dict[str, Any]:
        return {
            'engine': self.name,
            'device': self.device,
            'precision': precision,
            'planes': list(axes),
            'weights_sha256': trained.sha256,
            'model': trained.card.get('name', ''),
        }

    def _passes(
        self,
        trained: Trained,
        image: np.ndarray,
        head: np.ndarray,
        styles: Styles,
        *,
        axes: Sequence[int],
        spacing: tuple[float, ...],
        precision: str,
        residual: bool,
    ) -> list[np.ndarray]:
        """Return what the networks make of the part around the head, plane by plane."""
        import torch

        from bids_distclip.networks.inference import run_plane

        return [
            run_plane(
                trained.generator,
                image,
                head=head,
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

    def _doubt(
        self,
        trained: Trained,
        arrays: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
        styles: Styles,
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
        image, out, brain, head = arrays
        return style_doubt(
            trained.generator,
            image,
            out,
            brain=brain,
            head=head,
            spacing=spacing,
            styles=(styles.source, styles.target),
            others=(others[0], others[1]),
            residual=residual,
            precision=torch.bfloat16 if precision == 'bf16' else torch.float32,
            batch=self.batch_size,
        )


def _trust(
    trained: Trained, styles: Styles, source: Prepared, target: Target,
    seen: tuple[np.ndarray, np.ndarray, tuple[float, ...]],
) -> dict[str, Any]:
    """Return what styles say of a result that is ``seen``: picture, brain and spacing."""
    from bids_distclip.networks.bank import describe_styles

    return describe_styles(
        trained.bank,
        pictures=(styles.seen, seen_in(trained.clip, *seen)),
        told=(styles.told, styles.shown),
        families=(source.family or '', target.family),
        pictured=target.image is not None,
    )


def _around(head: np.ndarray) -> Box:
    """Return the box around the head, all there is where there is none."""
    return bounding_box(head) if head.any() else (slice(None),) * 3


def _whole(part: np.ndarray, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of a shape that has ``part`` in a box and is zero beyond, float32."""
    whole = np.zeros(shape, np.float32)
    whole[box] = part
    return whole


def _back(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return from_ras(array, affine).astype(np.float32, copy=False)


def _terms(
    head: np.ndarray, *, noise: float, planes: np.ndarray | None, style: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return what an uncertainty is made of, within the head; ``planes`` is the spread over these."""
    parts = {'noise': head * np.float32(noise)}
    parts |= {name: part * head for name, part in (('planes', planes), ('style', style)) if part is not None}
    return parts


def _weighs(known: Mapping[str, float] | None, name: str) -> bool:
    """Tell whether a term matters: not where a whole unit of it weighs less than a hundredth of the floor.

    The root of the summed squares would then change by less than one in ten thousand.
    """
    return known is None or known[name] > 0.01 * known['floor']


def _combined(parts: Mapping[str, np.ndarray], known: Mapping[str, float] | None) -> np.ndarray:
    """Return the root of the summed squares of an uncertainty's terms, weighted where weights are known.

    Without weights the source's noise, which the source shows itself, does not count.
    """
    weights = {'planes': 1.0, 'style': 1.0, 'tissue': 1.0} if known is None else known
    squares = sum((weights[name] * part) ** 2 for name, part in parts.items() if name in weights)
    return np.sqrt(squares + weights.get('floor', 0.0) ** 2)
