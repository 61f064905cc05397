"""What is measured of a map over a clip, from masks that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def energy(tube: Array, mask: Array) -> float:
    """Share of the mass inside a mask over the share of the clip that the mask takes; NaN where there is none."""
    positive = np.maximum(tube, 0.0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total / float(mask.mean()) if total > 0 and mask.any() else float("nan")


def share(tube: Array, own: Array, other: Array) -> float:
    """Mass in one mask over the mass in both; NaN where neither has any."""
    positive = np.maximum(tube, 0.0)
    inside, outside = float(positive[own].sum()), float(positive[other].sum())
    return inside / (inside + outside) if inside + outside > 0 else float("nan")


def pointing(tube: Array, mask: Array) -> float:
    """Whether the strongest place lies in a mask (1); of equal places the share that does; NaN of constant maps."""
    if np.ptp(tube) == 0:
        return float("nan")
    return float(mask[tube == tube.max()].mean())
