"""Random rotations of space."""

from __future__ import annotations

import numpy as np


def random_rotation(rng: np.random.Generator, limit: float) -> np.ndarray:
    """Return a rotation ``(3, 3)`` about each axis by up to ``limit`` radians."""
    a, b, c = rng.uniform(-limit, limit, 3)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rx @ ry @ rz
