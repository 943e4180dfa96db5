"""The discriminator as a rival of the generator: it learns to tell renderings from pictures, after each step."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bids_distclip.networks.discriminator import PatchDiscriminator
from bids_distclip.training.guides import held
from bids_distclip.training.losses import least_squares


class Adversary(nn.Module):
    """A discriminator and what it was shown last."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = PatchDiscriminator()
        self._shown: tuple[Tensor, Tensor] | None = None

    def fooled(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the generator's loss for slices ``(B, 1, H, W)``, and keep both for :meth:`losses`."""
        self._shown = made.detach(), real.detach()
        with held(self):
            return least_squares(self.discriminator(made), 1.0)

    def losses(self) -> Mapping[str, Tensor]:
        """Return the discriminator's own loss (least squares, Mao et al. 2017) on what was shown last."""
        assert self._shown is not None, 'nothing was shown'
        made, real = self._shown
        self._shown = None
        return {
            'made': 0.5 * least_squares(self.discriminator(made), 0.0),
            'real': 0.5 * least_squares(self.discriminator(real), 1.0),
        }
