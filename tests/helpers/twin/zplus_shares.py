"""Rule `zplus`: how one node shares out the relevance of its output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from .activations import SLOPE_AT_ZERO
from .dense import gate_operand
from .graph import producers
from .movement import MOVES, moved_back
from .steps import ADJOINTS, Array, Fields, Step, run_node, unbroadcast

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


MEANS = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"})


AFFINES = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub"})


COPIES = frozenset({"Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear"})


ADDITIONS = frozenset({"Add", "Sum", "Sub"})


CHOICES = frozenset({"MaxPool", "GlobalMaxPool", "ReduceMax", "Max", "Min"})


NORMS = frozenset({"LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "LRN"})


def is_layer(step: Step) -> bool:
    """Whether the node multiplies an activation with constant weights."""
    return step.op in LAYERS and step.live[:2].count(True) == 1


def ratio(above: Array, below: Array) -> Array:
    """Quotient with 0 / 0 = 0."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def kernel_affine(
    model: onnx.ModelProto, values: Mapping[str, Array], live: set[str], name: str, axis: int
) -> tuple[Array, Array]:
    """Factor and offset per kernel of the affine maps that alone read a layer's output, one behind the other."""
    width = values[name].shape[axis]
    factor, offset, outputs = np.ones(width), np.zeros(width), {o.name for o in model.graph.output}
    while name not in outputs:
        readers = [node for node in model.graph.node if name in node.input]
        if len(readers) != 1:
            break
        node = readers[0]
        if node.op_type in {"Transpose", "Identity", "Dropout", "Cast"}:
            if node.op_type == "Transpose":
                perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
                axis = (perm or list(range(values[name].ndim))[::-1]).index(axis)
            name = node.output[0]
            continue
        probes = [_affine_at(node, values, live, name, axis, x) for x in (0.0, 1.0)]
        if any(p is None for p in probes):
            break
        zero, one = (np.asarray(p) for p in probes)
        factor, offset = factor * (one - zero), offset * (one - zero) + zero
        name = node.output[0]
    return factor, offset


def _affine_at(
    node: onnx.NodeProto, values: Mapping[str, Array], live: set[str], name: str, axis: int, x: float
) -> Array | None:
    """Value per kernel of an affine map at one number; None where it is none, or differs from place to place."""
    shape = values[name].shape
    if node.op_type == "BatchNormalization":
        gamma, beta, mean, variance = (values[i] for i in node.input[1:5])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        return np.asarray((x - mean) / np.sqrt(variance + epsilon) * gamma + beta)
    if node.op_type == "Neg":
        return np.full(shape[axis], -x)
    if node.op_type not in {"Add", "Sub", "Mul", "Div"} or sum(i in live for i in node.input) != 1:
        return None
    if node.op_type == "Div" and node.input[0] != name:
        return None
    sides = [x if i == name else values[i] for i in node.input]
    make = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[node.op_type]
    found = np.asarray(make(*sides))
    if found.size == 1:
        return np.full(shape[axis], found.item())
    whole = (1,) * (len(shape) - found.ndim) + found.shape
    return found.reshape(-1) if whole == tuple(n if a == axis else 1 for a, n in enumerate(shape)) else None


def is_model_input(model: onnx.ModelProto, live: set[str], feeds: Iterable[str], name: str) -> bool:
    """Whether a tensor is an input of the model, moved, copied and rescaled at most."""
    made, inputs = producers(model), set(feeds)
    while name not in inputs:
        node = made.get(name)
        if node is None or node.op_type not in MOVES.keys() | COPIES | AFFINES:
            return False
        sources = [i for i in node.input if i in live]
        if len(sources) != 1:
            return False
        name = sources[0]
    return True


def shared_back(step: Step, rs: Sequence[Array | None]) -> Fields:
    if step.op in MOVES:
        return moved_back(step, rs)
    r = rs[0]
    if r is None:
        return ()
    if step.op == "MatMul":
        return _mixture_shares(step, r)
    if step.op in CHOICES:
        return ADJOINTS[step.op](step, r)
    if step.op in MEANS:
        return [_linear_shares([replace(step, inputs=(np.maximum(step.x, 0), *step.inputs[1:]))], r, 0)]
    if step.op in ADDITIONS:
        return _addend_shares(step, r)
    if step.op == "Mul":
        back: list[Array | None] = [None, None]
        kept = 1 - gate_operand(step)
        back[kept] = unbroadcast(r, step.need(kept).shape)
        return back
    if step.op in SLOPE_AT_ZERO or step.op in COPIES | NORMS | {"BatchNormalization", "Div", "Neg"}:
        return [unbroadcast(r, step.x.shape)]
    raise NotImplementedError(f"no relevance rule for {step.op} (node {step.name!r}); add one to tests/helpers/twin")


def _linear_shares(pieces: Sequence[Step], r: Array, index: int) -> Array:
    """``sum over pieces of x * transposed(r / (sum of outputs))``: a piece is linear in its input ``index``."""
    total = np.sum([run_node(piece)[0] for piece in pieces], axis=0)
    s = ratio(r, total)
    parts = []
    for piece in pieces:
        back = ADJOINTS[piece.op](replace(piece, outputs=(total,)), s)[index]
        assert back is not None
        parts.append(piece.need(index) * back)
    return np.sum(parts, axis=0)


def positive_pieces(step: Step, scale: Array, *, signed: bool) -> list[Step]:
    """The layer with one sign of its weights and of its input, without bias; of a signed input both signs."""
    index = 0 if step.live[0] else 1
    x, w = step.need(index), step.need(1 - index)
    w = w * _along_kernels(step, w, scale)
    w = w * step.attributes.get("alpha", 1.0)
    attributes = {k: v for k, v in step.attributes.items() if k not in {"alpha", "beta"}}
    signs: list[Any] = [np.maximum, np.minimum] if signed else [np.maximum]
    pieces = []
    for sign in signs:
        pair = (sign(x, 0), sign(w, 0))
        pieces.append(replace(step, inputs=pair if index == 0 else pair[::-1], attributes=attributes))
    return pieces


def _along_kernels(step: Step, w: Array, scale: Array) -> Array:
    """A factor per kernel, broadcasting against a layer's weights."""
    if step.op == "Conv":
        return scale.reshape(-1, *(1,) * (w.ndim - 1))
    if step.op == "ConvTranspose":
        groups = int(step.attributes.get("group", 1))
        rows = np.repeat(scale.reshape(groups, -1), w.shape[0] // groups, axis=0)
        return rows.reshape(*rows.shape, *(1,) * (w.ndim - 2))
    last = (step.op == "Gemm" and not step.attributes.get("transB", 0)) or (step.op == "MatMul" and step.live[0])
    return scale if last else scale[:, None]


def layer_end(model: onnx.ModelProto, step: Step, name: str) -> str:
    """The tensor that a layer ends in: a MatMul's bias is added behind it."""
    if step.op == "MatMul" and step.live[0]:
        readers = [node for node in model.graph.node if name in node.input]
        behind = [i for node in readers if node.op_type == "Add" for i in node.input if i != name]
        constants = {t.name for t in model.graph.initializer}
        if len(readers) == 1 and behind and behind[0] in constants:
            return readers[0].output[0]
    return name


def layer_shares(step: Step, r: Array, pieces: Sequence[Step]) -> Fields:
    index = 0 if step.live[0] else 1
    back: list[Array | None] = [None, None]
    back[index] = _linear_shares(pieces, r, index)
    return back


def _mixture_shares(step: Step, r: Array) -> Fields:
    """A product of two activations: the attention (or left) operand is held, both count where positive."""
    index = 0 if step.attention[1] and not step.attention[0] else 1
    held = replace(step, inputs=tuple(np.maximum(step.need(i), 0) for i in (0, 1)))
    back: list[Array | None] = [None, None]
    back[index] = _linear_shares([held], r, index)
    return back


def _addend_shares(step: Step, r: Array) -> Fields:
    signs = [1, -1] if step.op == "Sub" else [1] * len(step.inputs)
    alive = [i for i, name in enumerate(step.live) if name]
    if len(alive) == 1:
        return [unbroadcast(r, step.need(i).shape) if i in alive else None for i in range(len(step.inputs))]
    parts = {i: np.maximum(signs[i] * step.need(i), 0) for i in alive}
    s = ratio(r, sum(np.broadcast_to(p, r.shape) for p in parts.values()))
    return [unbroadcast(parts[i] * s, step.need(i).shape) if i in parts else None for i in range(len(step.inputs))]
