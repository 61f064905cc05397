"""Fibers: parallel convolutions between a Split and a Concat that together are one grouped convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cfp_onnx.graph.parts import Part
from cfp_onnx.model import Node, Program

MOVES_ONLY = frozenset({"Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast"})


@dataclass(frozen=True)
class Fibers:
    """Parallel convolutions between a Split and a Concat that are one grouped convolution.

    Attributes:
        parts: The convolutions, in the order of their kernels.
        source: The tensor before the Split.
        output: The tensor after the Concat.
        nodes: Names of all nodes in between, Split and Concat included.
    """

    parts: tuple[Part, ...]
    source: str
    output: str
    nodes: tuple[str, ...]


def find_fibers(program: Program, parts: list[Part]) -> list[Fibers]:
    """Sets of parts that together are one grouped convolution."""
    by_output = {p.output: p for p in parts}
    found = []
    for node in program.nodes:
        if node.op == "Concat" and len(node.inputs) > 1:
            fibers = _fibers_of(program, node, by_output)
            if fibers is not None:
                found.append(fibers)
    return found


def _fibers_of(program: Program, concat: Node, by_output: Mapping[str, Part]) -> Fibers | None:
    parts: list[Part] = []
    between: list[str] = []
    cuts: list[tuple[Node, int, str]] = []
    for name in concat.inputs:
        part, names = _back_to_part(program, name, by_output)
        if part is None or part.kind != "conv" or part.groups != 1:
            return None
        cut = _back_to_cut(program, part.source)
        if cut is None:
            return None
        parts.append(part)
        between += [*cut[2], *part.nodes, *names]
        cuts.append((cut[0], cut[1], cut[0].inputs[0]))
    same = {(p.geometry, p.kernels, p.channels) for p in parts}
    if len(same) != 1 or len({c[2] for c in cuts}) != 1:
        return None
    starts = [c[1] for c in cuts]
    width = parts[0].channels
    if starts != [i * width for i in range(len(parts))]:
        return None
    split = dict.fromkeys(c[0].name for c in cuts)
    members = tuple(dict.fromkeys([*split, *between, concat.name]))
    return Fibers(tuple(parts), cuts[0][2], concat.outputs[0], members)


def _back_to_part(program: Program, tensor: str, by_output: Mapping[str, Part]) -> tuple[Part | None, list[str]]:
    names: list[str] = []
    while tensor not in by_output:
        made = program.producers.get(tensor)
        if made is None or made.op not in MOVES_ONLY:
            return None, []
        names.append(made.name)
        tensor = made.inputs[0]
    return by_output[tensor], names


def _back_to_cut(program: Program, tensor: str) -> tuple[Node, int, list[str]] | None:
    """The Split or Slice a tensor comes from, and the first channel it takes."""
    names: list[str] = []
    while (made := program.producers.get(tensor)) is not None and made.op in MOVES_ONLY:
        names.append(made.name)
        tensor = made.inputs[0]
    if made is None:
        return None
    if made.op == "Split":
        axis = int(made.attributes.get("axis", 0))
        sizes = [program.shapes[o][axis] for o in made.outputs]
        return made, sum(sizes[: made.outputs.index(tensor)]), names
    if made.op == "Slice" and program.is_constant(made.input(1)):
        starts = program.constant(made.input(1)).reshape(-1)
        return (made, int(starts[0]), [*names, made.name]) if starts.size == 1 else None
    return None
