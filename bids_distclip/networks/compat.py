"""Import open_clip where a CPU build of torch sits beside a torchvision built for CUDA.

Such a torchvision has no compiled operators, and importing it stops with ``operator torchvision::nms does not
exist`` although nothing here uses that operator. Declaring the two schemas it looks up first lets the import pass;
on a matching pair this does nothing.
"""

from __future__ import annotations

import functools
from types import ModuleType

_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)


@functools.cache
def open_clip() -> ModuleType:
    """Return the open_clip module."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if 'torchvision::nms' not in str(error):
            raise
        _declare_operators()
    import open_clip as module

    return module


_LIBRARIES: list = []


def _declare_operators() -> None:
    import sys

    import torch

    for name in [n for n in sys.modules if n.split('.')[0] == 'torchvision']:
        del sys.modules[name]
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for schema in _SCHEMAS:
        library.define(schema)
    # The declarations vanish with the object that made them.
    _LIBRARIES.append(library)
