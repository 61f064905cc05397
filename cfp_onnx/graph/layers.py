"""Which nodes are layers: convolutions and dense operations with weights, in every spelling.

A *part* is one weighted operation as the file writes it, with the cast, scale and bias nodes that belong to it. A
layer is one part, or the parallel convolutions between a Split and a Concat that together are one grouped one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cfp_onnx.errors import ModelError
from cfp_onnx.model import Node, Program
from cfp_onnx.text import shape_text
from cfp_onnx.values import Array

CONVOLUTIONS = frozenset(
    {"Conv", "com.microsoft::FusedConv", "ConvInteger", "QLinearConv", "com.microsoft::QLinearConv"}
)
TRANSPOSED = frozenset({"ConvTranspose"})
GEMMS = frozenset({"Gemm", "com.microsoft::FusedGemm", "com.microsoft::QGemm"})
MATMULS = frozenset(
    {"MatMul", "MatMulInteger", "com.microsoft::FusedMatMul", "QLinearMatMul", "com.microsoft::MatMulIntegerToFloat",
     "com.microsoft::DynamicQuantizeMatMul"}
)  # fmt: skip
WEIGHTED = CONVOLUTIONS | TRANSPOSED | GEMMS | MATMULS

MOVES_ONLY = frozenset({"Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast"})


@dataclass(frozen=True)
class Geometry:
    """Window of a convolution, one entry per spatial axis. A dense layer has none.

    Attributes:
        kernel: Taps per axis.
        strides: Steps between windows.
        dilations: Steps between taps.
        begins: Zeros in front of the input; negative sizes crop.
        ends: Zeros behind it.
    """

    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    @property
    def pointwise(self) -> bool:
        """One tap, no stride, no padding: every position stands for itself."""
        ones = all(k == 1 for k in self.kernel) and all(s == 1 for s in self.strides)
        return ones and not any(self.begins) and not any(self.ends)


@dataclass(frozen=True)
class Part:
    """One weighted operation of the file.

    Attributes:
        node: The operation itself.
        nodes: Names of all nodes that make it up.
        kind: ``conv``, ``deconv`` or ``dense``.
        source: Tensor whose channels it reads.
        output: Tensor that holds its kernels.
        in_axis: Channel axis of `source`.
        out_axis: Channel axis of `output`.
        groups: Groups of the operation itself.
        kernels: Output channels.
        channels: Input channels.
        geometry: Its window.
        weight: Constant tensor the weights come from.
        weights: Resolves the weights, (kernels, channels / groups, *taps) float32.
        bias: Resolves the bias, (kernels,) float32.
        activation: Activation inside a fused operator, else None.
        plain_weight: Whether `weight` itself is float32 in the layout of `weights`.
    """

    node: Node
    nodes: tuple[str, ...]
    kind: str
    source: str
    output: str
    in_axis: int
    out_axis: int
    groups: int
    kernels: int
    channels: int
    geometry: Geometry
    weight: str
    weights: Callable[[], Array]
    bias: Callable[[], Array]
    activation: str | None = None
    plain_weight: bool = False


def find_parts(program: Program) -> list[Part]:
    """Every weighted operation on the part of the graph that depends on the input, in execution order."""
    return [p for node in program.nodes if node.op in WEIGHTED and (p := _part(program, node)) is not None]


def _part(program: Program, node: Node) -> Part | None:
    if node.op in CONVOLUTIONS or node.op in TRANSPOSED:
        return _convolution(program, node)
    return _gemm(program, node) if node.op in GEMMS else _matmul(program, node)


# ------------------------------------------------------------------------------------------- convolutions


def _convolution(program: Program, node: Node) -> Part | None:
    quantised = node.op.endswith("QLinearConv")
    weight = node.input(3 if quantised else 1)
    source = node.input(0)
    if not program.is_constant(weight) or program.is_constant(source) or node.attributes.get("channels_last", 0):
        return None
    if _depends(program, node.input(8 if quantised else 2)) and node.op != "ConvInteger":
        return None
    group = int(node.attributes.get("group", 1))
    shape = program.constant(weight).shape
    channels = _size(program, source, 1)
    transposed = node.op in TRANSPOSED
    reads = shape[0] if transposed else shape[1] * group
    if group < 1 or reads != channels or shape[0] % group:
        raise ModelError(
            f"{program.model.path}: node {node.name!r} ({node.op}, group {group}) reads {channels} channels "
            f"but its weight {program.stem(weight)!r} {shape_text(shape)} fits {reads}; the export is broken, "
            "repair it or export again"
        )
    tail, scale, bias = _integer_tail(program, node) if node.op == "ConvInteger" else ((), None, None)
    output = part_output(node, tail)
    return Part(
        node=node,
        nodes=(node.name, *(n.name for n in tail)),
        kind="deconv" if transposed else "conv",
        source=source,
        output=output,
        in_axis=1,
        out_axis=1,
        groups=group,
        kernels=int(shape[1] * group if transposed else shape[0]),
        channels=channels,
        geometry=_geometry(program, node, source, shape[2:], transposed=transposed),
        weight=weight,
        weights=_conv_weights(program, node, weight, group, scale, transposed=transposed),
        bias=_conv_bias(program, node, bias, shape[1] * group if transposed else shape[0]),
        activation=_text(node.attributes.get("activation")),
        plain_weight=not quantised and node.op != "ConvInteger" and _dtype(program, weight) == "float32",
    )


def _depends(program: Program, name: str) -> bool:
    """Whether an optional input is given and depends on the model's input, as an addend in the place of a bias."""
    return bool(name) and not program.is_constant(name)


def part_output(node: Node, tail: tuple[Node, ...]) -> str:
    """Tensor a layer's kernels leave in: that of the last node that belongs to it."""
    return (tail[-1] if tail else node).outputs[0]


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value.decode() if isinstance(value, bytes) else str(value)


def _size(program: Program, tensor: str, axis: int) -> int:
    shape = program.shapes.get(tensor)
    if shape is None or axis >= len(shape):
        raise ModelError(f"{program.model.path}: the shape of tensor {tensor!r} is unknown or too short")
    return shape[axis]


def _dtype(program: Program, name: str) -> str:
    return str(program.constant(name).dtype)


def _geometry(program: Program, node: Node, source: str, kernel: tuple[int, ...], *, transposed: bool) -> Geometry:
    rank = len(kernel)
    a = node.attributes
    strides = tuple(int(x) for x in a.get("strides") or (1,) * rank)
    dilations = tuple(int(x) for x in a.get("dilations") or (1,) * rank)
    pads = tuple(int(x) for x in a.get("pads") or (0,) * (2 * rank))
    begins, ends = pads[:rank], pads[rank:]
    auto = _text(a.get("auto_pad")) or "NOTSET"
    if transposed and auto != "NOTSET":
        outs = program.shapes[node.outputs[0]][2:]
        sizes = program.shapes[source][2:]
        total = [
            (i - 1) * s + d * (k - 1) + 1 - o
            for i, s, d, k, o in zip(sizes, strides, dilations, kernel, outs, strict=True)
        ]
        begins = tuple((t // 2 if auto == "SAME_UPPER" else t - t // 2) for t in total)
        ends = tuple(t - b for t, b in zip(total, begins, strict=True))
    elif auto in {"SAME_UPPER", "SAME_LOWER"}:
        begins, ends = same_pads(program.shapes[source][2:], kernel, strides, dilations, lower=auto == "SAME_LOWER")
    elif auto == "VALID":
        begins = ends = (0,) * rank
    return Geometry(tuple(int(k) for k in kernel), strides, dilations, begins, ends)


def same_pads(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    *,
    lower: bool,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros in front and behind for ``auto_pad = SAME_*`` (ONNX Conv: output = ceil(input / stride))."""
    begins, ends = [], []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        begins.append(total - total // 2 if lower else total // 2)
        ends.append(total - begins[-1])
    return tuple(begins), tuple(ends)


def _conv_weights(
    program: Program, node: Node, weight: str, group: int, scale: Array | None, *, transposed: bool
) -> Callable[[], Array]:
    def resolve() -> Array:
        w = program.constant(weight)
        if node.op.endswith("QLinearConv"):
            w = dequantise(w, program.constant(node.input(4)), program.constant_or_none(node.input(5)), axis=0)
        elif node.op == "ConvInteger":
            w = dequantise(w, scale, program.constant_or_none(node.input(3)), axis=0)
        elif transposed:
            w = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
            w = w.reshape(w.shape[0] * w.shape[1], *w.shape[2:])
        return np.asarray(w, dtype=np.float32)

    return resolve


def dequantise(q: Array, scale: Array | None, zero: Array | None, *, axis: int) -> Array:
    """(q - zero) * scale in float32; `scale` and `zero` are single numbers or run along `axis`."""

    def along(a: Array) -> Array:
        flat = np.asarray(a).reshape(-1)
        shape = [1] * q.ndim
        if flat.size > 1:
            shape[axis] = flat.size
        return flat.reshape(shape)

    out = q.astype(np.float32)
    if zero is not None:
        out = out - along(zero).astype(np.float32)
    return out if scale is None else out * along(scale).astype(np.float32)


def _conv_bias(program: Program, node: Node, tail_bias: Array | None, kernels: int) -> Callable[[], Array]:
    def resolve() -> Array:
        if node.op == "ConvInteger":
            return np.zeros(kernels, np.float32) if tail_bias is None else tail_bias.reshape(-1).astype(np.float32)
        quantised = node.op.endswith("QLinearConv")
        bias = program.constant_or_none(node.input(8 if quantised else 2))
        if bias is None:
            return np.zeros(kernels, np.float32)
        if not quantised:
            return np.asarray(bias, np.float32).reshape(-1)
        scale = program.constant(node.input(1)).astype(np.float32) * program.constant(node.input(4)).astype(np.float32)
        return np.asarray(bias.astype(np.float32) * scale.reshape(-1), np.float32)

    return resolve


def _only_consumer(program: Program, tensor: str) -> Node | None:
    users = program.consumers.get(tensor, [])
    if len(users) != 1 or any(p.name == tensor for p in program.model.outputs):
        return None
    return users[0]


def _integer_tail(program: Program, node: Node) -> tuple[tuple[Node, ...], Array | None, Array | None]:
    """Cast, scale and bias that follow an integer product: (nodes, weight scale, bias)."""
    tail: list[Node] = []
    scale = bias = None
    current = _only_consumer(program, node.outputs[0])
    if current is None or current.op != "Cast":
        return (), None, None
    tail.append(current)
    current = _only_consumer(program, current.outputs[0])
    if current is None or current.op != "Mul":
        return tuple(tail), None, None
    other = _other(current, tail[-1].outputs[0])
    scale = _weight_scale(program, other)
    tail.append(current)
    current = _only_consumer(program, current.outputs[0])
    if current is not None and current.op == "Add":
        value = program.constant_or_none(_other(current, tail[-1].outputs[0]))
        if value is not None:
            bias = value
            tail.append(current)
    return tuple(tail), scale, bias


def _other(node: Node, tensor: str) -> str:
    return node.inputs[1] if node.inputs[0] == tensor else node.inputs[0]


def _weight_scale(program: Program, tensor: str) -> Array | None:
    """Constant factor of ``input scale * weight scale``."""
    if program.is_constant(tensor):
        return program.constant(tensor)
    made = program.producers.get(tensor)
    if made is None or made.op != "Mul":
        return None
    for name in made.inputs:
        if program.is_constant(name):
            return program.constant(name)
    return None


# ------------------------------------------------------------------------------------------------- dense


def _gemm(program: Program, node: Node) -> Part | None:
    quantised = node.op.endswith("QGemm")
    source, weight = node.input(0), node.input(3 if quantised else 1)
    if program.is_constant(source) or not program.is_constant(weight) or node.attributes.get("transA", 0):
        return None
    if _depends(program, node.input(6 if quantised else 2)):
        return None
    flip = bool(node.attributes.get("transB", 0))
    shape = program.constant(weight).shape
    kernels, channels = (shape[0], shape[1]) if flip else (shape[1], shape[0])
    alpha, beta = float(node.attributes.get("alpha", 1.0)), float(node.attributes.get("beta", 1.0))

    def weights() -> Array:
        w = program.constant(weight)
        if quantised:
            w = dequantise(
                w, program.constant(node.input(4)), program.constant_or_none(node.input(5)), axis=0 if flip else 1
            )
        return np.asarray((w if flip else w.T), dtype=np.float32) * np.float32(alpha)

    def bias() -> Array:
        name = node.input(6 if quantised else 2)
        c = program.constant_or_none(name)
        if c is None:
            return np.zeros(kernels, np.float32)
        if quantised:
            scale = program.constant(node.input(1)).astype(np.float32) * program.constant(node.input(4)).astype(
                np.float32
            )
            return np.broadcast_to(c.reshape(-1).astype(np.float32) * scale.reshape(-1) * alpha, (kernels,))
        return np.broadcast_to(np.asarray(c, np.float32).reshape(-1) * np.float32(beta), (kernels,))

    return Part(
        node=node,
        nodes=(node.name,),
        kind="dense",
        source=source,
        output=node.outputs[0],
        in_axis=1,
        out_axis=1,
        groups=1,
        kernels=int(kernels),
        channels=int(channels),
        geometry=Geometry(),
        weight=weight,
        weights=weights,
        bias=bias,
        activation=_text(node.attributes.get("activation")),
        plain_weight=not quantised and flip and alpha == 1.0 and _dtype(program, weight) == "float32",
    )


def _matmul(program: Program, node: Node) -> Part | None:
    left, right = node.input(0), node.input(3 if node.op == "QLinearMatMul" else 1)
    if program.is_constant(left) == program.is_constant(right):
        return None
    weight, source = (left, right) if program.is_constant(left) else (right, left)
    on_left = weight == left
    shape = program.constant(weight).shape
    rank = len(program.shapes[source])
    if any(d != 1 for d in shape[:-2]) or len(shape) < 2 or rank < 2:
        return None
    kernels, channels = (shape[-2], shape[-1]) if on_left else (shape[-1], shape[-2])
    if any(node.attributes.get(k, 0) for k in ("transA", "transB", "transBatchA", "transBatchB")):
        return None
    inside = {"MatMulIntegerToFloat": 6, "DynamicQuantizeMatMul": 4}.get(node.op.rpartition("::")[2])
    if inside is not None and _depends(program, node.input(inside)):
        return None
    tail, scale, bias = _matmul_tail(program, node, int(kernels), on_left=on_left)
    axis = rank - 2 if on_left else rank - 1

    def weights() -> Array:
        w = _matmul_values(program, node, weight, scale)
        w = w.reshape(w.shape[-2:])
        return np.asarray(w if on_left else w.T, dtype=np.float32) * np.float32(node.attributes.get("alpha", 1.0))

    def biases() -> Array:
        flat = None if bias is None else np.asarray(bias, np.float32).reshape(-1)
        return np.zeros(kernels, np.float32) if flat is None else np.broadcast_to(flat, (kernels,))

    output = part_output(node, tail)
    return Part(
        node=node,
        nodes=(node.name, *(n.name for n in tail)),
        kind="dense",
        source=source,
        output=output,
        in_axis=axis,
        out_axis=len(program.shapes[output]) - (2 if on_left else 1),
        groups=1,
        kernels=int(kernels),
        channels=int(channels),
        geometry=Geometry(),
        weight=weight,
        weights=weights,
        bias=biases,
        activation=None,
    )


def _matmul_values(program: Program, node: Node, weight: str, scale: Array | None) -> Array:
    w = program.constant(weight)
    op = node.op.rpartition("::")[2]
    if op == "QLinearMatMul":
        return dequantise(w, program.constant(node.input(4)), program.constant_or_none(node.input(5)), axis=w.ndim - 1)
    if op == "MatMulInteger":
        return dequantise(w, scale, program.constant_or_none(node.input(3)), axis=w.ndim - 1)
    if op == "MatMulIntegerToFloat":
        return dequantise(w, program.constant(node.input(3)), program.constant_or_none(node.input(5)), axis=w.ndim - 1)
    if op == "DynamicQuantizeMatMul":
        return dequantise(w, program.constant(node.input(2)), program.constant_or_none(node.input(3)), axis=w.ndim - 1)
    return w


def _matmul_tail(
    program: Program, node: Node, kernels: int, *, on_left: bool
) -> tuple[tuple[Node, ...], Array | None, Array | None]:
    """What follows a product and belongs to the dense layer: (nodes, weight scale, bias)."""
    op = node.op.rpartition("::")[2]
    if op == "MatMulInteger":
        return _integer_tail(program, node)
    inside = {"MatMulIntegerToFloat": 6, "DynamicQuantizeMatMul": 4}.get(op)
    if inside is not None:
        return (), None, program.constant_or_none(node.input(inside))
    user = _only_consumer(program, node.outputs[0])
    if on_left or op == "QLinearMatMul" or user is None or user.op != "Add":
        return (), None, None
    value = program.constant_or_none(_other(user, node.outputs[0]))
    if value is None or value.size not in {1, kernels} or (value.size == kernels and value.shape[-1:] != (kernels,)):
        return (), None, None
    return (user,), None, value


# ------------------------------------------------------------------------------------------------ fibers


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
            fibers = _fibers(program, node, by_output)
            if fibers is not None:
                found.append(fibers)
    return found


def _fibers(program: Program, concat: Node, by_output: Mapping[str, Part]) -> Fibers | None:
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
