"""What is known of each tensor: its tracks of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cfp_onnx.graph.labels import NONE, to_rank, varying_axes
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

    def to_rank(self, rank: int) -> Track:
        """The track with axes of length 1 in front, as broadcasting adds them."""
        if self.labels.ndim == self.share.ndim == rank:
            return self
        return Track(to_rank(self.labels, rank), to_rank(self.share, rank), self.via)

    def compact(self) -> Track:
        """Length 1 on every axis along which nothing varies; a Reshape that cuts and merges again leaves such axes."""
        labels, share = self.labels, self.share
        for axis in varying_axes(labels):
            first = tuple(slice(0, 1) if a == axis else slice(None) for a in range(labels.ndim))
            if (labels == labels[first]).all() and (share == share[first]).all():
                labels, share = labels[first], share[first]
        return replace(self, labels=labels, share=share)


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


def merge_tracks(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """Tracks without those that hold no label; the shares of those with the same labels are added up."""
    out: list[Track] = []
    places: dict[tuple[tuple[int, ...], bytes], int] = {}
    for track in tracks:
        if track.labels.size and int(track.labels.max()) < 0 and int(track.labels.min()) == NONE:
            continue
        place = places.setdefault((track.labels.shape, track.labels.tobytes()), len(out))
        if place == len(out):
            out.append(track)
        else:
            old = out[place]
            out[place] = Track(old.labels, old.share + track.share, track.via if old.via == "gate" else old.via)
    return tuple(out)


__all__ = ["State", "Track", "merge_tracks"]
