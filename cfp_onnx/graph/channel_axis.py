"""Which axis of an input holds its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import numpy as np

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.labels import NONE, to_rank, varies
from cfp_onnx.graph.layers import find_parts
from cfp_onnx.graph.operators import View, effect_of
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.states import State, Track
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array

COLOURS = 3
"""Colours of a picture."""


def channel_axis(program: Program, name: str) -> int | None:
    """Axis of an input that its first layers read as channels, None where none of them tells.

    The first axis is a batch as a rule, so it comes last: it holds the channels where no other does.
    """
    rank = len(program.shapes[name])
    order: list[int] = [*range(1, rank), 0][:rank]
    for axis in order:
        if _reads(program, name, axis):
            return axis
    return None


def is_single_channel(program: Program, name: str) -> bool:
    """Whether an input is a signal, a picture or frames of one channel, without an axis for it.

    Then the first layers that it reaches read one channel, or all its elements as features of their own. Of more than
    two axes one of length 3 may hold colours, so that such an input is no single channel.
    """
    shape = program.shapes[name]
    if shape[0] == 1 or (len(shape) > 2 and COLOURS in shape):
        return False
    read = [_read_by(program, name, axis) for axis in range(len(shape))]
    whole = int(np.prod(shape, dtype=np.int64))
    return all(read) and all(part.channels in {1, whole} for parts in read for part, _ in parts)


def _reads(program: Program, name: str, axis: int) -> bool:
    """Whether every first layer of an input sees exactly this axis as its channels."""
    shape, verdicts = program.shapes[name], []
    for part, seen in _read_by(program, name, axis):
        others = [a for a in range(seen.ndim) if a != part.in_axis]
        alone = all(seen.shape[a] == 1 for a in others) and seen.shape[part.in_axis] >= shape[axis]
        named = seen[seen != NONE]
        # flattening repeats labels; so does joining a channel with another form of itself, which keeps the axes
        alone = alone and (np.unique(named).size == named.size or _keeps_places(program, part, shape, axis))
        # a first axis of length 1 tells nothing by its labels
        verdicts.append(alone and (axis > 0 or program.shapes[part.source][part.in_axis] == shape[axis]))
    return bool(verdicts) and all(verdicts)


def _keeps_places(program: Program, part: Part, shape: Sequence[int], axis: int) -> bool:
    """Whether what a part reads still has the input's places, so that none were made into channels."""
    source = program.shapes[part.source]
    places = int(np.prod(source, dtype=np.int64)) // source[part.in_axis]
    return len(source) == len(shape) and places >= int(np.prod(shape, dtype=np.int64)) // shape[axis]


def _read_by(program: Program, name: str, axis: int) -> list[tuple[Part, Array]]:
    """The first layers of an input, and the numbers along one of its axes as each reads them."""
    parts = {p.node.name: p for p in find_parts(program)}
    shape = program.shapes[name]
    labels = np.arange(shape[axis], dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    states = {name: State((Track(labels, np.ones(labels.shape)),))}
    view = View(program, states, parts)
    found: list[tuple[Part, Array]] = []
    for node in program.nodes:
        if not any(i in states for i in node.inputs):
            continue
        part = parts.get(node.name)
        if part is not None:
            if part.source in states:
                labels = states[part.source].tracks[0].labels
                found.append((part, to_rank(labels, len(program.shapes[part.source]))))
            continue
        states.update(_passed_on(program, node, effect_of(node, view), states))
    return found


def _passed_on(program: Program, node: Node, effect: fx.Effect | None, states: Mapping[str, State]) -> dict[str, State]:
    """Labels of a node's outputs before the first layer; an input is not followed through what adds up its channels."""
    match effect:
        case fx.Move(sources):
            moved = effect.apply([_labels(program, node.inputs[i], states) for i in sources], NONE)
            return {o: State((Track(a, np.ones(a.shape)),)) for o, a in zip(node.outputs, moved, strict=False)}
        case (
            fx.Identity(source=source)
            | fx.Quantise(source=source)
            | fx.Affine(source=source)
            | fx.Activation(source=source)
            | fx.Pool(source=source)
        ):
            state = states.get(node.inputs[source])
            return {} if state is None else {node.outputs[0]: state}
        case fx.Blend(axes=axes, source=source):
            state = states.get(node.inputs[source])
            mixes = state is None or any(varies(t.labels, a) for t in state.tracks for a in axes)
            return {} if state is None or mixes else {node.outputs[0]: state}
        case fx.Sum(sources) | fx.Select(sources):
            return _finest(program, node, sources, states)
        case fx.Gate(value=value, gate=gate):
            return _finest(program, node, (value, gate), states)
        case fx.Normalise(source=source):
            return _finest(program, node, (source,), states)
        case fx.Reduce() | fx.Mix():
            return {}  # mixes
        case fx.Layer() | fx.Product() | fx.Linear() | fx.Held() | fx.Barrier() | None:
            return {}  # no channels of the input behind it, or none that are known
        case _:
            assert_never(effect)


def _labels(program: Program, name: str, states: Mapping[str, State]) -> Array:
    """Labels of a tensor; of one without, those of no kernel."""
    state = states.get(name)
    if state is not None:
        return state.tracks[0].labels
    rank = len(program.shapes[name] if name in program.shapes else program.constant(name).shape)
    return np.full((1,) * rank, NONE, np.int64)


def _finest(program: Program, node: Node, sources: Sequence[int], states: Mapping[str, State]) -> dict[str, State]:
    """Labels of what is made element by element from several tensors: those that tell most elements apart."""
    rank = len(program.shapes[node.outputs[0]])
    found = [to_rank(states[n].tracks[0].labels, rank) for i in sources if (n := node.inputs[i]) in states]
    best = max(found, key=lambda a: a.size, default=None)
    return {} if best is None else {node.outputs[0]: State((Track(best, np.ones(best.shape)),))}
