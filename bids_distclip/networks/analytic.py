"""A decoder that is a signal equation: an ablation of the Style Fusion Decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bids_distclip.quality.physical import PHYSICAL

#: What a style starts as: a long repetition time and a short echo, which show hardly more than proton density.
_START = {'gain': 0.5, 'recovery': 1.0, 'time': 1.5, 'second': 0.0, 'second_time': 3.0, 'echo': 0.03}


class SignalDecoder(nn.Module):
    """Render β by the Bloch equations, whose sequence parameters are read off the style.

    gain · PD · abs(1 − a exp(−t/T1) − b exp(−u/T1)) · exp(−e/T2): saturation recovery with b = 0, a = 1; inversion
    recovery with a = 2, b = −1 (Hajnal 1992). A style becomes the six numbers gain, a, t, b, u, e (times in seconds)
    for the whole picture; what three maps under one such equation cannot show, it cannot.
    β are log T1, log T2 and PD, standardized (:data:`bids_distclip.quality.physical.PHYSICAL`).
    """

    def __init__(self, *, style: int) -> None:
        super().__init__()
        self.sequence = nn.Sequential(nn.Linear(style, 128), nn.SiLU(), nn.Linear(128, len(_START)))
        last: nn.Linear = self.sequence[-1]  # type: ignore[assignment]
        nn.init.normal_(last.weight, std=1e-2)
        start = torch.tensor(list(_START.values()))
        # Gain and times are positive: their logarithms are what is added to.
        self.positive = [index for index, name in enumerate(_START) if name not in ('recovery', 'second')]
        start[self.positive] = start[self.positive].log()
        with torch.no_grad():
            last.bias.copy_(start)

    def forward(self, beta: Tensor, theta: Tensor) -> Tensor:
        """Return slices ``(B, 1, H, W)`` in units of the target's intensity scale."""
        return self.paint(beta, self.read(beta), theta)

    def read(self, beta: Tensor) -> list[Tensor]:
        """Return nothing: there are no features but β."""
        return []

    def paint(self, beta: Tensor, skips: Sequence[Tensor], theta: Tensor) -> Tensor:
        """Return slices ``(B, 1, H, W)`` from β ``(B, 3, H, W)`` and a style ``(B, style)``."""
        # A time in the exponent of an exponent: eight bits of mantissa are too few.
        with torch.autocast(beta.device.type, enabled=False):
            log_t1, log_t2, density = (
                mean + spread * beta[:, index : index + 1].float() for index, (mean, spread) in enumerate(PHYSICAL)
            )
            numbers = self.sequence(theta.float())
            gain, a, t, b, u, echo = (
                (number.clamp(-6, 3).exp() if index in self.positive else number)[:, None, None, None]
                for index, number in enumerate(numbers.unbind(1))
            )
            rate_1, rate_2 = ((-log).clamp(-3, 6).exp() for log in (log_t1, log_t2))
            longitudinal = 1 - a * torch.exp(-t * rate_1) - b * torch.exp(-u * rate_1)
            return gain * F.relu(density) * longitudinal.abs() * torch.exp(-echo * rate_2)
