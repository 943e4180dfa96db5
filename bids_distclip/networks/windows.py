"""Windows: the part of every slice that a network is shown, as much of the head as there is and little air."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

#: In-plane spacings (mm) at which slices go through the networks as they are; others are brought to 1 mm and back.
NATIVE_SPACING = (0.6, 1.3)
#: Sides of a window are no shorter (pixels): as long as those of the slices that the generator has learnt from. With
#: 96, T1w made from T2w and FLAIR of simulated heads lost 0.4 dB by metadata, though real ones gained 0.1.
LEAST = 128

#: Rows and columns of a slice.
Window = tuple[slice, slice]


def network_sides(shape: Sequence[int], *, pixel: Sequence[float]) -> list[int]:
    """Return the sides at which networks see slices of a shape (pixels), with pixels of this size (mm)."""
    low, high = NATIVE_SPACING
    return [n if low <= side <= high else max(16, round(n * side)) for n, side in zip(shape, pixel, strict=True)]


def slice_windows(seen: np.ndarray, *, pixel: Sequence[float], step: int) -> list[Window]:
    """Return for each of N slices the window that holds all that is seen of it; ``seen`` is boolean ``(N, H, W)``.

    Networks normalize over all they are shown, so that air changes what they make of a head. Windows begin and end at
    multiples of ``step`` pixels, or with the slice. Slices that are resampled are shown whole.
    """
    height, width = seen.shape[1:]
    if network_sides((height, width), pixel=pixel) != [height, width]:
        return [(slice(0, height), slice(0, width))] * len(seen)
    return [(_side(one.any(1), step), _side(one.any(0), step)) for one in seen]


def _side(seen: np.ndarray, step: int) -> slice:
    """Return where along one side ``(N,)`` something is seen, widened to :data:`LEAST` and to multiples of a step."""
    where, count = np.flatnonzero(seen), len(seen)
    low, high = (int(where[0]), int(where[-1]) + 1) if len(where) else (0, 0)
    short = max(0, min(LEAST, count) - (high - low))
    low = min(max(0, low - short // 2), count - (high - low) - short)
    high = max(high, low + min(LEAST, count))
    return slice(low // step * step, min(count, -(-high // step) * step))


def batches(windows: Sequence[Window], chosen: Iterable[int], *, most: int) -> Iterator[list[int]]:
    """Yield slices of ``chosen`` in order, at most so many at once whose windows have the same sides."""
    batch: list[int] = []
    for number in chosen:
        if batch and (len(batch) == most or sides(windows[number]) != sides(windows[batch[0]])):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def sides(window: Window) -> tuple[int, int]:
    """Return height and width of a window."""
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start
