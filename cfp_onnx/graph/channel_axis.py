"""Which axis of an input holds its channels."""

from __future__ import annotations

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import NONE, to_rank
from cfp_onnx.graph.layers import find_parts
from cfp_onnx.graph.operators import View, effect_of
from cfp_onnx.graph.states import State, Track
from cfp_onnx.model import Program


def channel_axis(program: Program, name: str) -> int | None:
    """Axis of an input that its first layers read as channels, None where none of them tells."""
    rank = len(program.shapes[name])
    for axis in range(rank):
        if axis != 0 and _reads(program, name, axis):
            return axis
    return None


def _reads(program: Program, name: str, axis: int) -> bool:
    """Whether every first layer of an input sees exactly this axis as its channels."""
    parts = {p.node.name: p for p in find_parts(program)}
    shape = program.shapes[name]
    labels = np.arange(shape[axis], dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    states = {name: State((Track(labels, np.ones(labels.shape)),))}
    view = View(program, states, parts)
    verdicts: list[bool] = []
    for node in program.nodes:
        if not any(i in states for i in node.inputs):
            continue
        part = parts.get(node.name)
        if part is not None:
            seen = to_rank(states[part.source].tracks[0].labels, len(program.shapes[part.source]))
            others = [a for a in range(seen.ndim) if a != part.in_axis]
            verdicts.append(all(seen.shape[a] == 1 for a in others) and seen.shape[part.in_axis] == shape[axis])
            continue
        effect = effect_of(node, view)
        if isinstance(effect, fx.Move) and len(effect.sources) == 1:
            for o, moved in zip(
                node.outputs,
                effect.apply([states[node.inputs[effect.sources[0]]].tracks[0].labels], NONE),
                strict=True,
            ):
                states[o] = State((Track(moved, np.ones(moved.shape)),))
        elif isinstance(effect, fx.Identity | fx.Quantise | fx.Affine | fx.Activation | fx.Pool):
            source = node.inputs[effect.source]
            if source in states:
                states[node.outputs[0]] = states[source]
    return bool(verdicts) and all(verdicts)
