"""What a source of a clip is once it is open: frames by their index, or arrays by their name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cfp_onnx.clips.clip import Frame
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Frames:
    """Frames that can be read by their index; they are sampled, resized, cropped and normalised.

    Attributes:
        file: The source as it was named.
        sha256: Of the file's bytes, or of a folder's names and bytes.
        count: How many frames can be read.
        read: Takes rising indices and gives RGB frames, one in memory at a time.
        promised: How many frames a video's header promises, where such headers are exact, else 0.
        still: Whether this is one picture, which may be repeated.
        note: What is odd about them, in words.
        rate: Frames per second, where the source says so.
        channels: Of each frame: 3 colours, or as many as an array has.
    """

    file: str
    sha256: str
    count: int
    read: Callable[[Sequence[int]], Iterator[Frame]]
    promised: int = 0
    still: bool = False
    note: str | None = None
    channels: int = 3
    rate: float | None = None


@dataclass(frozen=True)
class Arrays:
    """Arrays as they were stored.

    Attributes:
        file: The source as it was named.
        sha256: Of the file's bytes, or of arrays from memory.
        arrays: By name; the name of one that came alone is empty.
    """

    file: str
    sha256: str
    arrays: Mapping[str, Array]
