"""LRP-epsilon by zennit (Anders et al. 2021): its own rules on modules made from the graph's operators.

Epsilon stands on weighted operators, with batch norms folded into them, Norm on sums and means, Pass on activations;
a gate hands everything to what it scales. Zennit has no rule for normalisation over channels or for attention.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.graph import OPERATORS, Node, TorchGraph
from benchmarks.peers.methods import ACTIVATIONS, NORMS, Question

SUMS = frozenset({"Add", "AveragePool", "GlobalAveragePool", "ReduceMean"})


def suits(graph: TorchGraph) -> bool:
    """Whether zennit has a rule for every operator that needs one."""
    none = {*NORMS, "Softmax", "Einsum", "Div"}
    steers = any(n.op == "MatMul" and all(i in graph.dynamic for i in n.inputs[:2]) for n in graph.nodes)
    return not steers and not any(n.op in none and n.outputs[0] in graph.dynamic for n in graph.nodes)


def rules() -> Any:
    """The module ``zennit.rules``, without what the package imports besides: it asks for torchvision.

    Raises:
        ModuleNotFoundError: If zennit is not installed.
    """
    if "zennit" not in sys.modules:
        spec = importlib.util.find_spec("zennit")
        if spec is None:
            raise ModuleNotFoundError("zennit", name="zennit")
        sys.modules["zennit"] = importlib.util.module_from_spec(spec)
    return importlib.import_module("zennit.rules")


class Operation(nn.Module):
    """A call of an operator as a module of its one dynamic input.

    Args:
        node: The call.
        constants: Its other inputs, None for the dynamic one; weights become parameters, by the names zennit expects.
    """

    def __init__(self, node: Node, constants: Sequence[Tensor | None]) -> None:
        super().__init__()
        self.node, self.count = node, len(constants)
        self.place = next(n for n, c in enumerate(constants) if c is None)
        for n, value in enumerate(constants):
            if value is not None and value.is_floating_point():
                self.register_parameter("bias" if n == 2 else f"weight{n}", nn.Parameter(value, requires_grad=False))
            elif value is not None:
                self.register_buffer(f"constant{n}", value)

    def forward(self, dynamic: Tensor) -> Tensor:
        """The operator's output."""
        own = {n: getattr(self, name) for n in range(self.count) for name in self._names(n) if hasattr(self, name)}
        inputs = {**own, self.place: dynamic}
        y = OPERATORS[self.node.op](self.node.attributes, [inputs[n] for n in range(self.count)])
        assert isinstance(y, Tensor)
        return y

    @staticmethod
    def _names(n: int) -> tuple[str, ...]:
        return ("bias", "constant2") if n == 2 else (f"weight{n}", f"constant{n}")


class Scaled(nn.Module):
    """A batch norm that follows no convolution.

    Args:
        norm: Its node.
        x: Its inputs.
    """

    def __init__(self, norm: Node, x: Sequence[Tensor]) -> None:
        super().__init__()
        factor, offset = affine(norm, x[1:])
        along = (1, -1, *[1] * (x[0].ndim - 2))
        self.weight = nn.Parameter(factor.reshape(along), requires_grad=False)
        self.bias = nn.Parameter(offset.reshape(along), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, ...)`` to the same shape."""
        return x * self.weight + self.bias


def affine(norm: Node, x: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Factor and offset of a batch norm, ``(C,)`` each, from its scale, offset, mean and variance."""
    factor = x[0] / (x[3] + norm.attributes.get("epsilon", 1e-5)).sqrt()
    return factor, x[1] - x[2] * factor


class Summed(nn.Module):
    """The sum over a last axis: zennit's rules take one tensor."""

    def forward(self, addends: Tensor) -> Tensor:
        """Map ``(..., addends)`` to ``(...)``."""
        return addends.sum(dim=-1)


class Epsilon:
    """The replacement that makes gradients relevance.

    Args:
        graph: The network.
    """

    def __init__(self, graph: TorchGraph) -> None:
        self.graph = graph
        self.rules = rules()
        self.folded = {n.inputs[0]: n for n in graph.nodes if n.op == "BatchNormalization" and self._folds(n)}
        self._modules: dict[str, nn.Module] = {}

    def _folds(self, norm: Node) -> bool:
        made = next((n for n in self.graph.nodes if norm.inputs[0] in n.outputs), None)
        return made is not None and made.op == "Conv" and self.graph.consumers[norm.inputs[0]] == 1

    def __call__(self, node: Node, x: Sequence[Tensor]) -> Tensor | None:
        """Run a node as a module with its rule; None where its gradient is its relevance already."""
        dynamic = [i in self.graph.dynamic for i in node.inputs]
        if not any(dynamic):
            return None
        if node.op == "BatchNormalization" and node.inputs[0] in self.folded:
            return x[0]  # its convolution has done it
        if node.op == "Mul" and all(dynamic[:2]):
            carrier, gate = (0, 1) if x[0].numel() >= x[1].numel() else (1, 0)
            return x[carrier] + (x[carrier] * x[gate] - x[carrier]).detach()
        rule = self._rule(node, dynamic)
        if rule is None:
            return None
        several = node.op == "Add"
        if node.outputs[0] not in self._modules:
            module = Summed() if several else self._operation(node, dynamic, x)
            rule.register(module)
            self._modules[node.outputs[0]] = module
        moving = [v for v, d in zip(x, dynamic, strict=True) if d]
        joined = torch.stack(torch.broadcast_tensors(*moving), dim=-1) if several else moving[0]
        y = self._modules[node.outputs[0]](joined)
        assert isinstance(y, Tensor)
        return y

    def _operation(self, node: Node, dynamic: Sequence[bool], x: Sequence[Tensor]) -> nn.Module:
        if node.op == "BatchNormalization":
            return Scaled(node, x)
        whole = self._constants(node, x)
        return Operation(node, [None if n < len(dynamic) and dynamic[n] else c for n, c in enumerate(whole)])

    def _rule(self, node: Node, dynamic: Sequence[bool]) -> Any:
        if node.op in {"Conv", "Gemm", "MatMul", "BatchNormalization"}:
            return self.rules.Epsilon()
        if node.op in ACTIVATIONS or node.op == "Mul":
            return self.rules.Pass()
        if node.op in SUMS and (node.op != "Add" or all(dynamic)):
            return self.rules.Norm()
        return None

    def _constants(self, node: Node, x: Sequence[Tensor]) -> list[Tensor]:
        """A node's inputs, the batch norm behind it in its weights."""
        norm = self.folded.get(node.outputs[0])
        if node.op != "Conv" or norm is None:
            return list(x)
        factor, offset = affine(norm, [self.graph.constants[i] for i in norm.inputs[1:5]])
        bias = x[2] * factor + offset if len(x) > 2 and x[2].numel() else offset
        return [x[0], x[1] * factor.reshape(-1, *[1] * (x[1].ndim - 1)), bias]


def zennit_epsilon(q: Question) -> list[Tensor]:
    """Relevance at each feature, summed over its positions; it starts as the margin's terms, weight times logit."""
    found = q.run(Epsilon(q.graph))
    logits = q.logits(found)
    tensors = [found[name] for name, _ in q.features]
    start = q.weights(logits.shape[1]) * logits.detach()
    made = torch.autograd.grad(logits, tensors, start, allow_unused=True)
    return q.per_kernel([torch.zeros_like(t) if g is None else g for t, g in zip(tensors, made, strict=True)])
