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
from bids_distclip.volume.planes import axes_to_run, fuse
from bids_distclip.volume.prepared import Prepared
from bids_distclip.volume.ras import from_ras, ras_spacing, to_ras

if TYPE_CHECKING:
    from bids_distclip.networks.weights import Trained


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
        return self.explain(source, target, synthesize=synthesize)[0]

    def explain(
        self, source: Prepared, target: Target, *, synthesize: bool = False
    ) -> tuple[Harmonized, dict[str, np.ndarray]]:
        """Return the answer and what its uncertainty is made of, ``(X, Y, Z)`` each, on the normalized scale.

        ``planes`` is the spread over planes, ``style`` what other styles would make different
        (:mod:`bids_distclip.harmonizers.doubt`), ``noise`` the source's, ``tissue`` what a whole tissue may be off
        (:mod:`bids_distclip.harmonizers.tone`); those that cannot be told are missing.
        """
        from bids_distclip.networks.bank import describe_styles
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
        image = np.clip(image, 0, None)
        precision = self._precision()
        fused, spread, box = self._passes(
            trained, (image, head), styles, axes=axes, spacing=spacing, precision=precision, residual=not synthesize
        )
        out = np.zeros_like(image) if synthesize else image.copy()
        out[box] = np.clip(out[box] + fused * head[box], 0, None)
        doubt = self._doubt(trained, (image, out, brain), styles, source, target, spacing, precision, not synthesize)
        parts = _terms(image, brain, head, planes=(spread, box), style=doubt)
        held = None
        if self.hold_tissue and not synthesize:
            held = tone(trained.photometer, source, styles, from_ras(out, affine))
        if held is not None:
            out = held.applied(out)
            parts['tissue'] = held.doubt(out) * head
        known = trained.uncertainty.get('synthesis' if synthesize else 'residual') if self.calibrate else None
        uncertainty = _combined(parts, known) * head if len(parts) > 1 else None
        trust = describe_styles(
            trained.bank,
            pictures=(styles.seen, seen_in(trained.clip, out, brain, spacing)),
            told=(styles.told, styles.shown),
            families=(source.family or '', target.family),
            pictured=target.image is not None,
        )
        details: dict[str, Any] = {
            **self._settings(trained, axes, precision),
            **styles.words,
            'mode': 'synthesis' if synthesize else 'residual',
            'style': trust,
            **({} if held is None else {'tissue_held': held.told()}),
            'seconds': round(time.monotonic() - began, 2),
        }
        units = None if uncertainty is None else _back(uncertainty * target.scale, affine)
        answer = Harmonized(_back(out * target.scale, affine), units, details)
        return answer, {name: _back(part, affine) for name, part in parts.items()}

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
        picture: tuple[np.ndarray, np.ndarray],
        styles: Styles,
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


def _back(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return from_ras(array, affine).astype(np.float32)


def _terms(
    image: np.ndarray,
    brain: np.ndarray,
    head: np.ndarray,
    *,
    planes: tuple[np.ndarray | None, tuple[slice, ...]],
    style: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Return what an uncertainty is made of, on the image's grid; the spread over planes comes with its box."""
    parts = {'noise': head * np.float32(noise_level(image, mask=brain))}
    spread, box = planes
    if spread is not None:
        parts['planes'] = np.zeros_like(image)
        parts['planes'][box] = spread * head[box]
    if style is not None:
        parts['style'] = style * head
    return parts


def _combined(parts: Mapping[str, np.ndarray], known: Mapping[str, float] | None) -> np.ndarray:
    """Return the root of the summed squares of an uncertainty's terms, weighted where weights are known.

    Without weights the source's noise, which the source shows itself, does not count.
    """
    weights = {'planes': 1.0, 'style': 1.0, 'tissue': 1.0} if known is None else known
    squares = sum((weights[name] * part) ** 2 for name, part in parts.items() if name in weights)
    return np.sqrt(squares + weights.get('floor', 0.0) ** 2)
