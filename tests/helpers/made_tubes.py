"""Tubes that nobody computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cfp_onnx.pyramid import tubes

Array = npt.NDArray[Any]


def tube(values: Array, centres: Any, **options: Any) -> tubes.Tube:
    """A tube of relevance of depth 1, or what the options say."""
    given = {"kind": "relevance", "depth": 1, "layer": None, "kernel": None} | options
    return tubes.Tube(**given, values=np.asarray(values, np.float32), centres=centres)
