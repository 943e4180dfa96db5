"""Keep freed memory in the process: networks ask for the same large blocks again and again.

By default glibc gives blocks above a threshold back to the kernel at once and gets them back page by page, zeroed. On a
CPU that costs more than some of the layers themselves.
"""

from __future__ import annotations

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_ONE_GIBIBYTE = 1 << 30


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks below a gibibyte; return whether it agreed (always ``False`` elsewhere)."""
    if not sys.platform.startswith('linux'):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _ONE_GIBIBYTE)) and bool(mallopt(_TRIM_THRESHOLD, _ONE_GIBIBYTE))
