"""A slow float64 NumPy twin of the walk (method, section 4): the authority for the walk inside the graph.

It shares no code with ``cfp_onnx``. A model is evaluated node by node, every tensor is kept, and the field
``g`` is carried backwards by one small adjoint per operator. Convolutions and pools are loops over taps;
whatever only moves elements is inverted by sending the elements' own numbers through the operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import inliner, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[Any]
Fields = Sequence[Array | None]

FINAL = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
GATES = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh", "Clip"})
GATE_CHAIN = frozenset({"Reshape", "Unsqueeze", "Expand", "Transpose", "Identity"})
HEAD_CHAIN = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout"})
ATTENTION_CHAIN = GATE_CHAIN | HEAD_CHAIN | {"Mul", "Div", "Where"}
POOLED_FLOOR = 1e-6


@dataclass(frozen=True)
class TwinResult:
    """Values and fields of one item.

    Attributes:
        values: Every tensor of the (inlined) graph, float64, batch 1.
        fields: ``g`` of every tensor on the walked paths; the target's seed included.
    """

    values: dict[str, Array]
    fields: dict[str, Array]

    def relevance(self, tensor: str, *, axis: int = 1) -> Array:
        """Sum of ``g * t`` over all axes but ``axis``: shape (channels,)."""
        return _per_channel(self.fields[tensor] * self.values[tensor], axis)


@dataclass(frozen=True)
class Step:
    """One node with everything its adjoint may look at; an omitted input or output is None."""

    op: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[Array | None, ...]
    outputs: tuple[Array | None, ...]
    live: tuple[bool, ...]
    gate: tuple[bool, ...]
    attention: tuple[bool, ...]
    opset: int

    def get(self, index: int) -> Array | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def need(self, index: int) -> Array:
        value = self.get(index)
        if value is None:
            raise ValueError(f"{self.op} {self.name!r}: input {index} is missing")
        return value

    @property
    def x(self) -> Array:
        return self.need(0)

    @property
    def y(self) -> Array:
        value = self.outputs[0]
        if value is None:
            raise ValueError(f"{self.op} {self.name!r}: no output")
        return value


Adjoint = Callable[[Step, Array], Fields]
ADJOINTS: dict[str, Adjoint] = {}
FORWARD: dict[str, Callable[[Step], Array]] = {}


def adjoint(*ops: str) -> Callable[[Adjoint], Adjoint]:
    def register(function: Adjoint) -> Adjoint:
        for op in ops:
            if op in ADJOINTS:
                raise ValueError(f"two adjoints for {op}")
            ADJOINTS[op] = function
        return function

    return register


def forward(*ops: str) -> Callable[[Callable[[Step], Array]], Callable[[Step], Array]]:
    def register(function: Callable[[Step], Array]) -> Callable[[Step], Array]:
        FORWARD.update(dict.fromkeys(ops, function))
        return function

    return register


# --- the two entry points ---


def evaluate(
    model: onnx.ModelProto, feeds: Mapping[str, Array], *, held: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """Every tensor of ``model`` in float64; a tensor named in ``held`` takes that value instead."""
    model = _inlined(model)
    held = held or {}
    values = {t.name: _wide(numpy_helper.to_array(t)) for t in model.graph.initializer}
    values |= {name: _wide(np.asarray(value)) for name, value in feeds.items()}
    values |= {name: _wide(np.asarray(value)) for name, value in held.items()}
    for node in model.graph.node:
        results = _run(_step(model, node, values), model)
        for name, result in zip(node.output, results, strict=False):
            if name and name not in held:
                values[name] = _wide(np.asarray(result))
    return values


def fields(
    model: onnx.ModelProto,
    feeds: Mapping[str, Array],
    *,
    output: str | None = None,
    target: int,
    rule: str = "positional",
    class_step: str = "contrast",
    channel_axes: Mapping[str, int] | None = None,
) -> TwinResult:
    """Walk ``model`` backwards from class ``target`` of ``output`` (the first one unless named).

    Args:
        model: Any ONNX model of the operators in ``ADJOINTS``; local functions are inlined first.
        feeds: Graph inputs, batch 1.
        output: Graph output or any other tensor; a final Softmax, LogSoftmax or Sigmoid is stripped.
        target: Class index along the flattened class axis.
        rule: ``positional`` or ``active``.
        class_step: ``contrast`` or ``contribution``.
        channel_axes: Under ``active``, the channel axis of an activation's output where it is not 1.

    Raises:
        NotImplementedError: A field reaches an operator that has no adjoint.
    """
    if rule not in {"positional", "active"}:
        raise ValueError(f"rule {rule!r}: expected 'positional' or 'active'")
    model = _inlined(model)
    values = evaluate(model, feeds)
    live = _live(model, feeds)
    start = _before_final(model, output or model.graph.output[0].name)
    found: dict[str, Array] = {start: seed(values[start], target, class_step)}
    for node in reversed(model.graph.node):
        if not any(name in found for name in node.output) or not any(name in live for name in node.input):
            continue
        step = _step(model, node, values, live)
        if rule == "active" and node.output[0] in found and never_negative(step):
            axis = (channel_axes or {}).get(node.output[0], 1)
            found[node.output[0]] = pooled(found[node.output[0]], step.y, axis)
        for name, g in zip(node.input, _back(step, [found.get(name) for name in node.output]), strict=False):
            if g is not None and name in live:
                found[name] = found[name] + g if name in found else g
    numbers = {name: value.astype(np.float64) for name, value in values.items() if value.dtype.kind in "biuf"}
    return TwinResult(numbers, found)


def seed(scores: Array, target: int, class_step: str) -> Array:
    """``e_k`` or ``e_k - mean of the other e_j`` on the axis of the classes, at every other position."""
    wide = [axis for axis, size in enumerate(scores.shape) if size > 1]
    axis = wide[0] if len(wide) == 1 else min(1, scores.ndim - 1)
    count = scores.shape[axis]
    if not 0 <= target < count:
        raise ValueError(f"target {target}: the output has {count} classes")
    if class_step not in {"contrast", "contribution"}:
        raise ValueError(f"class_step {class_step!r}: expected 'contrast' or 'contribution'")
    others = -1.0 / (count - 1) if class_step == "contrast" and count > 1 else 0.0
    vector = np.full(count, others)
    vector[target] = 1.0
    shape = [count if i == axis else 1 for i in range(scores.ndim)]
    return np.broadcast_to(vector.reshape(shape), scores.shape).copy()


def pooled(g: Array, y: Array, axis: int) -> Array:
    """``R_c / sum_p y[c,p]`` at every position of c; 0 where the mean of y is below 1e-6 (``active``)."""
    relevance, total = _per_channel(g * y, axis), _per_channel(y, axis)
    alive = total / (y.size / y.shape[axis]) >= POOLED_FLOOR
    share = np.divide(relevance, total, out=np.zeros_like(total), where=alive)
    shape = [-1 if i == axis else 1 for i in range(y.ndim)]
    return np.broadcast_to(share.reshape(shape), y.shape).copy()


# --- the graph around a node ---


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    return inliner.inline_local_functions(model) if model.functions else model


def _producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output if name}


def _live(model: onnx.ModelProto, feeds: Iterable[str]) -> set[str]:
    """Tensors whose values depend on the feeds; a tensor's shape does not count."""
    live = set(feeds)
    for node in model.graph.node:
        if node.op_type not in {"Shape", "Size"} and any(name in live for name in node.input):
            live.update(name for name in node.output if name)
    return live


def _before_final(model: onnx.ModelProto, output: str) -> str:
    producers, name = _producers(model), output
    while (node := producers.get(name)) is not None:
        if node.op_type in FINAL:
            return node.input[0]
        if node.op_type not in HEAD_CHAIN:
            break
        name = node.input[0]
    return output


def _chain_has(
    producers: Mapping[str, onnx.NodeProto], name: str, through: frozenset[str], wanted: frozenset[str]
) -> bool:
    node = producers.get(name)
    if node is None:
        return False
    if node.op_type in wanted:
        return True
    return node.op_type in through and any(_chain_has(producers, i, through, wanted) for i in node.input)


def _step(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    values: Mapping[str, Array],
    live: set[str] | None = None,
) -> Step:
    gate = attention = (False,) * len(node.input)
    if live is not None and node.op_type in {"Mul", "MatMul"}:
        made = _producers(model)
        gate = tuple(_chain_has(made, i, GATE_CHAIN, GATES) for i in node.input)
        attention = tuple(_chain_has(made, i, ATTENTION_CHAIN, frozenset({"Softmax"})) for i in node.input)
    return Step(
        op=node.op_type,
        name=node.name or next(iter(node.output)),
        attributes={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        inputs=tuple(values[name] if name else None for name in node.input),
        outputs=tuple(values.get(name) for name in node.output),
        live=tuple(name in (live or ()) for name in node.input),
        gate=gate,
        attention=attention,
        opset=max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=1),
    )


def _run(step: Step, model: onnx.ModelProto | None = None) -> Sequence[Array]:
    if step.op in FORWARD:
        return [FORWARD[step.op](step)]
    names = [f"i{i}" if value is not None else "" for i, value in enumerate(step.inputs)]
    outputs = [f"o{i}" for i in range(len(step.outputs))]
    node = onnx.helper.make_node(step.op, names, outputs, **step.attributes)
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, None) for n in names if n],
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, None) for n in outputs],
    )
    imports = list(model.opset_import) if model else [onnx.helper.make_opsetid("", step.opset)]
    runner = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))
    return runner.run(None, {n: v for n, v in zip(names, step.inputs, strict=True) if v is not None})


def _back(step: Step, gs: Sequence[Array | None]) -> Fields:
    if step.op in MOVES:
        return _moved_back(step, gs)
    if step.op not in ADJOINTS:
        raise NotImplementedError(f"no adjoint for {step.op} (node {step.name!r}); add one to tests/twin.py")
    g = gs[0]
    if g is None:
        return ()
    return ADJOINTS[step.op](step, g)


def _wide(value: Array) -> Array:
    return value.astype(np.float64) if value.dtype.kind == "f" or value.dtype.name == "bfloat16" else value


def _per_channel(t: Array, axis: int) -> Array:
    axis %= t.ndim
    return np.asarray(t.sum(axis=tuple(i for i in range(t.ndim) if i != axis)))


def _unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    kept = tuple(i for i, size in enumerate(shape) if size == 1 and g.shape[i] != 1)
    return np.asarray(g.sum(axis=kept, keepdims=True)) if kept else g


# --- windows: convolution and pooling by taps ---


@dataclass(frozen=True)
class Axis:
    """One spatial axis: ``index[tap, out]`` is the position (``size``: none), ``counted``: within pads."""

    size: int
    index: Array
    counted: Array


def _axis(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], *, ceil: bool) -> Axis:
    span = size + sum(pads) - (kernel - 1) * dilation - 1
    out = (-(-span // stride) if ceil else span // stride) + 1
    if ceil and (out - 1) * stride >= size + pads[0]:
        out -= 1
    at = np.arange(out) * stride + np.arange(kernel)[:, None] * dilation - pads[0]
    return Axis(size, np.where((at >= 0) & (at < size), at, size), at < size + pads[1])


def _axes(step: Step, sizes: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    rank, a = len(sizes), step.attributes
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    pads = a.get("pads", [0] * 2 * rank)
    ceil = bool(a.get("ceil_mode", 0))
    auto = a.get("auto_pad", b"NOTSET")
    axes = []
    for i, size in enumerate(sizes):
        pair = (pads[i], pads[rank + i])
        if auto in {b"SAME_UPPER", b"SAME_LOWER"}:
            total = max((-(-size // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - size, 0)
            pair = (total // 2, total - total // 2)[:: 1 if auto == b"SAME_UPPER" else -1]
        elif auto == b"VALID":
            pair = (0, 0)
        axes.append(_axis(size, kernel[i], strides[i], dilations[i], pair, ceil=ceil))
    return axes


def _extended(x: Array, fill: float) -> Array:
    return np.pad(x, [(0, 0), (0, 0)] + [(0, 1)] * (x.ndim - 2), constant_values=fill)


def _at(axes: Sequence[Axis], tap: tuple[int, ...]) -> tuple[Any, ...]:
    return (slice(None), slice(None), *np.ix_(*(a.index[t] for a, t in zip(axes, tap, strict=True))))


def _cropped(extended: Array) -> Array:
    return extended[(slice(None), slice(None), *[slice(0, -1)] * (extended.ndim - 2))]


def correlate(x: Array, w: Array, axes: Sequence[Axis], groups: int) -> Array:
    """Convolution of x (N, C, ...) with w (O, C / groups, ...) as a loop over taps."""
    n, c, o = x.shape[0], x.shape[1], w.shape[0]
    outs = tuple(a.index.shape[1] for a in axes)
    y, wider = np.zeros((n, groups, o // groups, math.prod(outs))), _extended(x, 0.0)
    for tap in np.ndindex(*w.shape[2:]):
        matrix = w[(slice(None), slice(None), *tap)].reshape(groups, o // groups, c // groups)
        y += matrix @ wider[_at(axes, tap)].reshape(n, groups, c // groups, -1)
    return y.reshape(n, o, *outs)


def correlate_back(g: Array, w: Array, axes: Sequence[Axis], groups: int) -> Array:
    """The transpose of `correlate`: g (N, O, ...) to the input's shape (N, C, ...)."""
    n, o, inner = g.shape[0], w.shape[0], w.shape[1]
    outs = g.shape[2:]
    wider = np.zeros((n, inner * groups, *(a.size + 1 for a in axes)))
    for tap in np.ndindex(*w.shape[2:]):
        matrix = w[(slice(None), slice(None), *tap)].reshape(groups, o // groups, inner)
        back = np.swapaxes(matrix, 1, 2) @ g.reshape(n, groups, o // groups, -1)
        wider[_at(axes, tap)] += back.reshape(n, inner * groups, *outs)
    return _cropped(wider)


def _with_bias(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias.reshape(1, -1, *[1] * (y.ndim - 2))


@forward("Conv")
def _conv(step: Step) -> Array:
    w = step.need(1)
    axes = _axes(step, step.x.shape[2:], w.shape[2:])
    return _with_bias(correlate(step.x, w, axes, step.attributes.get("group", 1)), step.get(2))


@adjoint("Conv")
def _conv_back(step: Step, g: Array) -> Fields:
    w = step.need(1)
    return [correlate_back(g, w, _axes(step, step.x.shape[2:], w.shape[2:]), step.attributes.get("group", 1))]


def _transposed_axes(step: Step) -> list[Axis]:
    """Axes of the convolution whose transpose this ConvTranspose is: its input is our output."""
    w, rank, a = step.need(1), step.x.ndim - 2, step.attributes
    if a.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in a:
        raise NotImplementedError("ConvTranspose with auto_pad or output_shape")
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    pads, extra = a.get("pads", [0] * 2 * rank), a.get("output_padding", [0] * rank)
    axes = []
    for i, taken in enumerate(step.x.shape[2:]):
        full = strides[i] * (taken - 1) + (w.shape[2 + i] - 1) * dilations[i] + 1 + extra[i]
        size = full - pads[i] - pads[rank + i]
        axis = _axis(size, w.shape[2 + i], strides[i], dilations[i], (pads[i], pads[rank + i]), ceil=False)
        axes.append(Axis(size, axis.index[:, :taken], axis.counted[:, :taken]))
    return axes


@forward("ConvTranspose")
def _conv_transpose(step: Step) -> Array:
    y = correlate_back(step.x, step.need(1), _transposed_axes(step), step.attributes.get("group", 1))
    return _with_bias(y, step.get(2))


@adjoint("ConvTranspose")
def _conv_transpose_back(step: Step, g: Array) -> Fields:
    return [correlate(g, step.need(1), _transposed_axes(step), step.attributes.get("group", 1))]


def _pool(step: Step) -> tuple[list[Axis], list[tuple[int, ...]]]:
    kernel = step.attributes["kernel_shape"]
    return _axes(step, step.x.shape[2:], kernel), list(np.ndindex(*kernel))


@forward("MaxPool")
def _max_pool(step: Step) -> Array:
    axes, taps = _pool(step)
    wider = _extended(step.x, -np.inf)
    return np.max([wider[_at(axes, tap)] for tap in taps], axis=0)


@adjoint("MaxPool")
def _max_pool_back(step: Step, g: Array) -> Fields:
    axes, taps = _pool(step)
    wider = _extended(step.x, -np.inf)
    first = np.argmax([wider[_at(axes, tap)] for tap in taps], axis=0)
    back = np.zeros_like(wider)
    for i, tap in enumerate(taps):
        back[_at(axes, tap)] += np.where(first == i, g, 0.0)
    return [_cropped(back)]


def _divisor(step: Step, axes: Sequence[Axis], taps: Iterable[tuple[int, ...]]) -> Array:
    padded = bool(step.attributes.get("count_include_pad", 0))
    count: Array = np.zeros([a.index.shape[1] for a in axes])
    for tap in taps:
        marks = [(a.counted if padded else a.index < a.size)[t] for a, t in zip(axes, tap, strict=True)]
        count = count + _outer(marks)
    return count


def _outer(marks: Sequence[Array]) -> Array:
    product = np.ones(())
    for mark in marks:
        product = np.multiply.outer(product, mark.astype(np.float64))
    return product


@forward("AveragePool")
def _average_pool(step: Step) -> Array:
    axes, taps = _pool(step)
    wider = _extended(step.x, 0.0)
    return np.sum([wider[_at(axes, tap)] for tap in taps], axis=0) / _divisor(step, axes, taps)


@adjoint("AveragePool")
def _average_pool_back(step: Step, g: Array) -> Fields:
    axes, taps = _pool(step)
    back = _extended(np.zeros_like(step.x), 0.0)
    share = g / _divisor(step, axes, taps)
    for tap in taps:
        back[_at(axes, tap)] += share
    return [_cropped(back)]


# --- reductions ---


def _reduced(step: Step) -> tuple[int, ...]:
    if step.op.startswith("Global"):
        return tuple(range(2, step.x.ndim))
    given = step.get(1) if step.get(1) is not None else step.attributes.get("axes")
    axes = [] if given is None else [int(a) % step.x.ndim for a in np.asarray(given).reshape(-1)]
    if axes or step.attributes.get("noop_with_empty_axes", 0):
        return tuple(axes)
    return tuple(range(step.x.ndim))


def _kept(step: Step, g: Array) -> Array:
    axes = _reduced(step)
    return g.reshape([1 if i in axes else size for i, size in enumerate(step.x.shape)])


@forward("GlobalAveragePool")
def _global_average(step: Step) -> Array:
    return np.asarray(step.x.mean(axis=_reduced(step), keepdims=True))


@forward("GlobalMaxPool")
def _global_max(step: Step) -> Array:
    return np.asarray(step.x.max(axis=_reduced(step), keepdims=True))


@adjoint("ReduceSum", "ReduceMean", "GlobalAveragePool")
def _sum_back(step: Step, g: Array) -> Fields:
    count = 1 if step.op == "ReduceSum" else math.prod(step.x.shape[a] for a in _reduced(step))
    return [np.broadcast_to(_kept(step, g) / count, step.x.shape).copy()]


@adjoint("ReduceMax", "GlobalMaxPool")
def _max_back(step: Step, g: Array) -> Fields:
    axes = _reduced(step)
    order = [i for i in range(step.x.ndim) if i not in axes] + list(axes)
    moved = step.x.transpose(order)
    flat = moved.reshape(*moved.shape[: step.x.ndim - len(axes)], -1)
    first = np.arange(flat.shape[-1]) == flat.argmax(axis=-1)[..., None]
    mask = first.reshape(moved.shape).transpose(np.argsort(order))
    return [_kept(step, g) * mask]


# --- dense and affine ---


@forward("Gemm")
def _gemm(step: Step) -> Array:
    a, b = _gemm_operands(step)
    y = step.attributes.get("alpha", 1.0) * (a @ b)
    c = step.get(2)
    return y if c is None else y + step.attributes.get("beta", 1.0) * c


def _gemm_operands(step: Step) -> tuple[Array, Array]:
    a = step.x.T if step.attributes.get("transA", 0) else step.x
    return a, step.need(1).T if step.attributes.get("transB", 0) else step.need(1)


@adjoint("Gemm")
def _gemm_back(step: Step, g: Array) -> Fields:
    (a, b), alpha = _gemm_operands(step), step.attributes.get("alpha", 1.0)
    if step.live[0] and step.live[1]:
        raise NotImplementedError(f"Gemm {step.name!r} of two activations")
    ga, gb = alpha * (g @ b.T), alpha * (a.T @ g)
    result = [
        ga.T if step.attributes.get("transA", 0) else ga,
        gb.T if step.attributes.get("transB", 0) else gb,
    ]
    c = step.get(2)
    return result if c is None else [*result, step.attributes.get("beta", 1.0) * _unbroadcast(g, c.shape)]


@adjoint("MatMul")
def _matmul_back(step: Step, g: Array) -> Fields:
    """With a constant side the other receives; of two activations the attention (or left) operand is held."""
    a, b = step.x, step.need(1)
    hold_right = step.live[0] and (not step.live[1] or (step.attention[1] and not step.attention[0]))
    if hold_right:
        return [_matmul_back_left(a, b, g), None]
    if b.ndim == 1:
        return [None, np.tensordot(g, a, axes=g.ndim)]
    wide_g = g[..., None, :] if a.ndim == 1 else g
    return [None, _unbroadcast(np.swapaxes(np.atleast_2d(a), -1, -2) @ wide_g, b.shape)]


def _matmul_back_left(a: Array, b: Array, g: Array) -> Array:
    if b.ndim == 1:
        b, g = b[:, None], g[..., None]
    wide_g = g[..., None, :] if a.ndim == 1 else g
    back = wide_g @ np.swapaxes(b, -1, -2)
    return _unbroadcast(back, (1, *a.shape)).reshape(a.shape) if a.ndim == 1 else _unbroadcast(back, a.shape)


def _columns(values: Array, ndim: int) -> Array:
    return values.reshape(1, -1, *[1] * (ndim - 2))


@forward("BatchNormalization")
def _batch_norm(step: Step) -> Array:
    scale, bias, mean, var = (_columns(step.need(i), step.x.ndim) for i in range(1, 5))
    return (step.x - mean) / np.sqrt(var + step.attributes.get("epsilon", 1e-5)) * scale + bias


@adjoint("BatchNormalization")
def _batch_norm_back(step: Step, g: Array) -> Fields:
    scale, var = _columns(step.need(1), step.x.ndim), _columns(step.need(4), step.x.ndim)
    return [g * scale / np.sqrt(var + step.attributes.get("epsilon", 1e-5))]


@adjoint("Add", "Sum")
def _add_back(step: Step, g: Array) -> Fields:
    return [_unbroadcast(g, x.shape) for x in step.inputs if x is not None]


@adjoint("Sub")
def _sub_back(step: Step, g: Array) -> Fields:
    return [_unbroadcast(g, step.x.shape), -_unbroadcast(g, step.need(1).shape)]


@adjoint("Neg")
def _neg_back(step: Step, g: Array) -> Fields:
    return [-g]


@adjoint("Mul")
def _mul_back(step: Step, g: Array) -> Fields:
    held = gate_operand(step)
    kept = 1 - held
    back: list[Array | None] = [None, None]
    back[kept] = _unbroadcast(g * step.need(held), step.need(kept).shape)
    return back


def gate_operand(step: Step) -> int:
    """Index of the operand that is held: the constant, the gate by its chain, the smaller, or the second."""
    if step.live[0] != step.live[1]:
        return 1 if step.live[0] else 0
    if step.gate[0] != step.gate[1]:
        return 0 if step.gate[0] else 1
    return 0 if step.x.size < step.need(1).size else 1


@adjoint("Div")
def _div_back(step: Step, g: Array) -> Fields:
    if not step.live[0]:
        raise NotImplementedError(f"Div {step.name!r}: a constant over an activation")
    return [_unbroadcast(g / step.need(1), step.x.shape), None]


# --- activations ---


def _bounds(step: Step) -> tuple[float, float]:
    low = step.get(1) if step.get(1) is not None else step.attributes.get("min")
    high = step.get(2) if step.get(2) is not None else step.attributes.get("max")
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


def _clip_slope(step: Step) -> float:
    low, high = _bounds(step)
    return 1.0 if low < 0 <= high else 0.0


SLOPE_AT_ZERO: dict[str, Callable[[Step], Any]] = {
    "Relu": lambda _: 0.0,
    "Clip": _clip_slope,
    "Sigmoid": lambda _: 0.25,
    "Softplus": lambda _: 0.5,
    "LeakyRelu": lambda s: s.attributes.get("alpha", 0.01),
    "PRelu": lambda s: s.need(1),
    "Elu": lambda s: s.attributes.get("alpha", 1.0),
    "Selu": lambda s: (
        s.attributes.get("alpha", 1.67326319217681884765625) * s.attributes.get("gamma", 1.05070102214813232421875)
    ),
    "Celu": lambda _: 1.0,
    "Gelu": lambda _: 0.5,
    "HardSwish": lambda _: 0.5,
    "Swish": lambda _: 0.5,
    "HardSigmoid": lambda s: s.attributes.get("alpha", 0.2) if 0 < s.attributes.get("beta", 0.5) <= 1 else 0.0,
    "Tanh": lambda _: 1.0,
    "ThresholdedRelu": lambda _: 0.0,
    "Mish": lambda _: 0.6,
    "Softsign": lambda _: 1.0,
    "Exp": lambda _: 1.0,
    "Abs": lambda _: 0.0,
    "Sqrt": lambda _: 0.0,
    "Erf": lambda _: 2.0 / math.sqrt(math.pi),
}
"""f'(0); where f has a kink at 0 the slope from the left, as ReLU's mask ``x > 0`` does."""


def never_negative(step: Step) -> bool:
    """Whether f >= 0 everywhere, so that ``active`` pools its output."""
    if step.op == "Clip":
        return _bounds(step)[0] >= 0
    if step.op == "ThresholdedRelu":
        return bool(step.attributes.get("alpha", 1.0) >= 0)
    return step.op in {"Relu", "Sigmoid", "HardSigmoid", "Softplus", "Exp", "Abs", "Sqrt"}


@adjoint(*SLOPE_AT_ZERO)
def _activation_back(step: Step, g: Array) -> Fields:
    x = step.x
    origin = np.asarray(_run(replace(step, inputs=(np.zeros_like(x), *step.inputs[1:])))[0])
    near = np.abs(x) <= np.where(origin == 0, 0.0, 1e-8)
    ratio = np.divide(step.y - origin, x, out=np.zeros_like(x), where=~near)
    return [g * np.where(near, SLOPE_AT_ZERO[step.op](step), ratio)]


@forward("Softplus")
def _softplus(step: Step) -> Array:
    return np.logaddexp(0.0, step.x)


@forward("Erf")
def _erf(step: Step) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(step.x)


@forward("Gelu")
def _gelu(step: Step) -> Array:
    x = step.x
    if step.attributes.get("approximate", b"none") == b"tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


# --- normalisations: the deviation is held, the centring transposed ---


def _norm_layout(step: Step) -> tuple[tuple[int, ...], tuple[int, ...], Array, Array]:
    """Shape to normalise in, its normalised axes, and scale and bias in the input's shape."""
    x, scale = step.x, step.need(1)
    bias = step.get(2) if step.get(2) is not None else np.zeros_like(scale)
    if step.op in {"LayerNormalization", "RMSNormalization"}:
        axes = tuple(range(step.attributes.get("axis", -1) % x.ndim, x.ndim))
        return x.shape, axes, np.broadcast_to(scale, x.shape), np.broadcast_to(bias, x.shape)
    groups = step.attributes.get("num_groups", x.shape[1])
    repeat = x.shape[1] // scale.size
    wide = [np.broadcast_to(_columns(np.repeat(v, repeat), x.ndim), x.shape) for v in (scale, bias)]
    shape = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    return shape, tuple(range(2, len(shape))), wide[0], wide[1]


def _deviation(step: Step, t: Array, axes: tuple[int, ...]) -> Array:
    centred = t if step.op == "RMSNormalization" else t - t.mean(axis=axes, keepdims=True)
    power = np.mean(np.square(centred), axis=axes, keepdims=True)
    return np.sqrt(power + step.attributes.get("epsilon", 1e-5))


@forward("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization")
def _norm(step: Step) -> Array:
    shape, axes, scale, bias = _norm_layout(step)
    t = step.x.reshape(shape)
    centred = t if step.op == "RMSNormalization" else t - t.mean(axis=axes, keepdims=True)
    return (centred / _deviation(step, t, axes)).reshape(step.x.shape) * scale + bias


@adjoint("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization")
def _norm_back(step: Step, g: Array) -> Fields:
    shape, axes, scale, _ = _norm_layout(step)
    share = (g * scale).reshape(shape) / _deviation(step, step.x.reshape(shape), axes)
    if step.op != "RMSNormalization":
        share = share - share.mean(axis=axes, keepdims=True)
    return [share.reshape(step.x.shape)]


def _lrn_divisor(step: Step) -> Array:
    a, x = step.attributes, step.x
    before, size = (a["size"] - 1) // 2, a["size"]
    squares = np.zeros_like(x)
    for c in range(x.shape[1]):
        squares[:, c] = np.square(x[:, max(0, c - before) : c - before + size]).sum(axis=1)
    return np.asarray((a.get("bias", 1.0) + a.get("alpha", 1e-4) / size * squares) ** a.get("beta", 0.75))


@forward("LRN")
def _lrn(step: Step) -> Array:
    return step.x / _lrn_divisor(step)


@adjoint("LRN")
def _lrn_back(step: Step, g: Array) -> Fields:
    return [g / _lrn_divisor(step)]


# --- operators that move elements ---

MOVES: dict[str, tuple[int, ...] | None] = dict.fromkeys(
    [
        *("Split", "Slice", "Pad", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Gather"),
        *("GatherND", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Trilu", "Resize"),
    ],
    (0,),
) | {"Concat": None, "Where": (1, 2)}
"""Operator -> the inputs whose elements it moves (None: all of them)."""


def _moved_back(step: Step, gs: Sequence[Array | None]) -> Fields:
    """Send the elements' numbers 1, 2, ... forwards; each field element goes to its number (0: to none)."""
    if step.op == "Resize" and step.attributes.get("mode", b"nearest") != b"nearest":
        raise NotImplementedError(f"Resize {step.name!r}: only mode nearest moves elements")
    moved = MOVES[step.op] or tuple(range(len(step.inputs)))
    back: list[Array | None] = [None] * len(step.inputs)
    for index in moved:
        if step.live[index]:
            back[index] = _numbered(step, index, moved, gs)
    return back


def _numbered(step: Step, index: int, moved: Sequence[int], gs: Sequence[Array | None]) -> Array:
    inputs = [np.zeros_like(x) if i in moved and x is not None else x for i, x in enumerate(step.inputs)]
    source = step.need(index)
    inputs[index] = np.arange(1, source.size + 1, dtype=np.float64).reshape(source.shape)
    attributes = dict(step.attributes)
    if step.op == "Pad":
        attributes.pop("value", None)
        inputs[2:3] = [np.zeros(())] if len(inputs) > 2 else []
    total = np.zeros(source.size + 1)
    numbers = _run(replace(step, inputs=tuple(inputs), attributes=attributes))
    for number, g in zip(numbers, gs, strict=False):
        if g is not None:
            np.add.at(total, np.rint(number).astype(np.int64).reshape(-1), g.reshape(-1))
    return total[1:].reshape(source.shape)


@adjoint("Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear")
def _same(_step: Step, g: Array) -> Fields:
    return [g]


@forward("Identity", "Dropout")
def _pass(step: Step) -> Array:
    return step.x


@forward("Cast")
def _cast(step: Step) -> Array:
    kind = onnx.helper.tensor_dtype_to_np_dtype(step.attributes["to"])
    wide = np.dtype(kind).kind == "f" or np.dtype(kind).name == "bfloat16"
    return step.x.astype(np.float64 if wide else kind)


# --- rule zplus: relevance itself is handed down, place by place ---

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
MEANS = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"})
AFFINES = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub"})
COPIES = frozenset({"Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear"})
ADDITIONS = frozenset({"Add", "Sum", "Sub"})
CHOICES = frozenset({"MaxPool", "GlobalMaxPool", "ReduceMax", "Max", "Min"})
NORMS = frozenset({"LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "LRN"})


@dataclass(frozen=True)
class TwinRelevance:
    """Relevance by rule ``zplus`` of one item.

    Attributes:
        values: Every tensor of the (inlined) graph, float64, batch 1.
        found: Relevance of every tensor from where it starts downwards, of the tensor's shape.
        totals: For the output of each layer below, the positive products that share its relevance.
        starts: Names of the tensors where a field was turned into relevance.
    """

    values: dict[str, Array]
    found: dict[str, Array]
    totals: dict[str, Array]
    starts: tuple[str, ...]

    def kernels(self, tensor: str, *, axis: int = 1) -> Array:
        """Sum over all axes but ``axis``: shape (channels,)."""
        return _per_channel(self.found[tensor], axis)

    def places(self, tensor: str, *, axis: int = 1) -> Array:
        """Sum over the kernels: the tensor's shape without ``axis``."""
        return np.asarray(self.found[tensor].sum(axis=axis))


def zplus(
    model: onnx.ModelProto,
    feeds: Mapping[str, Array],
    *,
    output: str | None = None,
    target: int,
    class_step: str = "contrast",
    others: Array | None = None,
    channel_axes: Mapping[str, int | None] | None = None,
    absorbing: float | None = None,
) -> TwinRelevance:
    """Relevance of every tensor: a field down to the features of the first layers met, relevance below.

    Args:
        model: Any ONNX model of the operators that the twin knows.
        feeds: Graph inputs, batch 1.
        output: As in `fields`.
        target: Class index along the flattened class axis.
        class_step: ``contrast`` or ``contribution``.
        others: Under ``contrast``, weights of the classes to take off; all alike by default.
        channel_axes: Channel axis where it is not 1; None where several kernels' elements share no axis.
        absorbing: Where given, a layer's positive biases, what affine maps behind it add included, take part and keep
            their share, and so does this part of the mean of each kernel's totals.
    """
    model = _inlined(model)
    values, live = evaluate(model, feeds), _live(model, feeds)
    start = _before_final(model, output or model.graph.output[0].name)
    scores: dict[str, Array] = {start: rival_seed(values[start], target, class_step, others)}
    features: dict[str, Array] = {}
    found: dict[str, Array] = {}
    totals: dict[str, Array] = {}
    starts: list[str] = []
    for node in reversed(model.graph.node):
        if not any(name in live for name in node.input):
            continue
        step = _step(model, node, values, live)
        if any(name in scores for name in node.output):
            back = _back(step, [scores.get(name) for name in node.output])
            _collect(node, back, live, features if is_layer(step) else scores)
        waiting = [name for name in node.output if name in features]
        axes = {name: (channel_axes or {}).get(name, 1) for name in waiting}
        mixed = any(name in found for name in node.output)
        if waiting and not mixed and linear_in_features(step, axes[waiting[0]]):
            _collect(node, _back(step, [features.get(name) for name in node.output]), live, features)
            continue
        for name in waiting:
            first = started(features[name], values[name], axes[name])
            found[name] = found[name] + first if name in found else first
            starts.append(name)
        if any(name in found for name in node.output):
            if is_layer(step):
                bias, end = layer_bias(model, step, values, node.output[0])
                last = step.y.ndim - (1 if step.live[0] else 2)
                axis = 1 if node.op_type.startswith("Conv") else last
                scale, offset = kernel_affine(model, values, live, end, axis)
                signed = any(is_model_input(model, live, feeds, name) for name in node.input if name in live)
                pieces = positive_pieces(step, scale, signed=signed)
                totals[node.output[0]] = np.sum([_run(piece)[0] for piece in pieces], axis=0)
                kept: Array | float = 0.0
                if absorbing is not None:
                    kept = np.maximum(bias * scale + offset, 0)
                    kept = kept.reshape([-1 if a == axis else 1 for a in range(step.y.ndim)])
                    places = tuple(a for a in range(step.y.ndim) if a != axis)
                    kept = kept + absorbing * np.mean(totals[node.output[0]] + kept, axis=places, keepdims=True)
                back = _layer_shares(step, found[node.output[0]], pieces, kept)
            else:
                back = _shared_back(step, [found.get(name) for name in node.output])
            _collect(node, back, live, found)
    numbers = {name: value.astype(np.float64) for name, value in values.items() if value.dtype.kind in "biuf"}
    return TwinRelevance(numbers, found, totals, tuple(starts))


def rival_seed(scores: Array, target: int, class_step: str, others: Array | None) -> Array:
    """`seed`, the other classes weighted as given."""
    if others is None or class_step != "contrast":
        return seed(scores, target, class_step)
    alone = seed(scores, target, "contribution")
    for j, weight in enumerate(others):
        if j != target:
            alone -= weight * seed(scores, j, "contribution")
    return alone


def _collect(node: onnx.NodeProto, back: Fields, live: set[str], into: dict[str, Array]) -> None:
    for name, g in zip(node.input, back, strict=False):
        if g is not None and name in live:
            into[name] = into[name] + g if name in into else g


def is_layer(step: Step) -> bool:
    """Whether the node multiplies an activation with constant weights."""
    return step.op in LAYERS and step.live[:2].count(True) == 1


def linear_in_features(step: Step, axis: int | None) -> bool:
    """Whether a field goes on below: always through means and copies, through the rest where no places are left."""
    moves = step.op in MOVES and step.op not in {"Concat", "Where", "Split"}
    if moves or step.op in MEANS | COPIES:
        return True
    if axis is None or step.y.size > step.y.shape[axis]:
        return False
    affine = step.op in {"BatchNormalization", "Neg"} or (step.op in {"Mul", "Div"} and step.live.count(True) == 1)
    return affine or step.op == "Concat" or step.op in ADDITIONS


def started(u: Array, f: Array, axis: int | None) -> Array:
    """``max(s[p], 0) * max(u_f f[p], 0) / sum over f of max(u_f f[p], 0)``, s[p] the sum over f of u_f f[p]."""
    product = u * f
    positive = np.maximum(product, 0)
    if axis is None:
        return positive
    s = np.maximum(product.sum(axis=axis, keepdims=True), 0)
    if not s.any():
        return positive
    return positive * _ratio(s, positive.sum(axis=axis, keepdims=True))


def _ratio(above: Array, below: Array) -> Array:
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
    made, inputs = _producers(model), set(feeds)
    while name not in inputs:
        node = made.get(name)
        if node is None or node.op_type not in MOVES.keys() | COPIES | AFFINES:
            return False
        sources = [i for i in node.input if i in live]
        if len(sources) != 1:
            return False
        name = sources[0]
    return True


def _shared_back(step: Step, rs: Sequence[Array | None]) -> Fields:
    if step.op in MOVES:
        return _moved_back(step, rs)
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
        back[kept] = _unbroadcast(r, step.need(kept).shape)
        return back
    if step.op in SLOPE_AT_ZERO or step.op in COPIES | NORMS | {"BatchNormalization", "Div", "Neg"}:
        return [_unbroadcast(r, step.x.shape)]
    raise NotImplementedError(f"no relevance rule for {step.op} (node {step.name!r}); add one to tests/twin.py")


def _linear_shares(pieces: Sequence[Step], r: Array, index: int, kept: Array | float = 0.0) -> Array:
    """``sum over pieces of x * transposed(r / (kept + sum of outputs))``: a piece is linear in its input ``index``."""
    total = np.sum([_run(piece)[0] for piece in pieces], axis=0) + kept
    s = _ratio(r, total)
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


def layer_bias(model: onnx.ModelProto, step: Step, values: Mapping[str, Array], name: str) -> tuple[Array | float, str]:
    """A layer's bias per kernel, and the tensor it is in: a MatMul's is added behind it."""
    bias = step.get(2)
    if step.op == "MatMul" and step.live[0]:
        readers = [node for node in model.graph.node if name in node.input]
        behind = [i for node in readers if node.op_type == "Add" for i in node.input if i != name]
        constants = {t.name for t in model.graph.initializer}
        if len(readers) == 1 and behind and behind[0] in constants:
            return values[behind[0]], readers[0].output[0]
    return (0.0 if bias is None else bias * step.attributes.get("beta", 1.0)), name


def _layer_shares(step: Step, r: Array, pieces: Sequence[Step], kept: Array | float) -> Fields:
    index = 0 if step.live[0] else 1
    back: list[Array | None] = [None, None]
    back[index] = _linear_shares(pieces, r, index, kept)
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
        return [_unbroadcast(r, step.need(i).shape) if i in alive else None for i in range(len(step.inputs))]
    parts = {i: np.maximum(signs[i] * step.need(i), 0) for i in alive}
    s = _ratio(r, sum(np.broadcast_to(p, r.shape) for p in parts.values()))
    return [_unbroadcast(parts[i] * s, step.need(i).shape) if i in parts else None for i in range(len(step.inputs))]


@adjoint("Max", "Min")
def _extreme_back(step: Step, g: Array) -> Fields:
    """An element's field goes to the input it was taken from."""
    return [np.where(x == step.y, g, 0.0) if x is not None and x.shape == g.shape else None for x in step.inputs]
