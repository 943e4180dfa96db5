"""Where the styles of a source and its target come from: prompts of their metadata, or their pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_distclip.acquisition.prompt import whole_prompt
from bids_distclip.acquisition.record import Acquisition
from bids_distclip.harmonizers.base import Target
from bids_distclip.volume.prepared import Prepared
from bids_distclip.volume.ras import ras_spacing, to_ras

if TYPE_CHECKING:
    from torch import Tensor

    from bids_distclip.networks.eye import Eye
    from bids_distclip.networks.mrclip import MRCLIP
    from bids_distclip.networks.weights import Trained

#: Without these fields a prompt says too little of the source: its own picture does instead.
NEEDED = ('echo_time', 'repetition_time')
#: Share that the source's own picture has in its style beside its metadata, per contrast family (docs/benchmark.md):
#: a T1w sidecar tells least of its contrast, as half of the vendors do not write the inversion time. The share grows
#: from none, where target and source are told alike, to the whole one at this cosine distance between the two styles.
PICTURED, APART = {'T1w': 0.5}, 0.05


@dataclass(frozen=True)
class Styles:
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


def find_styles(trained: Trained, source: Prepared, target: Target, *, synthesize: bool) -> Styles:
    """Return the styles of source and target, both from pictures or both from prompts where that can be."""
    seen, own = seen_style(trained.clip, source), told_style(trained, source.acquisition, source.family)
    told = None if own is None else word_style(trained, source.acquisition, source.family)
    if target.image is not None:
        pictured = {'guidance': 'image', 'source_guide': 'image', 'prompt': ''}
        theta = guide_style(trained, target.image, target.family)
        shown = seen_style(trained.clip, target.image)
        return Styles(guide_style(trained, source, source.family), theta, seen, told, shown, pictured)
    words: dict[str, Any] = {
        'guidance': 'metadata',
        'prompt': whole_prompt(target.acquisition, target.family),
        'source_guide': 'image' if own is None else 'metadata',
        'source_prompt': '' if own is None else whole_prompt(source.acquisition, source.family),
    }
    theta = prompt_style(trained, target.acquisition, target.family)
    shown = word_style(trained, target.acquisition, target.family)
    if own is None:
        return Styles(guide_style(trained, source, source.family), theta, seen, told, shown, words)
    share = 0.0 if synthesize else PICTURED.get(source.family or '', 0.0) * apart(own, theta)
    if share > 0:
        own = _between(own, guide_style(trained, source, source.family), share)
        words |= {'source_guide': 'metadata and image', 'source_image_share': round(share, 3)}
    return Styles(own, theta, seen, told, shown, words)


def apart(one: Tensor, other: Tensor) -> float:
    """Return how far two styles ``(1, 512)`` lie apart: 0 where rounding alone holds them, 1 from :data:`APART` on."""
    distance = float(1 - (one * other).sum())
    return min(1.0, distance / APART) if distance > 1e-5 else 0.0


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
    image, brain = to_ras(picture.volume.data / picture.scale, affine), to_ras(picture.brain, affine)
    theta = picture_style(meter, image, brain=brain, spacing=ras_spacing(affine), family=family)
    return theta.to(next(trained.generator.parameters()).device)


def seen_style(clip: MRCLIP, picture: Prepared) -> Tensor:
    """Return the style ``(1, 512)`` that the image tower sees in a prepared image."""
    affine = picture.volume.affine
    image, brain = to_ras(picture.volume.data / picture.scale, affine), to_ras(picture.brain, affine)
    return seen_in(clip, image, brain, ras_spacing(affine))


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


def sight(eye: Eye, picture: Prepared) -> Tensor:
    """Return the place ``(1, SIZE)`` of a prepared image in the space of the eye."""
    affine = picture.volume.affine
    image, brain = to_ras(picture.volume.data / picture.scale, affine), to_ras(picture.brain, affine)
    return _sight_in(eye, image, brain, ras_spacing(affine))


def _sight_in(eye: Eye, image: np.ndarray, brain: np.ndarray, spacing: tuple[float, ...]) -> Tensor:
    from bids_distclip.networks.inference import look_volume

    return eye.see_picture(look_volume(image, spacing=spacing, brain=brain))


def seen_in(clip: MRCLIP, image: np.ndarray, brain: np.ndarray, spacing: tuple[float, ...]) -> Tensor:
    """Return the style the image tower sees in a RAS volume ``(X, Y, Z)`` on its normalized scale."""
    from bids_distclip.networks.inference import embed_volume

    return embed_volume(clip, image, spacing=spacing, brain=brain)
