"""Which labels arrive at each channel of a layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cfp_onnx.graph.labels import NONE, to_rank
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.states import State, Track
from cfp_onnx.model import Program
from cfp_onnx.values import Array


def part_wires(layer: KernelLayer, states: Mapping[str, State], program: Program) -> list[tuple[str, Array, Array]]:
    """Labels that arrive at each channel of a layer, over the whole layer's input."""
    if layer.tied:
        return _tied_wires(layer, states, program)
    rows: dict[tuple[int, str], list[tuple[int, Array, Array]]] = {}
    offset = 0
    for part in layer.parts:
        for k, track in enumerate(states.get(part.source, State()).tracks):
            labels, shares = _per_channel(track, part, program)
            rows.setdefault((k, track.via), []).append((offset, labels, shares))
        offset += part.channels
    out = []
    for (_, via), pieces in rows.items():
        width = max(p[1].shape[1] for p in pieces)
        labels = np.full((layer.channels, width), NONE, np.int64)
        shares = np.zeros((layer.channels, width))
        for start, piece, share in pieces:
            labels[start : start + len(piece), : piece.shape[1]] = piece
            shares[start : start + len(piece), : piece.shape[1]] = share
        out.append((via, labels, shares))
    return out


def _tied_wires(layer: KernelLayer, states: Mapping[str, State], program: Program) -> list[tuple[str, Array, Array]]:
    """Labels that arrive at a layer at any trip, with their mean shares."""
    found: dict[str, list[tuple[Array, Array]]] = {}
    for part in layer.parts:
        for track in states.get(part.source, State()).tracks:
            found.setdefault(track.via, []).append(_per_channel(track, part, program))
    out = []
    for via, pieces in found.items():
        labels, shares = (np.concatenate(arrays, axis=1) for arrays in zip(*pieces, strict=True))
        out.append((via, *_unique(labels, shares, len(layer.parts))))
    return out


def _unique(labels: Array, shares: Array, parts: int) -> tuple[Array, Array]:
    """Every label of a row once, with its shares added up."""
    rows = [np.unique(row, return_inverse=True) for row in labels]
    width = max(len(u) for u, _ in rows)
    out, out_share = np.full((len(rows), width), NONE, np.int64), np.zeros((len(rows), width))
    for i, (unique, inverse) in enumerate(rows):
        out[i, : len(unique)] = unique
        sums = np.bincount(inverse.reshape(-1), weights=shares[i], minlength=len(unique))
        out_share[i, : len(unique)] = np.where(unique == NONE, 0.0, sums / parts)
    return out, out_share


def _per_channel(track: Track, part: Part, program: Program) -> tuple[Array, Array]:
    """Distinct labels of each channel (channels, m) with their mean shares."""
    rank = len(program.shapes[part.source])
    axis = part.in_axis - rank + track.labels.ndim
    if axis >= 0 and track.labels.size == track.share.size == track.labels.shape[axis] == part.channels:
        return track.labels.reshape(-1, 1), track.share.reshape(-1, 1)
    labels, shares = (np.moveaxis(to_rank(a, rank), part.in_axis, 0) for a in (track.labels, track.share))
    labels, shares = labels.reshape(labels.shape[0], -1), shares.reshape(shares.shape[0], -1)
    if labels.shape[0] == 1 and part.channels > 1:
        labels, shares = (np.repeat(a, part.channels, axis=0) for a in (labels, shares))
    if labels.shape[1] == 1:
        return labels, shares
    rows = [np.unique(row, return_inverse=True) for row in labels]
    width = max(len(u) for u, _ in rows)
    out, out_share = np.full((len(rows), width), NONE, np.int64), np.zeros((len(rows), width))
    for i, (unique, inverse) in enumerate(rows):
        out[i, : len(unique)] = unique
        out_share[i, : len(unique)] = (
            np.bincount(inverse.reshape(-1), weights=shares[i], minlength=len(unique)) / labels.shape[1]
        )
    return out, out_share
