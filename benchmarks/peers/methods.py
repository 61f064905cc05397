"""Others' methods as one score for each kernel of each layer, towards the class less the mean of the others.

Gradient x activation, integrated gradients over the layer's own feature (Sundararajan et al. 2017) and Grad-CAM's
weights (Selvaraju et al. 2017) need gradients alone. DeepLIFT's rescale rule (Shrikumar et al. 2017) and AttnLRP
(Achtibat et al. 2024) replace operators by others of the same value whose gradient is the rule's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.peers.graph import OPERATORS, Node, Replacement, TorchGraph, Values

STEPS = 8
"""Midpoints of integrated gradients."""
NEAR = 1e-6
"""Closer than this to its reference an activation has its slope in place of a quotient."""

ACTIVATIONS = frozenset({
    "Relu", "Sigmoid", "Tanh", "Gelu", "HardSwish", "HardSigmoid", "Softplus", "LeakyRelu", "Clip", "Erf", "Exp",
})  # fmt: skip
NORMS = frozenset({"LayerNormalization", "InstanceNormalization", "GroupNormalization"})


@dataclass(frozen=True)
class Question:
    """A clip, a class, and the layers asked about.

    Attributes:
        graph: The network.
        feeds: Its inputs.
        index: The class.
        target: Tensor of the logits.
        axis: Axis of the classes in it.
        features: For each layer the tensor where its kernels are judged, and their axis.
    """

    graph: TorchGraph
    feeds: Values
    index: int
    target: str
    axis: int
    features: Sequence[tuple[str, int]]

    def weights(self, classes: int) -> Tensor:
        """Of each logit in the margin: 1 for the class, the others' mean taken off."""
        weights = torch.full((classes,), -1 / max(1, classes - 1))
        weights[self.index] = 1.0
        return weights

    def logits(self, found: Mapping[str, Tensor]) -> Tensor:
        """Logits of each item, ``(batch, classes)``; positions are averaged."""
        value = found[self.target].movedim(self.axis, 1)
        return value.reshape(*value.shape[:2], -1).mean(dim=2)

    def margins(self, found: Mapping[str, Tensor]) -> Tensor:
        """The margin of each item, ``(batch,)``."""
        logits = self.logits(found)
        return logits @ self.weights(logits.shape[1])

    def run(self, replace: Replacement | None = None) -> Values:
        """All tensors, with what gradients need."""
        feeds = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in self.feeds.items()}
        return self.graph.run(feeds, replace=replace)

    def gradients(self, found: Values) -> list[Tensor]:
        """Of the margin with respect to every feature; zeros where it does not reach."""
        tensors = [found[name] for name, _ in self.features]
        made = torch.autograd.grad(self.margins(found).sum(), tensors, allow_unused=True)
        return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, made, strict=True)]

    def per_kernel(self, values: Sequence[Tensor], how: str = "sum") -> list[Tensor]:
        """Sum or mean over all but the kernels, for each layer."""
        pairs = zip(values, self.features, strict=True)
        return [getattr(v.detach().movedim(axis, 0).flatten(1).double(), how)(dim=1) for v, (_, axis) in pairs]


def gradient_times_activation(q: Question) -> list[Tensor]:
    """Sum over positions of gradient times value."""
    found = q.run()
    return q.per_kernel([g * found[name] for g, (name, _) in zip(q.gradients(found), q.features, strict=True)])


def grad_cam(q: Question) -> list[Tensor]:
    """Mean gradient of the map times its mean: what Grad-CAM weights a map with, and how much of it there is."""
    found = q.run()
    weights = q.per_kernel(q.gradients(found), "mean")
    means = q.per_kernel([found[name] for name, _ in q.features], "mean")
    return [w * m for w, m in zip(weights, means, strict=True)]


def layer_integrated_gradients(q: Question) -> list[Tensor]:
    """Gradients along the straight line from a feature of zeros, times the feature; all else as it was."""
    found = {k: v.detach() for k, v in q.run().items()}
    return q.per_kernel([_integrated(q, found, name) * found[name] for name, _ in q.features])


def _integrated(q: Question, found: Values, name: str) -> Tensor:
    """Mean gradient with respect to a feature, over the midpoints; in one batch where the network allows it."""
    graph, value = q.graph, found[name]
    steps = (torch.arange(STEPS) + 0.5) / STEPS
    changed = graph.behind(name)
    fixed = {n for n in found if n not in changed}
    kept = {n: found[n] for n in fixed}
    try:
        scaled = (steps.reshape(-1, *[1] * (value.ndim - 1)) * value).requires_grad_()
        many = {n: v.expand(STEPS, *v.shape[1:]) if _repeats(graph, n, v) else v for n, v in kept.items()}
        margins = q.margins(graph.run({**many, name: scaled}, fixed=fixed))
        if len(margins) == STEPS:
            (gradient,) = torch.autograd.grad(margins.sum(), scaled)
            return gradient.mean(dim=0, keepdim=True)
    except RuntimeError:  # a size of 1 is built in
        pass
    total = torch.zeros_like(value)
    for step in steps:
        scaled = (step * value).requires_grad_()
        margin = q.margins(graph.run({**kept, name: scaled}, fixed=fixed)).sum()
        total += torch.autograd.grad(margin, scaled)[0]
    return total / STEPS


def _repeats(graph: TorchGraph, name: str, value: Tensor) -> bool:
    return name in graph.dynamic and value.ndim > 1 and value.shape[0] == 1 and value.is_floating_point()


# ---------------------------------------------------------------------------------- replaced operators


def with_slope(y: Tensor, pairs: Sequence[tuple[Tensor, Tensor | float]]) -> Tensor:
    """The value of y, with the given factors as its gradients with respect to the given tensors."""
    out = y.detach()
    for x, factor in pairs:
        out = out + factor * (x - x.detach())
    return out


def _slope(node: Node, x: Sequence[Tensor]) -> Tensor:
    """The derivative of an activation."""
    with torch.enable_grad():
        point = x[0].detach().requires_grad_()
        y = OPERATORS[node.op](node.attributes, [point, *x[1:]])
        assert isinstance(y, Tensor)
        return torch.autograd.grad(y.sum(), point)[0]


def _quotient(node: Node, x: Sequence[Tensor], x0: Tensor | float, y0: Tensor | float) -> Tensor:
    """An activation whose gradient is (y - y0) / (x - x0)."""
    y = OPERATORS[node.op](node.attributes, x)
    assert isinstance(y, Tensor)
    apart = (x[0] - x0).detach()
    near = apart.abs() < NEAR
    factor = torch.where(near, _slope(node, x), (y - y0).detach() / torch.where(near, torch.ones(()), apart))
    return with_slope(y, [(x[0], factor)])


def deep_lift(q: Question) -> list[Tensor]:
    """DeepLIFT's rescale rule at activations, plain gradients elsewhere; the reference is a clip of zeros."""
    reference = {k: v.detach() for k, v in q.graph.run({k: torch.zeros_like(v) for k, v in q.feeds.items()}).items()}

    def replace(node: Node, x: Sequence[Tensor]) -> Tensor | None:
        if node.op in ACTIVATIONS and node.inputs[0] in q.graph.dynamic:
            return _quotient(node, x, reference[node.inputs[0]], reference[node.outputs[0]])
        return None

    found = q.run(replace)
    apart = [found[name] - reference[name] for name, _ in q.features]
    return q.per_kernel([g * a for g, a in zip(q.gradients(found), apart, strict=True)])


def attn_lrp(q: Question) -> list[Tensor]:
    """AttnLRP as gradient times value: secants, norms with their deviation held, products shared in halves."""
    found = q.run(lambda node, x: _attn_lrp(q.graph, node, x))
    return q.per_kernel([g * found[name] for g, (name, _) in zip(q.gradients(found), q.features, strict=True)])


def _attn_lrp(graph: TorchGraph, node: Node, x: Sequence[Tensor]) -> Tensor | None:
    dynamic = [i in graph.dynamic for i in node.inputs]
    if node.op in ACTIVATIONS and dynamic[0]:
        return _quotient(node, x, 0.0, OPERATORS[node.op](node.attributes, [torch.zeros(()), *x[1:]]))
    if node.op in NORMS:
        return held_norm(node, x)
    if node.op in {"MatMul", "Mul", "Einsum"} and all(dynamic[:2]):
        y = OPERATORS[node.op](node.attributes, x)
        assert isinstance(y, Tensor)
        return y.detach() + (y - y.detach()) / 2
    if node.op == "Div" and dynamic[1]:
        return x[0] / x[1].detach()
    return None


def held_norm(node: Node, x: Sequence[Tensor]) -> Tensor:
    """A norm whose deviation has no gradient."""
    y = OPERATORS[node.op](node.attributes, x)
    assert isinstance(y, Tensor)
    v, epsilon = x[0], node.attributes.get("epsilon", 1e-5)
    if node.op == "LayerNormalization":
        axes = tuple(range(node.attributes.get("axis", -1) % v.ndim, v.ndim))
        scale, view = x[1], v
    else:
        groups = node.attributes.get("num_groups", v.shape[1])
        view, axes = v.reshape(v.shape[0], groups, -1), (2,)
        scale = x[1].repeat_interleave(v.shape[1] // x[1].numel()).reshape(1, -1, *[1] * (v.ndim - 2))
    deviation = (view.var(dim=axes, keepdim=True, unbiased=False) + epsilon).sqrt().detach()
    centred = ((view - view.mean(dim=axes, keepdim=True)) / deviation).reshape(v.shape) * scale
    return y.detach() + (centred - centred.detach())


METHODS: dict[str, Callable[[Question], list[Tensor]]] = {
    "gradient x activation": gradient_times_activation,
    "layer integrated gradients": layer_integrated_gradients,
    "DeepLIFT rescale": deep_lift,
    "Grad-CAM": grad_cam,
}
"""For any network."""

WITH_ATTENTION: dict[str, Callable[[Question], list[Tensor]]] = {"AttnLRP": attn_lrp}
"""For networks with a Softmax inside."""
