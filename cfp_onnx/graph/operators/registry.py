"""What each operator does to channels: one registry, one small handler per operator.

A handler takes the node and a `View` of its inputs and returns an effect (`cfp_onnx.graph.effects`). Handled, known
to carry no channels, and unknown are three different things: an operator that is missing here is never guessed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cfp_onnx.errors import ModelError
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.layers import WEIGHTED, Geometry, Part, same_pads
from cfp_onnx.model import Node, Program
from cfp_onnx.values import Array


@dataclass(frozen=True)
class Track:
    """One set of labels a tensor carries; an Add makes several.

    Attributes:
        labels: int64, broadcasts against the tensor; kernel numbers, or `effects.NONE` / `effects.UNKNOWN`.
        share: float64 of the same shape, the part of each element that this track carries.
        via: How it came: ``chain``, ``branch``, ``shortcut`` or ``gate``.
    """

    labels: Array
    share: Array
    via: str = "chain"


@dataclass(frozen=True)
class State:
    """What is known of a tensor.

    Attributes:
        tracks: Its labels.
        side: Origins that influence every element without being a channel of it.
        quantised: Names of the scale and the zero point where it holds integers that stand for real numbers.
    """

    tracks: tuple[Track, ...] = ()
    side: frozenset[int] = frozenset()
    quantised: tuple[str, str] | None = None


@dataclass(frozen=True)
class View:
    """What a handler may ask about a node's inputs."""

    program: Program
    states: dict[str, State]
    parts: dict[str, Part]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, constant or not."""
        found = self.program.shapes.get(name)
        return found if found is not None else tuple(self.program.constant(name).shape)

    def constant(self, name: str) -> Array | None:
        """Value of a constant, None where the tensor is omitted or depends on the input."""
        return self.program.constant_or_none(name)

    def carries(self, name: str) -> bool:
        """Whether a tensor has channels."""
        state = self.states.get(name)
        return state is not None and bool(state.tracks)

    def depends(self, node: Node, *indexes: int) -> bool:
        """Whether one of some inputs is given and depends on the model's input."""
        return any(name and not self.program.is_constant(name) for name in map(node.input, indexes))

    def varies(self, name: str, axes: Iterable[int]) -> bool:
        """Whether a tensor's channels lie along one of some axes."""
        return any(fx.varies(t.labels, a) for t in self.states.get(name, State()).tracks for a in axes)

    def ints(self, node: Node, attribute: str, index: int) -> tuple[int, ...] | None:
        """Integers given as an attribute (old operator sets) or as a constant input (new ones)."""
        if attribute in node.attributes and node.attributes[attribute] is not None:
            value = node.attributes[attribute]
            return tuple(int(x) for x in (value if isinstance(value, Sequence | np.ndarray) else [value]))
        found = self.constant(node.input(index))
        return None if found is None else tuple(int(x) for x in found.reshape(-1))


Handler = Callable[[Node, View], fx.Effect | None]

OPERATORS: dict[str, Handler] = {}
"""Every operator whose effect on channels is known."""


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler under operator names; a name may have one handler only."""

    def register(handler: Handler) -> Handler:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"operator {name} has two handlers")
            OPERATORS[name] = handler
        return handler

    return register


def effect_of(node: Node, view: View) -> fx.Effect | None:
    """The effect of a node, None where its operator is unknown or used in an unknown way."""
    handler = OPERATORS.get(node.op)
    return None if handler is None else handler(node, view)


# ----------------------------------------------------------------------------------------------- in place

IN_PLACE = (
    "Identity", "Cast", "CastLike", "Dropout", "DequantizeLinear", "com.microsoft::DequantizeLinear",
)  # fmt: skip

RECTIFIERS = ("Relu",)

ACTIVATIONS: dict[str, tuple[bool, float, float]] = {
    # operator: (f >= 0 everywhere, f(0), f'(0))
    "Sigmoid": (True, 0.5, 0.25),
    "com.microsoft::QLinearSigmoid": (True, 0.5, 0.25),
    "HardSigmoid": (True, 0.5, 0.2),
    "Softplus": (True, math.log(2.0), 0.5),
    "Exp": (True, 1.0, 1.0),
    "Abs": (True, 0.0, 0.0),
    "Sqrt": (True, 0.0, 0.0),
    "ThresholdedRelu": (True, 0.0, 0.0),
    "LeakyRelu": (False, 0.0, 1.0),
    "com.microsoft::QLinearLeakyRelu": (False, 0.0, 1.0),
    "PRelu": (False, 0.0, 1.0),
    "Elu": (False, 0.0, 1.0),
    "Selu": (False, 0.0, 1.0507009873554805 * 1.6732632423543772),
    "Celu": (False, 0.0, 1.0),
    "Gelu": (False, 0.0, 0.5),
    "com.microsoft::Gelu": (False, 0.0, 0.5),
    "com.microsoft::FastGelu": (False, 0.0, 0.5),
    "com.microsoft::BiasGelu": (False, 0.0, 0.5),
    "com.microsoft::QuickGelu": (False, 0.0, 0.5),
    "HardSwish": (False, 0.0, 0.5),
    "Swish": (False, 0.0, 0.5),
    "Mish": (False, 0.0, 0.6),
    "Tanh": (False, 0.0, 1.0),
    "Softsign": (False, 0.0, 1.0),
    "Erf": (False, 0.0, 2.0 / math.sqrt(math.pi)),
    "Sin": (False, 0.0, 1.0),
    "Atan": (False, 0.0, 1.0),
    "Log": (False, 0.0, 0.0),
    "Reciprocal": (False, 0.0, 0.0),
    "Shrink": (False, 0.0, 0.0),
    "Sign": (False, 0.0, 0.0),
    "Floor": (False, 0.0, 0.0),
    "Ceil": (False, 0.0, 0.0),
    "Round": (False, 0.0, 1.0),
}


_BIASED = frozenset({"com.microsoft::BiasGelu", "com.microsoft::FastGelu"})
"""Activations with a bias inside."""


@operator(*IN_PLACE)
def _identity(_node: Node, _view: View) -> fx.Effect:
    return fx.Identity()


@operator("QuantizeLinear", "com.microsoft::QuantizeLinear", "DynamicQuantizeLinear")
def _quantise(node: Node, _view: View) -> fx.Effect:
    return fx.Identity(mixes=True) if node.op == "DynamicQuantizeLinear" else fx.Quantise()


@operator(*RECTIFIERS)
def _rectifier(_node: Node, _view: View) -> fx.Effect:
    return fx.Activation(nonnegative=True, slope=0.0, rectifier=True)


@operator(*ACTIVATIONS)
def _activation(node: Node, view: View) -> fx.Effect | None:
    bias = 1 if node.op in _BIASED and node.input(1) else None
    if bias is not None and view.depends(node, bias):
        return None
    nonnegative, zero, slope = ACTIVATIONS[node.op]
    if node.op == "HardSigmoid":
        zero, slope = float(node.attributes.get("beta", 0.5)), float(node.attributes.get("alpha", 0.2))
    if node.op == "Selu":
        slope = float(node.attributes.get("gamma", 1.0507009873554805)) * float(
            node.attributes.get("alpha", 1.6732632423543772)
        )
    return fx.Activation(nonnegative=nonnegative, zero=zero, slope=slope, bias=bias)


@operator("Clip")
def _clip(node: Node, view: View) -> fx.Effect | None:
    if view.depends(node, 1, 2):
        return None
    low, high = (_bound(node, view, k, i) for k, i in (("min", 1), ("max", 2)))
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    zero = min(max(0.0, low), high)
    return fx.Activation(
        nonnegative=low >= 0, zero=zero, slope=1.0 if low < 0 < high else 0.0, rectifier=low == 0 and high == math.inf
    )


def _bound(node: Node, view: View, key: str, index: int) -> float | None:
    if key in node.attributes:
        return float(node.attributes[key])
    value = view.constant(node.input(index))
    return None if value is None else float(value.reshape(-1)[0])


@operator("Pow")
def _power(node: Node, view: View) -> fx.Effect | None:
    exponent = view.constant(node.input(1))
    if exponent is None:
        return None
    even = exponent.size == 1 and float(exponent.reshape(-1)[0]) % 2 == 0
    return fx.Activation(nonnegative=even, slope=0.0)


@operator("Softmax", "LogSoftmax", "Hardmax", "com.microsoft::QLinearSoftmax")
def _softmax(node: Node, view: View) -> fx.Effect:
    quantised = node.op.endswith("QLinearSoftmax")
    since = int(node.attributes["opset"]) if quantised else view.program.model.opset
    axis = int(node.attributes.get("axis", 1 if since < 13 and not quantised else -1))
    rank = len(view.shape(node.input(0)))
    axes = (axis % rank,) if since >= 13 else tuple(range(axis % rank, rank))
    return fx.Normalise(axes=axes, centred=False, mixes=True)


# ------------------------------------------------------------------------------------------- arithmetic


@operator("Add", "Sum", "com.microsoft::QLinearAdd")
def _add(node: Node, view: View) -> fx.Effect:
    indexes = (0, 3) if node.op.endswith("QLinearAdd") else tuple(range(len(node.inputs)))
    return _addends(node, view, indexes, (1,) * len(indexes))


@operator("Sub")
def _sub(node: Node, view: View) -> fx.Effect:
    return _addends(node, view, (0, 1), (1, -1))


@operator("Mean")
def _mean(node: Node, view: View) -> fx.Effect | None:
    moving = [i for i, n in enumerate(node.inputs) if not view.program.is_constant(n)]
    if len(moving) == 1:
        others = [i for i in range(len(node.inputs)) if i != moving[0]]
        part = np.asarray(1 / len(node.inputs), np.float32)
        return fx.Affine(
            scale=lambda: part,
            source=moving[0],
            offset=lambda: part * _added_constants(node, view, others, (1,) * len(others)),
        )
    if not any(view.carries(node.inputs[i]) for i in moving):
        return fx.Held()
    return fx.Sum(tuple(moving), (1,) * len(moving), scale=1 / len(node.inputs))


def _addends(node: Node, view: View, indexes: tuple[int, ...], signs: tuple[int, ...]) -> fx.Effect:
    live = [(i, s) for i, s in zip(indexes, signs, strict=True) if view.carries(node.inputs[i])]
    if not live:
        return fx.Held()
    if len(live) == 1 and len(indexes) - sum(view.program.is_constant(node.inputs[i]) for i in indexes) == 1:
        index, sign = live[0]
        others = [(i, s) for i, s in zip(indexes, signs, strict=True) if i != index]
        return fx.Affine(
            scale=None if sign > 0 else (lambda: np.asarray(-1, np.float32)),
            source=index,
            offset=lambda: _added_constants(node, view, [i for i, _ in others], [s for _, s in others]),
        )
    moving = [(i, s) for i, s in zip(indexes, signs, strict=True) if not view.program.is_constant(node.inputs[i])]
    return fx.Sum(tuple(i for i, _ in moving), tuple(s for _, s in moving))


def _added_constants(node: Node, view: View, indexes: Sequence[int], signs: Sequence[int]) -> Array:
    """Signed sum of constant inputs, as real numbers."""
    total = np.zeros((), np.float32)
    for index, sign in zip(indexes, signs, strict=True):
        quantised = node.op.endswith("QLinearAdd")
        value = _real(node, view, index) if quantised else view.program.constant(node.inputs[index]).astype(np.float32)
        total = total + sign * value
    return np.asarray(total)


@operator("Neg")
def _negate(_node: Node, _view: View) -> fx.Effect:
    return fx.Affine(scale=lambda: np.asarray(-1, np.float32))


@operator("Mul", "com.microsoft::QLinearMul")
def _mul(node: Node, view: View) -> fx.Effect:
    right = 3 if node.op.endswith("QLinearMul") else 1
    for value, other in ((0, right), (right, 0)):
        if view.program.is_constant(node.inputs[other]):
            return _scaled(node, view, value, other)
    return _product(node, view, right)


def _scaled(node: Node, view: View, value: int, other: int) -> fx.Effect:
    """Product of an input and a constant."""
    if node.op.endswith("QLinearMul"):
        return fx.Affine(scale=lambda: _real(node, view, other), source=value)
    return fx.Affine(scale=lambda: view.program.constant(node.inputs[other]).astype(np.float32), source=value)


def _real(node: Node, view: View, index: int) -> Array:
    q, scale, zero = (view.program.constant(node.inputs[index + k]) for k in range(3))
    return (q.astype(np.float32) - zero.astype(np.float32)) * scale


@operator("Div")
def _div(node: Node, view: View) -> fx.Effect:
    if view.program.is_constant(node.inputs[1]):
        return fx.Affine(scale=lambda: 1.0 / view.program.constant(node.inputs[1]).astype(np.float32))
    if not view.carries(node.inputs[0]):
        constant = view.program.is_constant(node.inputs[0])
        if not constant or not view.carries(node.inputs[1]) or _only_a_factor(view, node.outputs[0]):
            return fx.Held()
        nonnegative, zero, slope = ACTIVATIONS["Reciprocal"]  # as the Sigmoid that is written out ends
        return fx.Activation(nonnegative=nonnegative, zero=zero, slope=slope, source=1)
    return fx.Gate(0, 1, reciprocal=True, own=_same_labels(view, node.inputs[0], node.inputs[1]))


BOUNDED = frozenset(
    {
        "Sigmoid",
        "HardSigmoid",
        "Softmax",
        "Tanh",
        "Clip",
        "com.microsoft::QLinearSigmoid",
        "com.microsoft::QLinearSoftmax",
    }
)
_PASSES = frozenset(
    {"Reshape", "Unsqueeze", "Squeeze", "Expand", "Transpose", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear",
     "Tile", "Flatten"}
)  # fmt: skip


def _bounded(view: View, tensor: str) -> bool:
    """Whether a tensor leaves an activation of limited range, through moves only."""
    while (made := view.program.producers.get(tensor)) is not None and made.op in _PASSES:
        tensor = made.inputs[0]
    return made is not None and made.op in BOUNDED


def _same_labels(view: View, left: str, right: str) -> bool:
    if not (view.carries(left) and view.carries(right)):
        return False
    sets = [{int(x) for t in view.states[n].tracks for x in np.unique(t.labels)} for n in (left, right)]
    return sets[0] == sets[1] and view.shape(left) == view.shape(right)


def _product(node: Node, view: View, right: int) -> fx.Effect:
    """Value * gate: the bounded operand is the gate, else the smaller one, else the second."""
    a, b = node.inputs[0], node.inputs[right]
    if not view.carries(a) or not view.carries(b):
        if not view.carries(a) and not view.carries(b):
            return fx.Held()
        return fx.Gate(0, right) if view.carries(a) else fx.Gate(right, 0)
    bounded = _bounded(view, a), _bounded(view, b)
    sizes = [math.prod(view.shape(n)) for n in (a, b)]
    first = bounded[0] and not bounded[1] if bounded[0] != bounded[1] else sizes[0] < sizes[1]
    value, gate = (right, 0) if first else (0, right)
    return fx.Gate(value, gate, own=_same_labels(view, a, b))


@operator("Max", "Min")
def _extreme(node: Node, view: View) -> fx.Effect | None:
    live = tuple(i for i, n in enumerate(node.inputs) if view.carries(n))
    constants = [view.constant(n) for i, n in enumerate(node.inputs) if i not in live]
    if len(live) == 1 and len(constants) == 1 and (c := constants[0]) is not None and c.size == 1:
        bound = float(c.reshape(-1)[0])
        low = node.op == "Max"
        zero = max(0.0, bound) if low else min(0.0, bound)
        slope = float(bound < 0) if low else float(bound > 0)
        return fx.Activation(low and bound >= 0, zero, slope, rectifier=low and bound == 0, source=live[0])
    return fx.Select(live) if live else fx.Held()


@operator("Where")
def _where(node: Node, view: View) -> fx.Effect:
    live = tuple(i for i in (1, 2) if view.carries(node.inputs[i]))
    return fx.Select(live) if live else fx.Held()


@operator("BatchNormalization")
def _batch_norm(node: Node, view: View) -> fx.Effect | None:
    values = [view.constant(node.input(i)) for i in range(1, 5)]
    if node.attributes.get("training_mode", 0):
        raise ModelError(
            f"{view.program.model.path}: node {node.name!r} is a BatchNormalization in training mode, its output "
            "depends on the batch; export the model in evaluation mode"
        )
    if any(v is None for v in values) or not node.attributes.get("spatial", 1):
        return None
    rank = len(view.shape(node.input(0)))
    epsilon = float(node.attributes.get("epsilon", 1e-5))

    def scale() -> Array:
        gamma, _, _, variance = (np.asarray(v, np.float64) for v in values)
        return spread(gamma / np.sqrt(variance + epsilon))

    def offset() -> Array:
        gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in values)
        return spread(beta - mean * gamma / np.sqrt(variance + epsilon))

    def spread(flat: Array) -> Array:
        return np.asarray(flat.reshape(1, -1, *(1,) * (rank - 2)).astype(np.float32))

    return fx.Affine(scale=scale, offset=offset)


# ---------------------------------------------------------------------------------------- normalisation


@operator("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(node: Node, view: View) -> fx.Effect | None:
    rank = len(view.shape(node.input(0)))
    axis = int(node.attributes.get("axis", -1)) % rank
    if view.depends(node, 1, 2):
        return None
    gamma = view.constant(node.input(1))
    return fx.Normalise(
        axes=tuple(range(axis, rank)),
        scale=None if gamma is None else (lambda: np.asarray(gamma, np.float32)),
        centred="RMS" not in node.op and "Simplified" not in node.op,
    )


@operator("InstanceNormalization", "GroupNormalization")
def _group_norm(node: Node, view: View) -> fx.Effect | None:
    shape = view.shape(node.input(0))
    if view.depends(node, 1, 2):
        return None
    groups = int(node.attributes.get("num_groups", shape[1]))
    gamma = view.constant(node.input(1))

    def scale() -> Array:
        values = np.asarray(gamma, np.float32).reshape(-1)
        values = np.repeat(values, shape[1] // values.size)
        return values.reshape(1, -1, *(1,) * (len(shape) - 2))

    return fx.Normalise(
        axes=tuple(range(2, len(shape))),
        groups=groups,
        scale=None if gamma is None else scale,
        mixes=groups < shape[1],
    )


@operator("LRN")
def _local_response(_node: Node, _view: View) -> fx.Effect:
    return fx.Normalise(axes=None, centred=False)


@operator("LpNormalization", "MeanVarianceNormalization")
def _lp_norm(node: Node, view: View) -> fx.Effect:
    rank = len(view.shape(node.input(0)))
    if node.op == "LpNormalization":
        return fx.Normalise(axes=(int(node.attributes.get("axis", -1)) % rank,), centred=False)
    axes = tuple(int(a) % rank for a in node.attributes.get("axes") or (0, 2, 3))
    return fx.Normalise(axes=axes, mixes=1 in axes)


# ----------------------------------------------------------------------------------------------- pooling


def _window(node: Node, view: View) -> Geometry:
    kernel = tuple(int(k) for k in node.attributes["kernel_shape"])
    rank = len(kernel)
    strides = tuple(int(x) for x in node.attributes.get("strides") or (1,) * rank)
    dilations = tuple(int(x) for x in node.attributes.get("dilations") or (1,) * rank)
    pads = tuple(int(x) for x in node.attributes.get("pads") or (0,) * (2 * rank))
    auto = node.attributes.get("auto_pad", "NOTSET")
    sizes = view.shape(node.input(0))[2:]
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        begins, ends = same_pads(sizes, kernel, strides, dilations, lower=auto == "SAME_LOWER")
    else:
        begins, ends = (pads[:rank], pads[rank:]) if auto == "NOTSET" else ((0,) * rank, (0,) * rank)
    return Geometry(kernel, strides, dilations, begins, ends)


@operator("MaxPool")
def _max_pool(node: Node, view: View) -> fx.Effect | None:
    if node.attributes.get("storage_order", 0):
        return None
    return fx.Pool("max", _window(node, view))


@operator("AveragePool", "com.microsoft::QLinearAveragePool")
def _average_pool(node: Node, view: View) -> fx.Effect | None:
    if node.attributes.get("channels_last", 0):
        return None
    return fx.Pool("mean", _window(node, view), count_include_pad=bool(node.attributes.get("count_include_pad", 0)))


@operator("GlobalAveragePool", "GlobalMaxPool", "com.microsoft::QLinearGlobalAveragePool")
def _global_pool(node: Node, view: View) -> fx.Effect:
    rank = len(view.shape(node.input(0)))
    spatial = range(1, rank - 1) if node.attributes.get("channels_last", 0) else range(2, rank)
    return fx.Reduce("max" if "Max" in node.op else "mean", tuple(spatial))


REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "max"}
"""Kinds of reduction; of a minimum as of a maximum the field goes to the elements that equal it."""


@operator(*REDUCTIONS)
def _reduce(node: Node, view: View) -> fx.Effect | None:
    axes = _reduced_axes(node, view)
    if axes is None:
        return None
    return fx.Reduce(REDUCTIONS[node.op], axes) if axes else fx.Identity()


def _reduced_axes(node: Node, view: View) -> tuple[int, ...] | None:
    """Axes of a reduction, none where it does nothing; None where they depend on the model's input."""
    if view.depends(node, 1):
        return None
    rank = len(view.shape(node.input(0)))
    axes = view.ints(node, "axes", 1)
    if not axes:
        return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(a % rank for a in axes))


@operator(
    "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip
def _norm(node: Node, view: View) -> fx.Effect | None:
    """Over channels it only steers; over positions every channel has its own, which may only be a factor."""
    axes = _reduced_axes(node, view)
    if not axes:
        return None
    merged = view.varies(node.input(0), axes) or not view.carries(node.input(0))
    return fx.Held() if merged or _only_a_factor(view, node.outputs[0]) else None


def _only_a_factor(view: View, tensor: str) -> bool:
    """Whether a tensor reaches layers and outputs of the model only as a factor or a divisor of something else."""
    stack, seen = [tensor], set()
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        users = view.program.consumers.get(name, [])
        if not users or any(u.op in WEIGHTED for u in users):
            return False
        for user in users:
            others = [i for i in user.inputs if i and i != name]
            factor = user.op == "Mul" or (user.op == "Div" and user.input(1) == name)
            if not (factor and any(not view.program.is_constant(i) for i in others)):
                stack.extend(o for o in user.outputs if o)
    return True


# --------------------------------------------------------------------------------------------- movement


def _one(function: Callable[[Array, int], Array]) -> fx.Move:
    return fx.Move((0,), lambda arrays, fill: [function(arrays[0], fill)])


@operator("Transpose")
def _transpose(node: Node, view: View) -> fx.Effect:
    perm = node.attributes.get("perm") or list(range(len(view.shape(node.input(0)))))[::-1]
    return _one(lambda a, _: np.transpose(a, perm))


@operator("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(node: Node, view: View) -> fx.Effect:
    old, new = view.shape(node.input(0)), view.shape(node.outputs[0])
    return _one(lambda a, _: fx.reshape_labels(a, old, new))


@operator("Expand")
def _expand(node: Node, view: View) -> fx.Effect:
    rank, new = len(view.shape(node.outputs[0])), view.shape(node.outputs[0])

    def apply(a: Array, _: int) -> Array:
        aligned = fx.align(a, rank)
        return np.broadcast_to(aligned, new) if _is_full(a, view.shape(node.input(0))) else aligned

    return _one(apply)


def _is_full(a: Array, shape: tuple[int, ...]) -> bool:
    return a.shape == shape


@operator("Tile")
def _tile(node: Node, view: View) -> fx.Effect | None:
    repeats = view.constant(node.input(1))
    if repeats is None:
        return None
    old = view.shape(node.input(0))
    counts = [int(r) for r in repeats.reshape(-1)]

    def apply(a: Array, _: int) -> Array:
        return np.tile(
            a, [r if a.shape[i] > 1 or (old[i] == 1 and _is_full(a, old)) else 1 for i, r in enumerate(counts)]
        )

    return _one(apply)


@operator("Concat", "com.microsoft::QLinearConcat")
def _concat(node: Node, view: View) -> fx.Effect:
    first, step = (2, 3) if node.op.endswith("QLinearConcat") else (0, 1)
    sources = tuple(range(first, len(node.inputs), step))
    rank = len(view.shape(node.outputs[0]))
    axis = int(node.attributes.get("axis", 1)) % rank
    sizes = [view.shape(node.inputs[i])[axis] for i in sources]

    def apply(arrays: Sequence[Array], _: int) -> list[Array]:
        same = all(a.shape == arrays[0].shape and np.array_equal(a, arrays[0]) for a in arrays)
        if same and arrays[0].shape[axis] == 1 and sum(sizes) > len(sizes):
            return [arrays[0]]
        others = [max(a.shape[d] for a in arrays) for d in range(rank)]
        full = [
            np.broadcast_to(a, [n if d == axis else others[d] for d in range(rank)])
            for a, n in zip(arrays, sizes, strict=True)
        ]
        return [np.concatenate(full, axis=axis)]

    return fx.Move(sources, apply)


@operator("Split")
def _split(node: Node, view: View) -> fx.Effect:
    axis = int(node.attributes.get("axis", 0)) % len(view.shape(node.input(0)))
    sizes = [view.shape(o)[axis] if o else 0 for o in node.outputs]
    edges = np.cumsum([0, *sizes])

    def apply(arrays: Sequence[Array], _: int) -> list[Array]:
        a = arrays[0]
        if a.shape[axis] == 1 and edges[-1] != 1:
            return [a for _ in sizes]
        return [np.take(a, np.arange(edges[i], edges[i + 1]), axis=axis) for i in range(len(sizes))]

    return fx.Move((0,), apply)


@operator("Slice")
def _slice(node: Node, view: View) -> fx.Effect | None:
    shape = view.shape(node.input(0))
    starts, ends = view.ints(node, "starts", 1), view.ints(node, "ends", 2)
    if starts is None or ends is None or view.depends(node, 3, 4):
        return None
    axes = view.ints(node, "axes", 3) or tuple(range(len(starts)))
    steps = view.ints(node, "steps", 4) or (1,) * len(starts)
    cuts = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = _clamped(start, end, step, shape[axis])

    def apply(a: Array, _: int) -> Array:
        return a[tuple(c if a.shape[i] > 1 or shape[i] == 1 else slice(None) for i, c in enumerate(cuts))]

    return _one(apply)


def _clamped(start: int, end: int, step: int, size: int) -> slice:
    """ONNX slice bounds as a Python slice; a negative step may run past the front."""
    stop: int | None = end
    if step < 0 and end < -size:
        stop = None
    return slice(start, stop, step)


@operator("Gather")
def _gather(node: Node, view: View) -> fx.Effect | None:
    indices = view.constant(node.input(1))
    if indices is None:
        return None
    shape = view.shape(node.input(0))
    axis = int(node.attributes.get("axis", 0)) % len(shape)

    def apply(a: Array, _: int) -> Array:
        if a.shape[axis] > 1 or shape[axis] == 1:
            return np.take(a, indices.astype(np.int64), axis=axis)
        one = np.zeros((1,) * indices.ndim, np.int64)
        return np.take(a, one, axis=axis)

    return _one(apply)


@operator("GatherElements", "GatherND")
def _gather_places(node: Node, view: View) -> fx.Effect | None:
    indices = view.constant(node.input(1))
    if indices is None or node.attributes.get("batch_dims", 0):
        return None
    shape = view.shape(node.input(0))
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    if node.op == "GatherND":
        return _one(lambda a, _: np.broadcast_to(a, shape)[tuple(np.moveaxis(indices, -1, 0))])
    cut = tuple(slice(None) if a == axis else slice(n) for a, n in enumerate(indices.shape))
    return _one(lambda a, _: np.take_along_axis(np.broadcast_to(a, shape)[cut], indices.astype(np.int64), axis=axis))


@operator("ScatterND", "ScatterElements")
def _scatter(node: Node, view: View) -> fx.Effect | None:
    indices = view.constant(node.input(1))
    if indices is None or str(node.attributes.get("reduction", "none")) != "none":
        return None
    shape, rows = view.shape(node.input(0)), view.shape(node.input(2))
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    moving = tuple(i for i in (0, 2) if not view.program.is_constant(node.input(i)))

    def apply(arrays: Sequence[Array], fill: int) -> list[Array]:
        given = dict(zip(moving, arrays, strict=True))
        data, updates = (np.broadcast_to(given.get(i, fill), s) for i, s in ((0, shape), (2, rows)))
        out = np.array(data, dtype=np.result_type(*arrays))
        if node.op == "ScatterND":
            out[tuple(np.moveaxis(indices, -1, 0))] = updates
        else:
            places: list[Array] = list(np.indices(indices.shape, sparse=True))
            places[axis] = indices
            out[tuple(places)] = updates
        return [out]

    return fx.Move(moving, apply)


_PAD_MODES: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@operator("Pad")
def _pad(node: Node, view: View) -> fx.Effect | None:
    shape = view.shape(node.input(0))
    pads = view.ints(node, "pads", 1)
    if pads is None or view.depends(node, 3):
        return None
    axes = view.ints(node, "", 3) or tuple(range(len(shape)))
    before, after = [0] * len(shape), [0] * len(shape)
    for k, axis in enumerate(axes):
        before[axis], after[axis] = pads[k], pads[k + len(axes)]
    mode = node.attributes.get("mode", "constant")

    def apply(a: Array, fill: int) -> Array:
        cut = tuple(
            slice(max(0, -b), a.shape[i] - max(0, -e)) if a.shape[i] == shape[i] else slice(None)
            for i, (b, e) in enumerate(zip(before, after, strict=True))
        )
        full = _is_full(a, shape)
        widths = [
            (max(0, b), max(0, e)) if a.shape[i] > 1 or (full and shape[i] == 1) else (0, 0)
            for i, (b, e) in enumerate(zip(before, after, strict=True))
        ]
        if mode == "constant":
            return np.pad(a[cut], widths, constant_values=fill)
        return np.pad(a[cut], widths, mode=_PAD_MODES[str(mode)])

    return _one(apply)


@operator("DepthToSpace", "SpaceToDepth")
def _depth_space(node: Node, view: View) -> fx.Effect:
    n, c, h, w = view.shape(node.input(0))
    b = int(node.attributes["blocksize"])
    if node.op == "SpaceToDepth":
        steps = ((n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4))
    elif node.attributes.get("mode", "DCR") == "DCR":
        steps = ((n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2))
    else:
        steps = ((n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3))
    new = view.shape(node.outputs[0])
    middle = tuple(steps[0][i] for i in steps[1])

    def apply(a: Array, _: int) -> Array:
        cut = fx.reshape_labels(a, (n, c, h, w), steps[0])
        return fx.reshape_labels(np.transpose(cut, steps[1]), middle, new)

    return _one(apply)


@operator("Upsample", "Resize")
def _resize(node: Node, view: View) -> fx.Effect | None:
    old, new = view.shape(node.input(0)), view.shape(node.outputs[0])
    scales = _scales(node, view, old, new)
    if str(node.attributes.get("mode", "nearest")) != "nearest" or scales is None:
        return None
    taken = [_nearest(node, view, *sizes) for sizes in zip(old, new, scales, strict=True)]
    if any(t is None for t in taken):
        return None
    moved = {i: t for i, t in enumerate(taken) if t is not None and not np.array_equal(t, np.arange(old[i]))}

    def apply(a: Array, _: int) -> Array:
        full = _is_full(a, old)
        for axis, places in moved.items():
            if a.shape[axis] > 1 or full:
                a = np.take(a, places, axis=axis)
        return a

    return _one(apply)


def _scales(node: Node, view: View, old: tuple[int, ...], new: tuple[int, ...]) -> list[float] | None:
    """Factor of each axis: as given, else the ratio of the sizes; None where they depend on the model's input."""
    index = 2 if node.op == "Resize" and view.program.model.opset >= 11 else 1
    if view.depends(node, index, 3) or str(node.attributes.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        return None
    given = node.attributes.get("scales")
    found = view.constant(node.input(index)) if given is None else np.asarray(given)
    out = [b / a for a, b in zip(old, new, strict=True)]
    if found is not None and found.size:
        axes = node.attributes.get("axes") or range(len(old))
        for axis, scale in zip(axes, found.reshape(-1).tolist(), strict=True):
            out[axis % len(old)] = scale
    return out


def _nearest(node: Node, view: View, old: int, new: int, scale: float) -> Array | None:
    """Input place of each output place along one axis (ONNX Resize, mode nearest), in float32 as runtimes do."""
    if old == new and scale == 1:
        return np.arange(old)
    x, s = np.arange(new, dtype=np.float32), np.float32(scale)
    if node.op == "Upsample" or view.program.model.opset < 11:
        return np.floor(x / s).astype(np.int64).clip(0, old - 1) if scale >= 1 else None
    half = (x + np.float32(0.5)) / s - np.float32(0.5)
    at = {
        "half_pixel": half,
        "pytorch_half_pixel": half if new > 1 else x * 0,
        "asymmetric": x / s,
        "align_corners": x * np.float32((old - 1) / max(1, new - 1)),
    }.get(str(node.attributes.get("coordinate_transformation_mode", "half_pixel")))
    if at is None:
        return None
    places = {
        "round_prefer_floor": np.ceil(at - np.float32(0.5)),
        "round_prefer_ceil": np.floor(at + np.float32(0.5)),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }[str(node.attributes.get("nearest_mode", "round_prefer_floor"))]
    return np.asarray(places.astype(np.int64).clip(0, old - 1))


# ------------------------------------------------------------------------------------- products, layers


@operator(*sorted(WEIGHTED))
def _weighted(node: Node, view: View) -> fx.Effect | None:
    part = view.parts.get(node.name)
    if node.op == "com.microsoft::FusedConv" and node.input(3):
        return None
    if part is not None:
        return fx.Layer(part)
    if node.op not in {"MatMul", "com.microsoft::FusedMatMul"} or view.program.is_constant(node.input(0)):
        return None
    if view.program.is_constant(node.input(1)):
        return None
    left, right = (view.carries(n) for n in node.inputs[:2])
    if any(node.attributes.get(k, 0) for k in ("transA", "transB")) or node.attributes.get("alpha", 1.0) != 1.0:
        return None if any(_bounded(view, n) for n in node.inputs[:2]) else fx.Held()
    value = _value_side(node, view)
    if not (left or right) or (value is None):
        return fx.Held()
    return fx.Mix(value)


@operator("Einsum")
def _einsum(node: Node, view: View) -> fx.Effect | None:
    """Attention written as Einsum: scores merge the channels of both operands, values are mixed as MatMul does it."""
    terms, arrow, out = str(node.attributes["equation"]).replace(" ", "").partition("->")
    left, comma, right = terms.partition(",")
    whole = [left, right, out]
    if not (arrow and comma) or "," in right or "." in terms or any(len(set(t)) != len(t) for t in whole):
        return None
    live = [(n, t) for n, t in zip(node.inputs, whole, strict=False) if view.carries(n)]
    if view.depends(node, 0) and view.depends(node, 1):
        summed = (set(left) & set(right)) - set(out)
        if all(view.varies(n, [t.index(x) for x in summed]) for n, t in live):
            return fx.Held()
        value = _value_side(node, view)
        same = left[:-2] == right[:-2] == out[:-2] and left[-1:] == right[-2:-1]
        if same and out[-2:] == left[-2:-1] + right[-1:] and value is not None:
            return fx.Mix(value)
    return None


def _value_side(node: Node, view: View) -> int | None:
    """The operand whose labels do not vary along the contracted axis: its channels survive the product."""
    order = (0, 1) if _bounded(view, node.inputs[1]) else (1, 0)
    for index in order:
        name = node.inputs[index]
        if not view.carries(name):
            continue
        rank = len(view.shape(name))
        axis = rank - 1 if index == 0 else rank - 2
        if all(not fx.varies(t.labels, axis) for t in view.states[name].tracks):
            return index
    return None


@operator(
    "Shape", "Size", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "IsNaN", "IsInf",
    "ArgMax", "ArgMin", "NonZero", "ConstantOfShape", "EyeLike", "Range",
)  # fmt: skip
def _steers(_node: Node, _view: View) -> fx.Effect:
    return fx.Held()


@operator("TopK")
def _top(node: Node, view: View) -> fx.Effect | None:
    """The best of all channels, as after a classifier; the best places of each channel are another thing."""
    axis = int(node.attributes.get("axis", -1)) % len(view.shape(node.input(0)))
    merged = view.varies(node.input(0), (axis,)) or not view.carries(node.input(0))
    return fx.Held() if merged else None
