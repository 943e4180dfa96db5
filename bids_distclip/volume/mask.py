"""Where the head and the brain are, in an image of any contrast, resolution and field of view."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage as ndi
from scipy.special import expit
from skimage.filters import threshold_otsu

from bids_distclip.errors import BadData
from bids_distclip.volume.bias import n4_field
from bids_distclip.volume.coarse import covered, onto, resampled
from bids_distclip.volume.image import Volume
from bids_distclip.volume.morphology import closed, eroded, filled, grown, largest, shrunk, within
from bids_distclip.volume.planes import bounding_box
from bids_distclip.volume.registration import SIZE, improved, register
from bids_distclip.volume.template import Template, load_template

#: A stripped brain: its volume (litres), its share of exact zeros, and how far it may be cut by a border.
_BRAIN_LITRES = (0.5, 2.3)
_STRIPPED_ZEROS = 0.4
_STRIPPED_BORDER = 0.15
#: Refinement: voxel size (mm); softness of the prior at the template's edge (mm); weight and limit of the
#: intensity evidence; weight of the neighbourhood.
_FINE = 2.0
_SOFTNESS = 2.0
_EVIDENCE, _EVIDENCE_LIMIT = 1.0, 3.0
_NEIGHBOURS = 5.0
#: How coarsely (mm) the receive field is looked at: on real heads it differs by 0.2 % from that found at 4 mm.
_FIELD_SIZE = 8.0
#: Reach (mm) of bridges that are cut, and of sulci that are closed.
_BRIDGE, _SULCUS = 4.0, 8.0


def head_mask(data: np.ndarray) -> np.ndarray:
    """Find the head: Otsu's threshold, halved; the largest piece; holes filled along all three axes.

    Raises
    ------
    BadData
        If nothing stands out from the background.
    """
    bright = np.minimum(data, np.percentile(data, 99))
    mask = bright > 0.5 * threshold_otsu(bright)
    mask = largest(grown(shrunk(mask)))
    if mask.sum() < 100:
        raise BadData('No head stands out from the background.', cure='Check that the image shows a head.')
    mask = shrunk(grown(np.pad(mask, 3), 3), 3)[3:-3, 3:-3, 3:-3]
    for axis in range(3):
        mask = filled(mask, axis=axis)
    return mask


def stripped_brain(volume: Volume) -> np.ndarray | None:
    """Return the mask of an image that is already skull-stripped, or None where it shows a whole head.

    Stripped is what has many exact zeros around one piece of a brain's volume that the borders hardly cut.
    """
    signal = volume.data != 0
    if 1 - signal.mean() < _STRIPPED_ZEROS:
        return None
    piece = filled(largest(signal))
    litres = piece.sum() * np.prod(volume.spacing) * 1e-6
    if not _BRAIN_LITRES[0] <= litres <= _BRAIN_LITRES[1] or piece.sum() < 0.9 * signal.sum():
        return None
    for axis in range(3):
        areas = piece.sum(axis=tuple(other for other in range(3) if other != axis))
        if max(areas[0], areas[-1]) > _STRIPPED_BORDER * areas.max():
            return None
    return piece


def brain_mask(volume: Volume, *, template: Template | None = None) -> np.ndarray:
    """Find the brain, with the fluid around it, on the volume's own grid.

    A stripped image gives its own mask. Otherwise the template is brought in by an affine map, and its edge
    is moved to where the image's own intensities, learned inside and around it, say that it is.

    Raises
    ------
    BadData
        If no head is found.
    """
    already = stripped_brain(volume)
    if already is not None:
        return already
    template = template or load_template()
    fine, fine_grid = resampled(volume.data, affine=volume.affine, size=_FINE)
    placed, grid, field = _placed(fine, fine_grid, template)
    fine /= np.maximum(onto(field, affine=grid, grid=fine_grid, shape=fine.shape, outside=1.0), 1e-3)
    seen = covered(volume.data.shape, affine=volume.affine, grid=fine_grid, on=fine.shape)
    prior = onto(template.brain, affine=placed @ template.affine, grid=fine_grid, shape=fine.shape) > 0.5
    if not (prior & seen).any():
        cure = 'Check its orientation, or give a brain mask with --derivatives.'
        raise BadData('No brain was found in the image.', file=volume.path, cure=cure)
    # Nothing changes further than 2 cm from the prior; a little more is what the smoothing there sees.
    box = bounding_box(prior, round(30 / _FINE))
    probability = np.zeros(fine.shape, np.float32)
    probability[box] = refined(fine[box], prior=prior[box], seen=seen[box])
    return largest(_back(probability, fine_grid, volume) > 0.5)


def _back(probability: np.ndarray, grid: np.ndarray, volume: Volume) -> np.ndarray:
    """Return a soft mask on the volume's own grid; only where it is not zero is anything interpolated."""
    soft = np.zeros(volume.data.shape, np.float32)
    if not probability.any():
        return soft
    ends = [(part.start - 1, part.stop) for part in bounding_box(probability > 0)]
    corners = np.array(list(product(*ends))) @ grid[:3, :3].T + grid[:3, 3]
    inverse = np.linalg.inv(volume.affine)
    places = corners @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.clip(np.floor(places.min(axis=0)).astype(int), 0, soft.shape)
    high = np.clip(np.ceil(places.max(axis=0)).astype(int) + 1, 0, soft.shape)
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    part = volume.affine.copy()
    part[:3, 3] += part[:3, :3] @ low
    soft[box] = onto(probability, affine=grid, grid=part, shape=soft[box].shape)
    return soft


def _placed(
    fine: np.ndarray, fine_grid: np.ndarray, template: Template
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the map from template to image (4x4), and the coarse grid with the bias field found on it.

    The field is estimated twice, first in the head, then in the brain that the first placing gives, because
    a surface coil can make the scalp many times brighter than the brain.
    """
    image, grid = resampled(fine, affine=fine_grid, size=SIZE)
    head = head_mask(image)
    field = n4_field(image, affine=grid, mask=head, iterations=(15, 15), size=_FIELD_SIZE)
    pose = register(image / field, grid=grid, head=head, template=template)
    brain = onto(template.brain, affine=pose.matrix @ template.affine, grid=grid, shape=image.shape) > 0.9
    if (brain & head).sum() > 1000:
        field = n4_field(image, affine=grid, mask=brain & head, iterations=(20, 20, 15), size=_FIELD_SIZE)
    pose = improved(image / field, grid=grid, head=head, template=template, start=pose)
    return pose.matrix, grid, field


def refined(image: np.ndarray, *, prior: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Move the edge of a prior mask to where the image has it; return a soft mask on the same 2 mm grid.

    Deep inside and around the prior, intensity histograms are learned; each voxel weighs them against its
    distance from the prior's edge and against its neighbours (mean field of a Markov random field).
    """
    distance = _signed_distance(prior)
    near = np.abs(distance) < 20
    around = seen & (distance > 2) & (distance < 14)
    evidence = _evidence(image, inside=seen & (distance < -8), outside=around)
    evidence[~seen] = 0
    base = (-distance / _SOFTNESS + _EVIDENCE * evidence).astype(np.float32)
    belief = expit(base)
    for _ in range(10):
        neighbours = ndi.gaussian_filter(belief, 1.0)
        belief = np.where(near, expit(base + _NEIGHBOURS * (2 * neighbours - 1)), distance < 0)
    return ndi.gaussian_filter(_tidied(belief > 0.5).astype(np.float32), 0.7)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance in mm to the edge of a mask on the fine grid, negative inside."""
    out = ndi.distance_transform_edt(~mask)
    box = bounding_box(mask)
    depth = ndi.distance_transform_edt(np.pad(mask[box], 1))
    out[box] -= depth[1:-1, 1:-1, 1:-1]
    return (out * _FINE).astype(np.float32)


def _evidence(image: np.ndarray, *, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the log likelihood ratio of brain against surroundings for every voxel's intensity."""
    both = np.concatenate([image[inside], image[outside]])
    edges = np.unique(np.quantile(both, np.linspace(0, 1, 49)[1:-1]))
    bins = np.digitize(image, edges)
    logs = []
    for region in (inside, outside):
        counts = np.bincount(bins[region], minlength=len(edges) + 1).astype(float)
        counts = ndi.gaussian_filter1d(counts, 1.0, mode='nearest')
        logs.append(np.log(counts / counts.sum() + 1e-3))
    ratio = np.clip(logs[0] - logs[1], -_EVIDENCE_LIMIT, _EVIDENCE_LIMIT)
    return ratio[bins]


def _tidied(mask: np.ndarray) -> np.ndarray:
    """Cut thin bridges to the scalp and eyes, keep one piece, close sulci, fill holes."""
    core = largest(eroded(mask, _BRIDGE, size=_FINE))
    opened = within(core, _BRIDGE, size=_FINE) & mask
    return filled(closed(opened, _SULCUS, size=_FINE))
