"""Heads: an anatomy bent, textured and given lesions, whose tissue parameters can be asked for at any point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bids_distclip.simulation.anatomy import Anatomy
from bids_distclip.simulation.lesions import Lesion, draw_lesions, lesions_at
from bids_distclip.simulation.rotation import random_rotation
from bids_distclip.simulation.signal import Mixture, Tissue
from bids_distclip.simulation.surroundings import fluid_surroundings, ventricle_walls
from bids_distclip.simulation.tissue import TissueTable, tissue_table

#: Of fluid outside the ventricles, drawn for a head: the logit of its share of a voxel where half of what is around is
#: fluid, how much that varies from place to place, how it rises with openness, what moving fluid loses, what meninges
#: and vessels take where half of what is around lies beyond them, and how much longer T1 and T2 of the cortex are that
#: shares a voxel with fluid, and the T1 of that fluid as a share of the ventricles'.
FLUID = {
    'middle': (-1.6, 0.6),
    'spread': (0.8, 2.2),
    'rise': (2.0, 8.0),
    'loss': (0.0, 0.6),
    'membranes': (0.1, 1.4),
    'outer_t1': (1.0, 1.6),
    'outer_t2': (1.0, 1.25),
    'fluid_t1': (0.6, 1.0),
}


@dataclass
class Sampled:
    """What a head is at some points, each a flat tensor of the same length.

    ``tissue`` holds the parameters at the head's field strength; ``brain`` and ``lesion`` are fractions 0…1,
    ``label`` the row in the tissue table.
    """

    tissue: Tissue
    brain: Tensor
    lesion: Tensor
    label: Tensor


@dataclass
class Head:
    """One simulated person.

    Points are in millimetres around the brain's centre, RAS. ``at(points, field_strength)`` warps them into the
    label map (affine, then a smooth displacement), looks up the tissue, and varies its parameters by texture and
    lesions. The same head can be imaged by any number of scanners. ``ventricles_mm`` is how far the walls of the
    ventricles are moved outwards, as age does (negative: inwards).
    """

    anatomy: Anatomy
    seed: int
    deform_mm: float = 3.0
    texture_scale: float = 1.0
    lesion_kinds: Sequence[str] = ()
    ventricles_mm: float = 0.0
    device: torch.device | str = 'cpu'
    lesions: tuple[Lesion, ...] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self._labels = torch.as_tensor(self.anatomy.tissue, device=self.device)
        self._brain = torch.as_tensor(self.anatomy.brain, device=self.device)
        self._center = torch.as_tensor(self.anatomy.center, device=self.device)
        self._affine = _random_affine(rng, self.deform_mm, self.device)
        grid = torch.as_tensor(rng.normal(0, self.deform_mm, (1, 3, 7, 7, 7)), dtype=torch.float32)
        self._displacement = grid.to(self.device)
        self._walls = ventricle_walls(self.anatomy).to(self.device) if self.ventricles_mm else None
        self._last: tuple | None = None
        self._between = rng.normal(size=(4, 64))
        self._fat = float(rng.uniform(-0.3, 1.0))
        self._fluid = {name: float(rng.uniform(low, high)) for name, (low, high) in FLUID.items()}
        self._around = fluid_surroundings(self.anatomy).to(self.device)
        self._noise = _noise_bank(self.device)
        self._noise_frame = torch.as_tensor(random_rotation(rng, 3.1), dtype=torch.float32, device=self.device)
        self._noise_shift = torch.as_tensor(rng.uniform(0, 96, 3), dtype=torch.float32, device=self.device)
        self.lesions = tuple(draw_lesions(rng, self.anatomy, self.lesion_kinds))

    def at(self, points: Tensor, *, field_strength: float) -> Sampled:
        """Return the tissue parameters at ``points`` ``(N, 3)``; outside the label map is air."""
        label, brain, texture, mixing, around, lesion, factor = self._locate(points)
        table = tissue_table(float(field_strength))
        (t1, t2, t2star, pd, mt), flow, mixture = self._parameters(table, label, texture, mixing, around)
        tissue = Tissue(
            t1=t1 * factor[0],
            t2=t2 * factor[1],
            t2star=t2star * factor[1].sqrt(),
            pd=(pd * factor[2]).clamp(max=1.0),
            mt=mt * (1 - 0.5 * lesion),
            flow=flow,
            mixture=replace(mixture, where=mixture.where & (lesion < 0.05)),
        )
        return Sampled(tissue, brain.float(), lesion, label)

    def _locate(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """Return all that does not depend on the field strength; the last answer is kept for the next field."""
        if self._last is None or self._last[0] is not points:
            where = self._to_labels(points)
            label, brain, around = self._lookup(where)
            fine, coarse = (self._texture_inside(points, label > 0, period=p) for p in (96.0, 520.0))
            lesion, factor = lesions_at(self.lesions, where, brain, fine[2])
            texture = 0.8 * fine + 0.6 * coarse
            self._last = (points, (label, brain, texture, coarse[2], around, lesion, factor))
        return self._last[1]

    def _to_labels(self, points: Tensor) -> Tensor:
        moved = points @ self._affine.T
        unit = (moved / 120.0).clamp(-1, 1)[None, :, None, None, :].flip(-1)
        shift = F.grid_sample(self._displacement, unit, mode='bilinear', align_corners=True)
        where = moved + shift[0, :, :, 0, 0].T + self._center
        if self._walls is None:
            return where
        size = torch.as_tensor(self._labels.shape, device=where.device)
        unit = (2 * where / (size - 1) - 1)[None, :, None, None, :].flip(-1)
        inwards = F.grid_sample(self._walls, unit, mode='bilinear', align_corners=True)[0, :, :, 0, 0].T
        return where + self.ventricles_mm * inwards

    def _lookup(self, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        index = where.round().long()
        size = torch.as_tensor(self._labels.shape, device=index.device)
        inside = ((index >= 0) & (index < size)).all(1)
        index = torch.minimum(index.clamp(min=0), size - 1)
        flat = (index[:, 0] * size[1] + index[:, 1]) * size[2] + index[:, 2]
        label = self._labels.reshape(-1)[flat].long() * inside
        return label, self._brain.reshape(-1)[flat] & inside, self._around.reshape(2, -1)[:, flat].float() / 255

    def _texture_inside(self, points: Tensor, inside: Tensor, *, period: float) -> Tensor:
        """Return :meth:`_texture` where ``inside`` ``(N,)`` and zero elsewhere: air has none."""
        fields = torch.zeros(3, len(points), device=points.device)
        fields[:, inside] = self._texture(points[inside], period=period)
        return fields

    def _texture(self, points: Tensor, *, period: float) -> Tensor:
        """Return three smooth random fields of unit variance at the points, ``(3, N)``."""
        unit = (points @ self._noise_frame.T + self._noise_shift) / (period / 2)
        unit = torch.remainder(unit + 1, 4) - 1
        unit = torch.where(unit > 1, 2 - unit, unit)[None, :, None, None, :]
        return F.grid_sample(self._noise, unit, mode='bilinear', align_corners=True)[0, :, :, 0, 0]

    def _parameters(
        self, table: TissueTable, label: Tensor, texture: Tensor, coarse: Tensor, around: Tensor
    ) -> tuple[list[Tensor], Tensor, Mixture]:
        """Return T1, T2, T2*, PD and MT, what fluid loses by moving, and where it shares voxels with cortex."""
        count = len(table.names)
        spread, vary = table.spread, table.texture * self.texture_scale
        person = np.exp(self._between[:, :count] * spread * np.array([[1.0], [1.0], [1.0], [0.25]]))
        columns = [
            table.t1 * person[0],
            table.t2 * person[1],
            table.t2star * person[2],
            table.pd * person[3],
            table.mt,
        ]
        soft, fat = table.index('soft_tissue'), table.index('fat')
        label = torch.where((label == soft) & (coarse > self._fat), fat, label)
        rows = torch.as_tensor(np.stack([*columns, vary]), dtype=torch.float32, device=label.device)
        t1, t2, t2star, pd, mt, vary_at = (row[label] for row in rows)
        (t1, t2, t2star, pd), flow, mixture = self._mixed_fluid(
            (t1, t2, t2star, pd), table, rows, label, texture[1:], around
        )
        t1 = t1 * torch.exp(vary_at * texture[0])
        shared = 0.6 * texture[0] + 0.8 * texture[1]
        t2 = t2 * torch.exp(vary_at * shared)
        t2star = t2star * torch.exp(vary_at * 1.5 * shared)
        pd = pd * torch.exp(0.4 * vary_at * texture[0])
        return [t1, t2, t2star, pd, mt], flow, mixture

    def _mixed_fluid(
        self,
        maps: Sequence[Tensor],
        table: TissueTable,
        rows: Tensor,
        label: Tensor,
        fields: Tensor,
        around: Tensor,
    ) -> tuple[list[Tensor], Tensor, Mixture]:
        """Return T1, T2, T2* and PD with fluid outside the ventricles mixed, here more and there less, with cortex,
        meninges and vessels; what it loses by moving; and the mixture.

        Sulci are narrower than label maps have them: fluid's share is small between gyri and large in cisterns. On six
        people's scans what T1w shows halfway between cortex and ventricles lies a third of the way on T2w and FLAIR,
        here more and there less, as the outer cortex has little myelin; what it shows as dark as the ventricles has
        0.6 to 0.95 of their brightness on T2w. Within 3 mm of the outer surface it is no brighter on T2w than cortex:
        dura and vessels without signal lie there. Motion, which dephases late echoes only, has a field of its own:
        fluid that fills its voxel need not move.
        """
        outside, fluid = label == table.index('subarachnoid'), label == table.index('csf')
        drawn, (openness, beyond) = self._fluid, around
        share = torch.sigmoid(drawn['middle'] + drawn['spread'] * fields[1] + drawn['rise'] * (openness - 0.5))
        membranes = (2 * drawn['membranes'] * beyond * torch.exp(0.8 * fields[0])).clamp(max=1.0)
        dark = membranes / (membranes + (1 - share) * (1 - membranes)).clamp(min=1e-6)
        share = share * (1 - membranes)
        gray, water, solid = (rows[:5, table.index(n)] for n in ('cortical_gray', 'subarachnoid', 'meninges'))
        gray = gray * gray.new_tensor([drawn['outer_t1'], drawn['outer_t2'], drawn['outer_t2'], 1.0, 1.0])
        water = water * water.new_tensor([drawn['fluid_t1'], 1.0, 1.0, 1.0, 1.0])
        other = Tissue(*(g ** (1 - dark) * s**dark for g, s in zip(gray, solid, strict=True)))
        mixed = [
            torch.where(outside, torch.exp(share * w.log() + (1 - share) * g.log()), m)
            for m, w, g in zip(maps, water, (other.t1, other.t2, other.t2star, other.pd), strict=False)
        ]
        flow = F.softplus(1.5 * fields[0]) * (drawn['loss'] * outside + 0.05 * fluid)
        return mixed, flow, Mixture(outside, share, Tissue(*water), other)

def _noise_bank(device: torch.device | str) -> Tensor:
    """Return three fields of unit variance ``(1, 3, 96, 96, 96)`` with power over several octaves; always the same."""
    key = str(device)
    if key not in _BANK:
        generator = torch.Generator().manual_seed(20_251)
        total = torch.zeros(1, 3, 96, 96, 96)
        for size, weight in ((96, 0.55), (48, 0.5), (24, 0.45), (12, 0.4)):
            octave = torch.randn(1, 3, size, size, size, generator=generator)
            total += weight * F.interpolate(octave, size=(96, 96, 96), mode='trilinear', align_corners=True)
        _BANK[key] = (total / total.std()).to(device)
    return _BANK[key]


_BANK: dict[str, Tensor] = {}


def _random_affine(rng: np.random.Generator, deform_mm: float, device: torch.device | str) -> Tensor:
    strength = min(deform_mm / 3.0, 1.0)
    matrix = random_rotation(rng, 0.2 * strength) @ np.diag(np.exp(rng.uniform(-0.12, 0.12, 3) * strength))
    matrix = matrix @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3)) * strength)
    if strength > 0 and rng.random() < 0.5:
        matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
    return torch.as_tensor(matrix, dtype=torch.float32, device=device)
