"""Engines that know intensities only: histogram matching, Nyúl's landmarks, WhiteStripe, and none at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from bids_distclip.errors import BadData
from bids_distclip.harmonizers.base import Harmonized, Target
from bids_distclip.volume.prepared import Prepared

#: Quantiles that define a histogram for matching.
_QUANTILES = np.linspace(0, 1, 1001)
#: Brain voxels that WhiteStripe's density estimate sees; its cost is proportional to them.
_DENSITY_SAMPLE = 50_000


class Identity:
    """Change nothing but the scale: the source's 1.0 becomes the target's."""

    name = 'identity'

    def harmonize(self, source: Prepared, target: Target, *, synthesize: bool = False) -> Harmonized:
        """Return the source on the target's intensity scale."""
        gain = target.scale / source.scale
        return _answer(self.name, lambda data: data * gain, source, gain=gain)


class HistogramMatching:
    """Map the quantiles inside the source's brain to those inside the target's brain."""

    name = 'histogram'

    def harmonize(self, source: Prepared, target: Target, *, synthesize: bool = False) -> Harmonized:
        """Return the source with the histogram of the target image; raises BadData without one."""
        reference = _reference(self.name, target)
        old = np.quantile(_brain_values(source), _QUANTILES)
        new = np.quantile(_brain_values(reference), _QUANTILES)
        return _answer(self.name, _mapping(old, new), source)


class Nyul:
    """Map intensity landmarks inside the brain piecewise linearly (Nyúl and Udupa 1999)."""

    name = 'nyul'

    def harmonize(self, source: Prepared, target: Target, *, synthesize: bool = False) -> Harmonized:
        """Return the source with the landmarks of the target image; raises BadData without one."""
        from intensity_normalization.adapters.images import NumpyImageAdapter
        from intensity_normalization.normalizers.population.nyul import NyulNormalizer

        reference = _brain_values(_reference(self.name, target))
        low, high = (float(v) for v in np.percentile(reference, (1, 99)))
        if not high > low:
            raise BadData('The target image has one intensity only.', cure='Give another target image.')
        model = NyulNormalizer(output_min_value=low, output_max_value=high)
        image = NumpyImageAdapter(reference)
        model.fit_population([image], [NumpyImageAdapter(np.ones_like(reference))])
        landmarks = np.percentile(_brain_values(source), np.asarray(model.percentiles, dtype=float))
        return _answer(
            self.name,
            _mapping(landmarks, np.asarray(model.standard_scale)),
            source,
            landmarks=[float(v) for v in np.asarray(model.standard_scale)],
            library=f'intensity-normalization {version("intensity-normalization")}',
        )


class WhiteStripe:
    """Put the mean and spread of normal-appearing white matter where the target has them (Shinohara 2014)."""

    name = 'whitestripe'

    def harmonize(self, source: Prepared, target: Target, *, synthesize: bool = False) -> Harmonized:
        """Return the source with the white matter of the target image; raises BadData without one."""
        reference = _reference(self.name, target)
        mean, spread = _white_matter(source)
        new_mean, new_spread = _white_matter(reference, family=target.family)
        gain = new_spread / spread
        return _answer(
            self.name,
            lambda data: np.maximum((data - mean) * gain + new_mean, 0),
            source,
            white_matter={'source': [mean, spread], 'target': [new_mean, new_spread]},
            library=f'intensity-normalization {version("intensity-normalization")}',
        )


def _reference(engine: str, target: Target) -> Prepared:
    if target.image is None:
        raise BadData(
            f'The engine {engine} needs a target image, and of {target.name!r} only metadata are known.',
            cure='Give --target-image, or take the engine distclip.',
        )
    return target.image


def _brain_values(image: Prepared) -> np.ndarray:
    return image.volume.data[image.brain].astype(np.float64)


def _white_matter(image: Prepared, *, family: str | None = None) -> tuple[float, float]:
    """Return mean and standard deviation of the white stripe, by the library's search for its mode."""
    from intensity_normalization.adapters.images import NumpyImageAdapter
    from intensity_normalization.domain.exceptions import NormalizationError
    from intensity_normalization.domain.models import Modality
    from intensity_normalization.normalizers.individual.whitestripe import WhiteStripeNormalizer

    kinds = {'T1w': Modality.T1, 'T2w': Modality.T2, 'FLAIR': Modality.FLAIR, 'PDw': Modality.PD}
    family = image.family or family
    values = _brain_values(image)
    if len(values) > _DENSITY_SAMPLE:
        values = np.random.default_rng(0).choice(values, _DENSITY_SAMPLE, replace=False)
    model = WhiteStripeNormalizer(modality=kinds.get(family or '', Modality.OTHER))
    try:
        model.fit(NumpyImageAdapter(values), NumpyImageAdapter(np.ones_like(values)))
    except NormalizationError as error:
        what = f'WhiteStripe finds no white matter ({error}).'
        cure = 'Take another engine, or check the brain mask.'
        raise BadData(what, file=image.volume.path, cure=cure) from error
    return float(model.mean or 0.0), float(model.std or 0.0)


def _mapping(old: np.ndarray, new: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the piecewise linear map through landmarks, proportional below the first and above the last.

    Zero stays zero, so that air stays air, and what is brighter than any brain (fat) keeps its order.
    """
    old, first = np.unique(old, return_index=True)
    new = new[first]
    below, above = (new[i] / old[i] if old[i] > 0 else 0.0 for i in (0, -1))

    def apply(data: np.ndarray) -> np.ndarray:
        inner = np.interp(data, old, new)
        outer = np.where(data < old[0], new[0] + (data - old[0]) * below, new[-1] + (data - old[-1]) * above)
        return np.where((data < old[0]) | (data > old[-1]), outer, inner)

    return apply


def _answer(engine: str, function: Callable, source: Prepared, **details: object) -> Harmonized:
    """Apply an intensity map to the whole source; air of exactly zero stays zero."""
    began = time.monotonic()
    data = source.volume.data
    out = np.where(data == 0, 0.0, function(data.astype(np.float64)))
    seconds = round(time.monotonic() - began, 3)
    return Harmonized(
        data=out.astype(np.float32),
        details={'engine': engine, 'device': 'cpu', **details, 'seconds': seconds},
    )
