"""Adaptive Style Transfer: a style decides, by attention over the picture's own features, how each place is restyled.

x̂ = IN(x); s = MLP(θ); q = W_q x̂ + W_s s, k = W_k x̂, v = W_v x; a = x + W_o attention(q, k, v);
γ, β = conv(ReLU(conv[IN(a) ‖ s])); out = (1 + γ) IN(a) + β. Softmax attention with 8 heads on small maps, linear
attention (Shen 2021) on large ones. Content-aware queries after AdaAttN (Liu 2021); the released DIST-CLIP's queries,
the same at every position, and plain AdaIN (Huang 2017) are kept as ablations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Largest number of positions for softmax attention; above it attention is linear.
SOFTMAX_LIMIT = 28 * 28

TRANSFERS = ('ast', 'constant-query', 'adain')


class AdaptiveStyleTransfer(nn.Module):
    """One AST module for features of ``channels`` and a style of length ``style``."""

    def __init__(self, channels: int, *, style: int, heads: int = 8, variant: str = 'ast') -> None:
        super().__init__()
        if variant not in TRANSFERS:
            raise ValueError(f'unknown style transfer {variant!r}; one of {TRANSFERS}')
        self.variant, self.heads = variant, heads
        self.norm = nn.InstanceNorm2d(channels)
        self.style = nn.Sequential(nn.Linear(style, channels), nn.SiLU(), nn.Linear(channels, channels))
        if variant == 'adain':
            self.modulate: nn.Module = nn.Linear(channels, 2 * channels)
        else:
            self.query = nn.Conv2d(channels, channels, 1)
            self.query_style = nn.Linear(channels, channels)
            self.key = nn.Conv2d(channels, channels, 1)
            self.value = nn.Conv2d(channels, channels, 1)
            self.mix = nn.Conv2d(channels, channels, 1)
            self.hidden = nn.Conv2d(2 * channels, channels, 3, padding=1)
            self.modulate = nn.Conv2d(channels, 2 * channels, 3, padding=1)
            for parameter in self.mix.parameters():
                nn.init.zeros_(parameter)
        for parameter in self.modulate.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return restyled features of the shape of ``x`` ``(B, C, H, W)``; ``theta`` is ``(B, style)``."""
        style = self.style(theta)
        if self.variant == 'adain':
            gamma, shift = self.modulate(style)[..., None, None].chunk(2, dim=1)
            return (1 + gamma) * self.norm(x) + shift
        normal = self.norm(x)
        query = self.query_style(style)[..., None, None].expand_as(x)
        if self.variant == 'ast':
            query = query + self.query(normal)
        attended = x + self.mix(self._attend(query, self.key(normal), self.value(x)))
        normal = self.norm(attended)
        context = torch.cat([normal, style[..., None, None].expand_as(normal)], 1)
        gamma, shift = self.modulate(F.relu(self.hidden(context))).chunk(2, dim=1)
        return (1 + gamma) * normal + shift

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, channels, height, width = value.shape

        def split(t: Tensor) -> Tensor:
            return t.reshape(batch, self.heads, channels // self.heads, height * width)

        query, key, value = split(query), split(key), split(value)
        if height * width <= SOFTMAX_LIMIT:
            # OpenVINO knows transpose and not mT.
            query, key, value = query.transpose(-2, -1), key.transpose(-2, -1), value.transpose(-2, -1)
            out = F.scaled_dot_product_attention(query, key, value).transpose(-2, -1)
        else:
            context = torch.einsum('bhcn,bhdn->bhcd', key.softmax(-1), value)
            out = torch.einsum('bhcn,bhcd->bhdn', query.softmax(2), context)
        return out.reshape(batch, channels, height, width)
