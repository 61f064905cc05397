"""What a handler may ask about the inputs of its node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.graph.labels import varies
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.states import State
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array


@dataclass(frozen=True)
class View:
    """What a handler may ask about a node's inputs.

    Attributes:
        program: The network.
        states: Labels of the tensors so far.
        parts: Weighted operations, by node.
        steering: Whether the question is how values pass where no channel does; every tensor that depends on the
            model's input then counts as carrying some.
    """

    program: Program
    states: dict[str, State]
    parts: dict[str, Part]
    steering: bool = False

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, constant or not."""
        found = self.program.shapes.get(name)
        return found if found is not None else tuple(self.program.constant(name).shape)

    def constant(self, name: str) -> Array | None:
        """Value of a constant, None where the tensor is omitted or depends on the input."""
        return self.program.constant_or_none(name)

    def carries(self, name: str) -> bool:
        """Whether a tensor has channels."""
        if self.steering:
            return bool(name) and not self.program.is_constant(name)
        state = self.states.get(name)
        return state is not None and bool(state.tracks)

    def depends(self, node: Node, *indexes: int) -> bool:
        """Whether one of some inputs is given and depends on the model's input."""
        return any(name and not self.program.is_constant(name) for name in map(node.input, indexes))

    def varies(self, name: str, axes: Iterable[int]) -> bool:
        """Whether a tensor's channels lie along one of some axes."""
        return any(varies(t.labels, a) for t in self.states.get(name, State()).tracks for a in axes)

    def ints(self, node: Node, attribute: str, index: int) -> tuple[int, ...] | None:
        """Integers given as an attribute (old operator sets) or as a constant input (new ones)."""
        if attribute in node.attributes and node.attributes[attribute] is not None:
            value = node.attributes[attribute]
            return tuple(int(x) for x in (value if isinstance(value, Sequence | np.ndarray) else [value]))
        found = self.constant(node.input(index))
        return None if found is None else tuple(int(x) for x in found.reshape(-1))
