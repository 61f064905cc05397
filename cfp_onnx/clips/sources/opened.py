"""What a source of a clip is once it is open: frames by index, or arrays by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cfp_onnx.clips.clip import Frame
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Footage:
    """Frames that can be read by their index.

    `read` takes rising indices and gives RGB frames; `promised` is the header's count where it is exact; a
    `still` picture stands for as many frames as are needed.
    """

    file: str
    sha256: str
    count: int
    read: Callable[[Sequence[int]], Iterator[Frame]]
    promised: int = 0
    still: bool = False


# --- from arrays to an input ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Arrays:
    """Arrays as they were stored; the key of one that came alone is empty."""

    file: str
    sha256: str
    arrays: Mapping[str, Array]
