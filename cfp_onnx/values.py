"""Types that every stage shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
"""A NumPy array of any type and shape; docstrings say which."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of its steps are done, and how many there are."""


__all__ = ["Array", "Progress"]
