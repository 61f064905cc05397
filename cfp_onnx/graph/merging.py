"""Labels of what is added up over an axis: one track for each set of kernels that meets there.

Tokens of several sources, as a class token beside patches or pooled values beside it, make the labels of a tensor vary
along its tokens and its channels. A mean over the tokens, or a mixture of them, holds the kernels of each source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cfp_onnx.graph.labels import varies
from cfp_onnx.graph.states import Track, merge_tracks

MOST = 64
"""Most sets of kernels that meet in one element."""


def sources_along(tracks: Iterable[Track], axes: Sequence[int]) -> int | None:
    """Of how many different sets of kernels a tensor consists along some axes.

    Args:
        tracks: Its labels, of its rank.
        axes: The axes.

    Returns:
        1 where labels do not vary there; None where each set is one kernel only, as along the kernels themselves.
    """
    most = 1
    for track in tracks:
        rows = _rows(track, axes)
        if rows is None:
            continue
        if rows[0].shape[1] == 1:
            return None
        most = max(most, len(np.unique(rows[0], axis=0)))
    return most


def merged(tracks: Iterable[Track], axes: Sequence[int], *, kernels: bool = False) -> tuple[Track, ...] | None:
    """Labels with some axes added up, which are left with length 1.

    Args:
        tracks: Labels of a tensor, of its rank.
        axes: The axes.
        kernels: Whether kernels themselves may be added up, each with a track of its own.

    Returns:
        Tracks whose shares add up as those before; None where kernels themselves are added up and may not be, or too
        many meet.
    """
    found = list(tracks)
    count = _most(found, axes) if kernels else sources_along(found, axes)
    if count is None or count > MOST:
        return None
    return merge_tracks([piece for track in found for piece in _pieces(track, axes)])


def _most(tracks: Iterable[Track], axes: Sequence[int]) -> int:
    """Of how many different sets of kernels a tensor consists along some axes, be they single kernels."""
    rows = (_rows(track, axes) for track in tracks)
    return max((len(np.unique(found[0], axis=0)) for found in rows if found is not None), default=1)


def _rows(track: Track, axes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]] | None:
    """Labels and shares, one row for each place along some axes; None where labels do not vary there."""
    labels = track.labels
    if not any(varies(labels, a) for a in axes):
        return None
    rest = tuple(1 if a in axes else n for a, n in enumerate(labels.shape))
    lead = range(len(axes))
    parts = [np.moveaxis(np.broadcast_to(a, labels.shape), axes, lead) for a in (labels, track.share)]
    count = int(np.prod([labels.shape[a] for a in axes], dtype=np.int64))
    return parts[0].reshape(count, -1), parts[1].reshape(count, -1), rest


def _pieces(track: Track, axes: Sequence[int]) -> list[Track]:
    found = _rows(track, axes)
    if found is None:
        keep = track.share.mean(axis=tuple(axes), keepdims=True)
        return [Track(track.labels, np.broadcast_to(keep, track.labels.shape), track.via)]
    labels, shares, rest = found
    unique, inverse = np.unique(labels, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    return [
        Track(row.reshape(rest), (shares[inverse == i].sum(axis=0) / len(labels)).reshape(rest), track.via)
        for i, row in enumerate(unique)
    ]


__all__ = ["MOST", "merged", "sources_along"]
