"""What is known of each tensor: its tracks of labels."""

from __future__ import annotations

from dataclasses import dataclass

from cfp_onnx.graph.labels import varying_axes
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Track:
    """One set of labels a tensor carries; an Add makes several.

    Attributes:
        labels: int64, broadcasts against the tensor; kernel numbers, or `labels.NONE` / `labels.UNKNOWN`.
        share: float64 of the same shape, the part of each element that this track carries.
        via: How it came: ``chain``, ``branch``, ``shortcut`` or ``gate``.
    """

    labels: Array
    share: Array
    via: str = "chain"


@dataclass(frozen=True)
class State:
    """What is known of a tensor.

    Attributes:
        tracks: Its labels.
        side: Origins that influence every element without being a channel of it.
        quantised: Names of the scale and the zero point where it holds integers that stand for real numbers.
    """

    tracks: tuple[Track, ...] = ()
    side: frozenset[int] = frozenset()
    quantised: tuple[str, str] | None = None

    def channel_axes(self) -> tuple[int, ...]:
        """Axes along which its kernels or channels lie: where the labels of any track vary, gates aside."""
        return tuple(sorted({a for t in self.tracks if t.via != "gate" for a in varying_axes(t.labels)}))
