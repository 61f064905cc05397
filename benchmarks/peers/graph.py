"""An ONNX graph in PyTorch: all tensors by name, gradients with respect to any, operators that can be replaced.

Only what the zoo's networks use is here; anything else is refused by name. Needs PyTorch and ONNX, not the runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional

Values = dict[str, Tensor]
Attributes = Mapping[str, Any]
Operator = Callable[[Attributes, Sequence[Tensor]], Tensor | tuple[Tensor, ...]]
"""Attributes and inputs to the output; inputs that are left out are empty tensors."""
Replacement = Callable[["Node", Sequence[Tensor]], Tensor | None]
"""A node and its inputs to its output; None where the operator itself is to run."""

OPERATORS: dict[str, Operator] = {}


class Node:
    """A call of an operator.

    Attributes:
        op: The operator.
        inputs: Names; empty where left out.
        outputs: Names.
        attributes: By name.
    """

    def __init__(self, proto: onnx.NodeProto) -> None:
        self.op = proto.op_type
        self.inputs, self.outputs = tuple(proto.input), tuple(proto.output)
        self.attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}


class TorchGraph:
    """A network that can be run from its input, or from any tensor on.

    Args:
        path: An ONNX file, weights inside.

    Attributes:
        nodes: Those that depend on the clip, in order.
        constants: Initializers, and what is computed from them alone.
        dynamic: Names of the tensors that depend on the clip.

    Raises:
        NotImplementedError: If the network uses an operator that is not here.
    """

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        nodes = [Node(n) for n in graph.node]
        if unknown := {n.op for n in nodes} - OPERATORS.keys():
            raise NotImplementedError(f"no {', '.join(sorted(unknown))} in PyTorch here")
        self.constants: Values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        self.dynamic = {i.name for i in graph.input} - self.constants.keys()
        self.nodes: list[Node] = []
        for node in nodes:
            if any(i in self.dynamic for i in node.inputs):
                self.dynamic.update(node.outputs)
                self.nodes.append(node)
            else:
                self.constants.update(_called(node, self.constants))
        self.consumers: dict[str, int] = {}
        for node in self.nodes:
            for name in node.inputs:
                self.consumers[name] = self.consumers.get(name, 0) + 1

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is a weight or computed from weights alone."""
        return bool(name) and name not in self.dynamic

    def run(
        self, values: Mapping[str, Tensor], *, fixed: Collection[str] = (), replace: Replacement | None = None
    ) -> Values:
        """All tensors.

        Args:
            values: What is fed, and tensors that are known.
            fixed: Names of those that are kept although a node makes them.
            replace: Stands in for operators.
        """
        found: Values = {**self.constants, **values}
        for node in self.nodes:
            if all(o in fixed for o in node.outputs if o):
                continue
            made = _called(node, found, replace)
            found.update((name, value) for name, value in made.items() if name not in fixed)
        return found

    def behind(self, tensor: str) -> set[str]:
        """Tensors that depend on a tensor."""
        found = {tensor}
        for node in self.nodes:
            if any(i in found for i in node.inputs):
                found.update(o for o in node.outputs if o)
        return found - {tensor}


def _called(node: Node, found: Mapping[str, Tensor], replace: Replacement | None = None) -> Values:
    """A node's outputs by name."""
    inputs = [found[i] if i else torch.empty(0) for i in node.inputs]
    made = replace(node, inputs) if replace is not None else None
    if made is None:
        made = OPERATORS[node.op](node.attributes, inputs)
    outputs = made if isinstance(made, tuple) else (made,)
    return {name: value for name, value in zip(node.outputs, outputs, strict=False) if name}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register an operator under its names."""

    def register(function: Operator) -> Operator:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"operator {name} is there already")
            OPERATORS[name] = function
        return function

    return register


def _plain(function: Callable[..., Tensor]) -> Operator:
    return lambda _, x: function(*x)


OPERATORS.update(
    {
        "Add": _plain(torch.add), "Sub": _plain(torch.sub), "Mul": _plain(torch.mul),
        "Relu": _plain(torch.relu), "Sigmoid": _plain(torch.sigmoid), "Tanh": _plain(torch.tanh),
        "Erf": _plain(torch.erf), "Sqrt": _plain(torch.sqrt), "Exp": _plain(torch.exp), "Neg": _plain(torch.neg),
        "HardSwish": _plain(functional.hardswish), "Softplus": _plain(functional.softplus),
        "Identity": _plain(lambda x: x), "Reciprocal": _plain(torch.reciprocal), "MatMul": _plain(torch.matmul),
        "Pow": _plain(torch.pow), "Equal": _plain(torch.eq), "Where": _plain(torch.where),
        "GlobalAveragePool": _plain(lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)),
        "GlobalMaxPool": _plain(lambda x: x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)),
    }
)  # fmt: skip

_KINDS = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}


def _integers(x: Sequence[Tensor], index: int, attributes: Attributes, name: str) -> list[int] | None:
    """Integers that newer opsets give as an input and older ones as an attribute."""
    if index < len(x) and x[index].numel():
        return [int(v) for v in x[index].reshape(-1).tolist()]
    return list(attributes[name]) if name in attributes else None


@operator("Div")
def _div(_: Attributes, x: Sequence[Tensor]) -> Tensor:
    whole = not (x[0].is_floating_point() or x[1].is_floating_point())
    return torch.div(x[0], x[1], rounding_mode="trunc" if whole else None)


@operator("Constant")
def _constant(a: Attributes, _: Sequence[Tensor]) -> Tensor:
    (name, value), *_rest = a.items()
    if name == "value":
        return torch.from_numpy(np.array(numpy_helper.to_array(value)))
    return torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64)


@operator("Cast")
def _cast(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return x[0].to(_KINDS[a["to"]])


@operator("Shape")
def _shape(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return torch.tensor(x[0].shape)[a.get("start", 0) : a.get("end")]


@operator("ConstantOfShape")
def _filled(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    value = torch.from_numpy(np.array(numpy_helper.to_array(a["value"]))) if "value" in a else torch.zeros(1)
    return value.reshape(()).expand(x[0].tolist())


@operator("Gelu")
def _gelu(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return functional.gelu(x[0], approximate=a.get("approximate", b"none").decode())


@operator("HardSigmoid")
def _hard_sigmoid(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return (x[0] * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1)


@operator("LeakyRelu")
def _leaky(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return functional.leaky_relu(x[0], a.get("alpha", 0.01))


@operator("Clip")
def _clip(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    low, high = (float(x[i]) if i < len(x) and x[i].numel() else a.get(n) for i, n in ((1, "min"), (2, "max")))
    return x[0].clamp(low, high)


@operator("Softmax")
def _softmax(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return x[0].softmax(a.get("axis", -1))


# Weighted operators and norms.


def _padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    half = len(pads) // 2
    if not any(pads):
        return x
    turned = [p for axis in reversed(range(half)) for p in (pads[axis], pads[axis + half])]
    return functional.pad(x, turned, value=value)


def _spatial(a: Attributes, x: Tensor) -> tuple[int, list[int]]:
    """Number of spatial axes, and the paddings of both of their sides."""
    if a.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise NotImplementedError("automatic padding")
    rank = x.ndim - 2
    return rank, list(a.get("pads", [0] * 2 * rank))


@operator("Conv")
def _conv(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    rank, pads = _spatial(a, x[0])
    run = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    bias = x[2] if len(x) > 2 and x[2].numel() else None
    strides, dilations = list(a.get("strides", [1] * rank)), list(a.get("dilations", [1] * rank))
    return run(_padded(x[0], pads), x[1], bias, strides, 0, dilations, a.get("group", 1))


@operator("Gemm")
def _gemm(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    left = x[0].transpose(0, 1) if a.get("transA", 0) else x[0]
    right = x[1].transpose(0, 1) if a.get("transB", 0) else x[1]
    y = a.get("alpha", 1.0) * (left @ right)
    return y + a.get("beta", 1.0) * x[2] if len(x) > 2 and x[2].numel() else y


@operator("Einsum")
def _einsum(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return torch.einsum(a["equation"].decode(), *x)


@operator("BatchNormalization")
def _batch_norm(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return functional.batch_norm(x[0], x[3], x[4], x[1], x[2], eps=a.get("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_norm(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    shape = x[0].shape[a.get("axis", -1) % x[0].ndim :]
    offset = x[2] if len(x) > 2 and x[2].numel() else None
    return functional.layer_norm(x[0], shape, x[1], offset, a.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance_norm(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return functional.instance_norm(x[0], weight=x[1], bias=x[2], eps=a.get("epsilon", 1e-5))


@operator("GroupNormalization")
def _group_norm(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    each = x[0].shape[1] // x[1].numel()
    scale, offset = (v.repeat_interleave(each) for v in x[1:3])
    return functional.group_norm(x[0], a["num_groups"], scale, offset, a.get("epsilon", 1e-5))


# Pools and reductions.


@operator("MaxPool")
def _max_pool(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    rank, pads = _spatial(a, x[0])
    run = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
    return run(_padded(x[0], pads, -math.inf), list(a["kernel_shape"]), list(a.get("strides", [1] * rank)))


@operator("AveragePool")
def _average_pool(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    rank, pads = _spatial(a, x[0])
    if any(pads) and not a.get("count_include_pad", 0):
        raise NotImplementedError("an average that leaves its padding out")
    run: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[rank - 1]
    return run(_padded(x[0], pads), list(a["kernel_shape"]), list(a.get("strides", [1] * rank)))


def _reduction(function: Callable[..., Tensor]) -> Operator:
    def run(a: Attributes, x: Sequence[Tensor]) -> Tensor:
        axes = _integers(x, 1, a, "axes") or list(range(x[0].ndim))
        return function(x[0], dim=axes, keepdim=bool(a.get("keepdims", 1)))

    return run


OPERATORS.update({"ReduceMean": _reduction(torch.mean), "ReduceSum": _reduction(torch.sum)})
OPERATORS.update({"ReduceMax": _reduction(torch.amax), "ReduceMin": _reduction(torch.amin)})


# Movements.


@operator("Reshape")
def _reshape(_: Attributes, x: Sequence[Tensor]) -> Tensor:
    shape = [x[0].shape[n] if s == 0 else s for n, s in enumerate(x[1].tolist())]
    return x[0].reshape(shape)


@operator("Flatten")
def _flatten(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return x[0].reshape(math.prod(x[0].shape[: a.get("axis", 1)]), -1)


@operator("Transpose")
def _transpose(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return x[0].permute(list(a.get("perm", range(x[0].ndim)[::-1])))


@operator("Concat")
def _concat(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(x), dim=a["axis"])


@operator("Split")
def _split(a: Attributes, x: Sequence[Tensor]) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    sizes = _integers(x, 1, a, "split")
    return x[0].split(sizes, axis) if sizes else x[0].chunk(a["num_outputs"], axis)


@operator("Slice")
def _slice(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    starts, ends = (_integers(x, n, a, name) or [] for n, name in ((1, "starts"), (2, "ends")))
    axes = _integers(x, 3, a, "axes") or list(range(len(starts)))
    steps = _integers(x, 4, a, "steps") or [1] * len(starts)
    y = x[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0:
            raise NotImplementedError("slices that run backwards")
        y = y.index_select(axis, torch.arange(y.shape[axis])[start:end:step])
    return y


@operator("Gather")
def _gather(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    axis, places = a.get("axis", 0) % max(1, x[0].ndim), x[1]
    places = torch.where(places < 0, places + x[0].shape[axis], places)
    shape = (*x[0].shape[:axis], *places.shape, *x[0].shape[axis + 1 :])
    return x[0].index_select(axis, places.reshape(-1)).reshape(shape)


@operator("Squeeze")
def _squeeze(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    axes = _integers(x, 1, a, "axes")
    return x[0].squeeze() if axes is None else x[0].squeeze(axes)


@operator("Unsqueeze")
def _unsqueeze(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    axes = _integers(x, 1, a, "axes") or []
    y, rank = x[0], x[0].ndim + len(axes)
    for axis in sorted(n % rank for n in axes):
        y = y.unsqueeze(axis)
    return y


@operator("Expand")
def _expand(_: Attributes, x: Sequence[Tensor]) -> Tensor:
    return x[0].expand(torch.broadcast_shapes(x[0].shape, tuple(x[1].tolist())))


@operator("Pad")
def _pad(a: Attributes, x: Sequence[Tensor]) -> Tensor:
    if a.get("mode", b"constant") != b"constant" or (len(x) > 3 and x[3].numel()):
        raise NotImplementedError("padding other than with a constant on all axes")
    value = float(x[2]) if len(x) > 2 and x[2].numel() else 0.0
    return _padded(x[0], x[1].tolist(), value)
