"""Ways to run the same generator, to be compared: as the app does, module by module, OpenVINO where it is there."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from bids_distclip.networks.generator import Generator

#: What the app does comes first.
ENGINES = ('torch', 'modules', 'openvino')


def engines_here(device: str) -> list[str]:
    """Return the engines that can run on a device; a card runs the modules anyway, and OpenVINO has to be installed."""
    if device.startswith('cuda'):
        return ['torch']
    return [name for name in ENGINES if name != 'openvino' or find_spec('openvino') is not None]


def as_engine(generator: Generator, name: str, *, precision: str, batch: int) -> Any:
    """Return what :func:`bids_distclip.networks.inference.run_plane` takes for a generator, run by an engine."""
    if name == 'torch':
        return generator
    if name == 'modules':
        return Modules(generator)
    return OpenVino(generator, precision=precision, batch=batch)


class Modules:
    """The generator as it is trained: its modules one after the other, under autocast for bfloat16."""

    def __init__(self, generator: Generator) -> None:
        self.generator, self.mapper = generator, generator.mapper

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the generator's parameters: they tell the device."""
        return self.generator.parameters()

    def change(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Return what slices ``(B, 1, H, W)`` must change by, as the generator does."""
        return self.generator.change(x, source, target)


class OpenVino:
    """The generator's change between styles, compiled by OpenVINO for every shape of slices it is asked for.

    Batches are filled up with zeros to one size, so that there is one shape per plane.
    """

    def __init__(self, generator: Generator, *, precision: str, batch: int) -> None:
        self.generator, self.mapper, self.batch = generator, generator.mapper, batch
        self.hint = {'fp32': 'f32', 'bf16': 'bf16'}[precision]
        self._known: dict[tuple[int, ...], Any] = {}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the generator's parameters: they tell the device."""
        return self.generator.parameters()

    def change(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Return what slices ``(B, 1, H, W)`` must change by, as the generator does."""
        count = len(x)
        fill = self.batch - count
        # What comes from autocast or a slice of a larger array is made what the compiled graph takes.
        given = [
            torch.cat([part.float(), part.new_zeros(fill, *part.shape[1:]).float()]).contiguous() if fill else
            part.float().contiguous() for part in (x, source, target)
        ]
        key = tuple(given[0].shape)
        if key not in self._known:
            self._known[key] = self._compiled(given)
        found = self._known[key].infer([part.numpy() for part in given])
        return torch.from_numpy(found[0][:count].copy())

    def _compiled(self, given: list[Tensor]) -> Any:
        import openvino

        # Tracing must see plain arithmetic: neither inference tensors nor casts of its own.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast('cpu', enabled=False):
            plain = tuple(part.clone() for part in given)
            model = openvino.convert_model(_Change(self.generator), example_input=plain,
                                           input=[tuple(part.shape) for part in plain])
        settings = {'INFERENCE_PRECISION_HINT': self.hint, 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
        return openvino.Core().compile_model(model, 'CPU', settings).create_infer_request()


class _Change(nn.Module):
    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return self.generator.change(x, source, target)
