"""Which layers a walk from a tensor can reach: by all of their paths, by some, or by none because of barriers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, assert_never

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.recurrent import RECURRENT
from cfp_onnx.model import Node, Program

Paths = Literal["all", "some", "none"]
"""How many of a layer's paths to the target can be followed."""


def paths_to(
    program: Program, passing: Mapping[str, fx.Effect], layers: Iterable[KernelLayer], target: str
) -> dict[int, Paths]:
    """For each layer with a path to a tensor: how many of its paths pass no barrier.

    Args:
        program: The network.
        passing: How values pass every node, by name.
        layers: Its layers.
        target: The tensor.

    Returns:
        Layer index to ``all``, ``some`` or ``none``.
    """
    parts = {p.node.name: p for layer in layers for p in layer.parts}
    plain, behind = {target}, set[str]()
    for node in reversed(program.nodes):
        part, effect = parts.get(node.name), passing.get(node.name)
        outputs = [part.output] if part is not None else node.outputs
        if part is not None:  # inside of a recurrent layer the way goes on step by step
            inputs = [node.inputs[0] if part.kind == RECURRENT else part.source]
        else:
            inputs = [] if effect is None else passed_inputs(node, effect)
        barrier = isinstance(effect, fx.Barrier)
        if any(o in plain for o in outputs):
            (behind if barrier else plain).update(inputs)
        if any(o in behind for o in outputs):
            behind.update(inputs)
    found: dict[int, Paths] = {}
    for layer in layers:
        ends = [p.output for p in layer.parts]
        open_, closed = any(e in plain for e in ends), any(e in behind for e in ends)
        if open_ or closed:
            found[layer.index] = "none" if not open_ else "some" if closed else "all"
    return found


def layers_by_value(
    program: Program, passing: Mapping[str, fx.Effect], layers: Iterable[KernelLayer], target: str
) -> frozenset[int]:
    """Layers whose values arrive at a tensor, by some path that is no factor, weight or statistic of another value.

    Args:
        program: The network.
        passing: How values pass every node, by name.
        layers: Its layers.
        target: The tensor.
    """
    listed = list(layers)
    parts = {p.node.name: p for layer in listed for p in layer.parts}
    seen = {target}
    for node in reversed(program.nodes):
        part, effect = parts.get(node.name), passing.get(node.name)
        if part is not None:
            if part.output in seen:
                seen.add(node.inputs[0] if part.kind == RECURRENT else part.source)
        elif effect is not None and any(o in seen for o in node.outputs):
            seen.update(_value_inputs(node, effect))
    return frozenset(layer.index for layer in listed if any(p.output in seen for p in layer.parts))


def _value_inputs(node: Node, effect: fx.Effect) -> list[str]:
    match effect:
        case fx.Barrier():
            return []
        case fx.Gate(value=value) | fx.Mix(value=value):
            return [node.inputs[value]]
        case (
            fx.Identity(source=source) | fx.Quantise(source=source) | fx.Activation(source=source)
            | fx.Affine(source=source) | fx.Pool(source=source) | fx.Blend(source=source) | fx.Reduce(source=source)
            | fx.Normalise(source=source)
        ):  # fmt: skip
            return [node.inputs[source]]
        case _:
            return passed_inputs(node, effect)


def passed_inputs(node: Node, effect: fx.Effect) -> list[str]:
    """Inputs of which a small change reaches the output of a node."""
    match effect:
        case fx.Held():
            return []
        case fx.Move(sources) | fx.Sum(sources) | fx.Select(sources):
            return [node.inputs[i] for i in sources]
        case (
            fx.Layer() | fx.Identity() | fx.Quantise() | fx.Activation() | fx.Affine() | fx.Gate() | fx.Pool()
            | fx.Blend() | fx.Reduce() | fx.Normalise() | fx.Mix() | fx.Product() | fx.Linear()
            | fx.Barrier()
        ):  # fmt: skip
            return [i for i in node.inputs if i]
        case _:
            assert_never(effect)


__all__ = ["Paths", "layers_by_value", "passed_inputs", "paths_to"]
