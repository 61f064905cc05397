"""Layers above each tensor: which of several addends is the main path, and which is a shortcut."""

from __future__ import annotations

from collections.abc import Sequence

from cfp_onnx.model import Node


class Ancestry:
    """Layers above each tensor, and the length of the longest chain of them; filled in execution order.

    The layers above a tensor are the bits of one number: a set for each tensor of a deep network would take gigabytes.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self._above: dict[str, int] = dict.fromkeys(inputs, 0)
        self._longest: dict[str, int] = dict.fromkeys(inputs, 0)

    def add(self, node: Node, layer: int | None) -> None:
        """Note a node's outputs; `layer` is the layer that it belongs to."""
        above = 0
        for name in node.inputs:
            above |= self._above.get(name, 0)
        longest = max((self._longest.get(i, 0) for i in node.inputs), default=0)
        if layer is not None:
            above, longest = above | 1 << layer, longest + 1
        for name in node.outputs:
            self._above[name], self._longest[name] = above, longest

    def copy(self, name: str, source: str) -> None:
        """Note a tensor that has the layers of another above it."""
        self._above[name], self._longest[name] = self._above[source], self._longest[source]

    def main_path(self, names: Sequence[str]) -> tuple[int, list[bool]]:
        """Of several addends the place of the main path, and which of them have a chain of layers as long as it."""
        lengths = [self._longest[n] for n in names]
        main = max(range(len(names)), key=lambda i: lengths[i])
        return main, [length == lengths[main] for length in lengths]

    def has_layers(self, names: Sequence[str]) -> bool:
        """Whether a layer stands above one of some tensors."""
        return any(self._above.get(n) for n in names)

    def has_own_layers(self, name: str, main: str) -> bool:
        """Whether a tensor has layers above it that another has not."""
        return bool(self._above[name] & ~self._above[main])
