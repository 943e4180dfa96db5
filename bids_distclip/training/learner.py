"""One step of a training: gradients, optimizers, the part that learns against the rest, the average of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bids_distclip.training.devices import Crew


class Learner:
    """A model that learns: its optimizer, its rival's, if it has one, and the running average of its weights."""

    def __init__(self, model: nn.Module, rival: Any, *, learning_rate: float, clip: float, crew: Crew) -> None:
        self.model, self.rival, self.clip, self.crew = model, rival, clip, crew
        self.against = [] if rival is None else list(rival.parameters())
        apart = {id(p) for p in self.against}
        self.trained = [p for p in model.parameters() if p.requires_grad and id(p) not in apart]
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            'optimizer': torch.optim.AdamW(self.trained, lr=learning_rate, betas=(0.9, 0.98), weight_decay=1e-2)
        }
        if self.against:
            self.optimizers['rival'] = torch.optim.AdamW(
                self.against, lr=learning_rate, betas=(0.5, 0.98), weight_decay=0.0
            )
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items() if v.is_floating_point()}

    @property
    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as :func:`load_state` and :func:`save_state` take it."""
        return {'model': self.model, 'average': self.average, 'optimizers': self.optimizers}

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of every optimizer."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group['lr'] = rate

    def learn(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take one step down the sum of the parts, and one of the rival's; return what the curve tells."""
        told = self._optimize(parts, 'optimizer', self.trained)
        if self.rival is not None:
            found = self._optimize(self.rival.losses(), 'rival', self.against)
            told |= {f'_rival{name}': value for name, value in found.items()}
        return told

    def _optimize(self, parts: Mapping[str, Tensor], name: str, trained: list[nn.Parameter]) -> dict[str, Tensor]:
        """Take one step down the sum of the parts, unless its gradient is not finite; return parts, total and norm."""
        optimizer = self.optimizers[name]
        total = torch.stack([v for k, v in parts.items() if not k.startswith('_')]).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.crew.average_gradients(trained)
        norm = torch.nn.utils.clip_grad_norm_(trained, self.clip)
        if torch.isfinite(norm):
            optimizer.step()
        return {**parts, 'total': total, '_norm': norm}

    def follow(self, *, decay: float) -> None:
        """Bring the running average of the weights after them."""
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if name in self.average:
                    self.average[name].lerp_(value.to(self.average[name].dtype), 1 - decay)
