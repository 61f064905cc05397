"""A model at one input size: the nodes that depend on the input, and the value of everything that does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from cfp_onnx.errors import ModelError
from cfp_onnx.model.constants import evaluate
from cfp_onnx.model.dtypes import tensor_dtypes
from cfp_onnx.model.nodes import canonical_nodes
from cfp_onnx.model.values import Model, Node
from cfp_onnx.values import Array

_SHAPE_ONLY = frozenset({"Shape", "Size"})


_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


class Program:
    """A model at one input size: what depends on the clip, and the value of everything that does not.

    Attributes:
        model: The file it came from.
        nodes: Nodes whose output depends on the values of an input, in execution order.
        shapes: Observed shape of every tensor such a node reads or writes.
        answers: The model's float32 outputs where the shapes were observed; none of a model that was rewritten.
        producers: Tensor to the node that makes it.
        places: Tensor to where in that order it is made.
        consumers: Tensor to the nodes that read it.
    """

    def __init__(
        self, model: Model, shapes: Mapping[str, tuple[int, ...]], answers: Mapping[str, Array] | None = None
    ) -> None:
        self.model = model
        self.answers = dict(answers or {})
        self._initializers = dict(model.graph.graph.initializers)
        self._cache: dict[str, Array] = {}
        self._static_nodes: dict[str, Node] = {}
        self.shapes: dict[str, tuple[int, ...]] = dict(shapes)
        dynamic: list[Node] = []
        live = {p.name for p in model.inputs}
        for node in canonical_nodes(model):
            depends = any(i in live for i in node.inputs) and node.op not in _SHAPE_ONLY
            if depends or node.op in _RANDOM or _has_graph(node):
                dynamic.append(node)
                live.update(o for o in node.outputs if o)
            else:
                self._static_nodes.update((o, node) for o in node.outputs if o)
        self.nodes = tuple(dynamic)
        self.producers: dict[str, Node] = {o: n for n in self.nodes for o in n.outputs if o}
        self.places = {o: i for i, n in enumerate(self.nodes) for o in n.outputs if o}
        self.consumers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                self.consumers.setdefault(name, []).append(node)
        self.dtypes = tensor_dtypes(self.nodes, {p.name: p.dtype for p in model.inputs}, self._constant_dtype)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor does not depend on the values of an input."""
        return name in self._initializers or name in self._static_nodes

    def constant(self, name: str) -> Array:
        """Value of a tensor that does not depend on the input, following its constant expression.

        Raises:
            ModelError: If it is no constant, or its expression cannot be evaluated within `RESOLVE_LIMIT` bytes.
        """
        if name not in self._cache:
            self._cache[name] = self._resolve(name)
        return self._cache[name]

    def constant_or_none(self, name: str) -> Array | None:
        """`constant`, or None where the tensor is omitted or depends on the input."""
        return self.constant(name) if name and self.is_constant(name) else None

    def stem(self, name: str) -> str:
        """The initializer a constant expression starts from: the largest one that feeds it, else the name itself."""
        found = [i for i in self._sources(name) if i in self._initializers]
        sizes = {i: self._initializers[i].const_value for i in found}
        ranked = sorted(found, key=lambda i: -(t.size if (t := sizes[i]) is not None else 0))
        return ranked[0] if ranked else name

    def _constant_dtype(self, name: str) -> str | None:
        return str(self.constant(name).dtype.name) if name and self.is_constant(name) else None

    def _sources(self, name: str) -> Iterator[str]:
        stack, seen = [name], set()
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            yield current
            if current in self._static_nodes:
                stack.extend(i for i in self._static_nodes[current].inputs if i)

    def _resolve(self, name: str) -> Array:
        """The value of a constant; those that its expression is made of are found first, however long it is."""
        stack = [name]
        while stack:
            current = stack[-1]
            node = self._static_nodes.get(current)
            lacks = [] if node is None or current in self._initializers or node.op in _SHAPE_ONLY else self._lacks(node)
            if lacks:
                stack.extend(lacks)
                continue
            stack.pop()
            if current not in self._cache:
                self._cache[current] = self._own_value(current)
        return self._cache[name]

    def _lacks(self, node: Node) -> list[str]:
        return [i for i in node.inputs if i and i not in self._cache and self.is_constant(i)]

    def _own_value(self, name: str) -> Array:
        """The value of a constant all of whose inputs are known."""
        if name in self._initializers:
            tensor = self._initializers[name].const_value
            if tensor is None:
                raise ModelError(f"{self.model.path}: weight {name!r} has no data; export it with its weights")
            return np.asarray(tensor.numpy())
        node = self._static_nodes.get(name)
        if node is None:
            raise ModelError(
                f"{self.model.path}: tensor {name!r} depends on the input, where only a constant can be followed; "
                "export the model with its weights as constants"
            )
        if node.op in _SHAPE_ONLY:
            return self._shape_value(node)
        values = self._evaluate(node)
        self._cache.update(values)
        return values[name]

    def _shape_value(self, node: Node) -> Array:
        shape = self.shapes.get(node.inputs[0])
        if shape is None:
            shape = self.constant(node.inputs[0]).shape
        if node.op == "Size":
            return np.asarray(np.prod(shape, dtype=np.int64))
        return np.asarray(shape[node.attributes.get("start", 0) : node.attributes.get("end", None)], dtype=np.int64)

    def _evaluate(self, node: Node) -> dict[str, Array]:
        feeds = {i: self.constant(i) for i in node.inputs if i}
        versions = {d or "": v for d, v in self.model.graph.graph.opset_imports.items()}
        return evaluate(node, feeds, versions, self.model.path)


def _has_graph(node: Node) -> bool:
    return any(isinstance(a, ir.Graph) for a in node.attributes.values())
