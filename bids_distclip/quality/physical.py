"""How the physical maps of a slice are standardized: what the simulator makes and the networks read."""

from __future__ import annotations

#: (mean, standard deviation) of log T1 / s, log T2 / s, and proton density.
PHYSICAL = ((0.10, 0.60), (-2.40, 0.80), (0.60, 0.30))
