"""The generator as a task: what it makes of a batch, and how far that is from what it should be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.simulation.stream import Batch
from bids_distclip.training.adversary import Adversary
from bids_distclip.training.batch import is_alike, is_known, is_paired, is_told
from bids_distclip.training.guides import Guides, draw_guides, held, read_loss, see
from bids_distclip.training.loss_weights import Weights
from bids_distclip.training.losses import patch_contrast, style_distance
from bids_distclip.training.terms import (
    Made,
    anatomy_terms,
    peak_signal_to_noise,
    physical_loss,
    picture_terms,
    truth_of,
)

#: Slices with a smaller share of head than this show no style.
LEAST_HEAD = 0.04


class DistClipTask(nn.Module):
    """The generator with its MR-CLIP; calling ``losses`` on a batch gives the terms.

    With ``tune_clip`` the image tower goes on learning, at the generator's wish, towards what the text tower says of
    the same acquisition. The text tower stays as it is (two towers that only have to agree would agree on one point),
    and so do the statistics of batch norms. With a weight for ``adversarial`` a discriminator learns along.
    """

    def __init__(
        self,
        options: GeneratorOptions,
        clip: MRCLIP,
        *,
        weights: Weights,
        guidance: str = 'both',
        tune_clip: bool = True,
    ) -> None:
        super().__init__()
        self.generator = Generator(options)
        self.weights, self.guidance, self.tune_clip = weights, guidance, tune_clip
        self.clip = clip.eval().requires_grad_(False)
        self.clip.towers.visual.requires_grad_(tune_clip)
        if not options.physical:
            self.log_scale = nn.Parameter(torch.tensor(1 / 0.1).log())
        self.adversary = Adversary() if weights.adversarial > 0 else None

    def train(self, mode: bool = True) -> DistClipTask:
        """Set the generator's mode; the towers stay in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    @property
    def taught(self) -> bool:
        """Tell whether the decoder learns from true maps: only where the mapper is asked for them as well.

        Else the mapper's β is whatever the decoder can render from, and both learn end to end.
        """
        options = self.generator.options
        return options.physical and options.channels == 3 and self.weights.physical > 0

    def losses(self, batch: Batch, number: int) -> Mapping[str, Tensor]:
        """Return the loss terms of S slices, each seen under two protocols; chance is drawn by the batch's number."""
        rng, w = np.random.default_rng([78, number]), self.weights
        guides, made = self._made(batch, rng, look=w.style_image > 0 or w.style_text > 0)
        truth = truth_of(batch, made.own.device)
        terms = picture_terms(w, truth, made) | anatomy_terms(w, batch, truth, made)
        if self.generator.options.physical and w.physical > 0:
            terms['physical'] = w.physical * physical_loss(batch, made.beta)
        elif not self.generator.options.physical and w.contrast > 0:
            terms['contrast'] = w.contrast * self._contrast(batch, made.beta, seed=number)
        if w.style_image > 0 or w.style_text > 0:
            terms |= self._style_terms(batch, guides, made.cross)
        if self.adversary is not None:
            terms['adversarial'] = w.adversarial * self.adversary.fooled(made.cross, truth.other)
        if self.tune_clip:
            terms['read'] = w.read * read_loss(guides, batch)
        return terms | peak_signal_to_noise(truth, made)

    def render(self, batch: Batch, number: int) -> Made:
        """Return what the generator makes of a batch, to look at; nothing learns from it."""
        with torch.no_grad():
            return self._made(batch, np.random.default_rng([78, number]))[1]

    def _made(self, batch: Batch, rng: np.random.Generator, *, look: bool = False) -> tuple[Guides, Made]:
        device = next(self.generator.parameters()).device
        with torch.autocast(device.type, torch.bfloat16):
            guides = draw_guides(self.clip, batch, rng, guidance=self.guidance, tune=self.tune_clip, look=look)
            outputs = self._outputs(batch, guides.theta)
        return guides, Made(**{name: value.float() for name, value in outputs.items()})

    def _outputs(self, batch: Batch, theta: Tensor) -> dict[str, Tensor]:
        """Return the fields of :class:`Made` from styles ``(S, 2, 512)``.

        Where β is nothing but the physical maps, the decoder is taught with the true maps: ``own`` then is what it
        makes of them, and mapper and decoder need not wait for each other. Where both protocols are of one family, or
        the maps are not known, ``own`` is made from the mapper's β: there its difference to ``cross`` is the output.
        """
        x = batch.noisy.to(theta.device)
        slices, count, height, width = x.shape
        beta = self.generator.anatomy(x.flatten(0, 1)[:, None], theta.flatten(0, 1))
        beta = beta.reshape(slices, count, -1, height, width)
        first, second = beta[:, 0], beta[:, 1]
        base = [first, second]
        if self.taught:
            untold = (is_alike(batch) | ~is_known(batch)).to(x.device)[:, None, None, None]
            truth = batch.physical.to(beta)
            base = [torch.where(untold, b, truth) for b in base]
        here, there = torch.cat([theta[:, 0], theta[:, 1]]), torch.cat([theta[:, 1], theta[:, 0]])
        own, cross = self.generator.render(
            torch.cat([*base, first, second]), torch.cat([here, there])
        ).chunk(2)
        outputs = {'beta': beta, 'own': own, 'cross': cross}
        unpaired = not bool(is_paired(batch).all())
        if unpaired or self.weights.cycle > 0:
            outputs['returned'] = self.generator.anatomy(cross, there)
        if unpaired:
            outputs['back'] = self.generator.render(outputs['returned'], here)
        return outputs

    def _contrast(self, batch: Batch, beta: Tensor, *, seed: int) -> Tensor:
        temperature = self.log_scale.clamp(max=4.6).neg().exp()
        # Two people's slices have no place in common.
        brain = (batch.brain * is_paired(batch).to(batch.brain)[:, None, None]).to(beta.device)[:, None]
        return patch_contrast(beta[:, 0], beta[:, 1], brain, temperature=temperature, seed=seed)

    def _style_terms(self, batch: Batch, guides: Guides, cross: Tensor) -> dict[str, Tensor]:
        """Return how far what MR-CLIP sees in the renderings is from what it sees and is told of their targets."""
        assert guides.seen is not None
        assert guides.words is not None
        rendered = torch.stack(cross[:, 0].chunk(2), 1)
        # The tower judges here and must not learn to judge more kindly.
        with torch.autocast(cross.device.type, torch.bfloat16), held(self.clip):
            found = see(self.clip, rendered, batch.pixels).float().flatten(0, 1)
        shows = (batch.head.mean((1, 2)) > LEAST_HEAD).to(cross)[:, None].expand(-1, 2)
        told = shows * is_told(batch).to(cross).flip(1)
        seen, words = (t.flip(1).flatten(0, 1).float().detach() for t in (guides.seen, guides.words))
        return {
            'style_image': self.weights.style_image * style_distance(found, seen, shows.flatten()),
            'style_text': self.weights.style_text * style_distance(found, words, told.flatten()),
        }
