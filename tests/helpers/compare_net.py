"""A small network with every kind of block, and ways of writing or breaking it, for comparisons.

Stem, shortcut, three branches that meet again, grouped convolution with a shuffle behind it, depthwise and pointwise
convolutions, a squeeze-and-excitation gate, pooling and a classifier; batch norm and Relu after every convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

CLIP = (1, 3, 4, 10, 10)
CLASSES = 5
GROUPS = 4
SHAPES = {
    "stem": (8, 3, 3, 3, 3),
    "res.a": (12, 8, 3, 3, 3),
    "res.b": (8, 12, 1, 3, 3),
    "b1": (4, 8, 1, 1, 1),
    "b2": (4, 8, 3, 3, 3),
    "b3": (4, 8, 1, 1, 1),
    "mix": (16, 12, 1, 1, 1),
    "grp": (16, 16 // GROUPS, 3, 3, 3),
    "dw": (16, 1, 3, 3, 3),
    "pw": (12, 16, 1, 1, 1),
    "se1": (6, 12),
    "se2": (12, 6),
    "fc": (CLASSES, 12),
}
NORMED = ("stem", "res.a", "res.b", "b1", "b2", "b3", "mix", "grp", "dw", "pw")
SHUFFLE = np.arange(16).reshape(GROUPS, 4).T.reshape(-1)
"""Kernel of `grp` that arrives at each channel of `dw`."""


def weights(rng: np.random.Generator) -> dict[str, Array]:
    """Weights, biases and batch norms of every layer."""
    out: dict[str, Array] = {}
    for name, shape in SHAPES.items():
        fan = int(np.prod(shape[1:]))
        out[f"{name}.w"] = (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)
        if name in NORMED:
            n = shape[0]
            out[f"{name}.gamma"] = rng.uniform(0.6, 1.6, n).astype(np.float32)
            out[f"{name}.beta"] = rng.normal(0.1, 0.2, n).astype(np.float32)
            out[f"{name}.mean"] = rng.normal(0.0, 0.2, n).astype(np.float32)
            out[f"{name}.var"] = rng.uniform(0.5, 2.0, n).astype(np.float32)
        else:
            out[f"{name}.bias"] = rng.normal(0.0, 0.2, shape[0]).astype(np.float32)
    return out


@dataclass(frozen=True)
class Spelling:
    """How a network is written down, and what is wrong with it.

    Attributes:
        norm: ``kept``, ``folded`` into the weights, or ``spelled`` as products and sums.
        prefix: What every name starts with.
        last: Channels last, with transposes around every convolution.
        fibers: Whether the grouped convolution is written as Split, convolutions and Concat.
        epsilon: That of some layers' batch norms.
        pads: Padding of some layers.
        silent: Layers without their Relu; ``add`` is the one behind the shortcut's Add.
        reverse_input: Whether the input's channels are turned round.
        shortcut: Whether there is one.
        reverse_shuffle: Whether the groups of the shuffle are turned round.
        softmax: Whether a Softmax follows.
        extra: Whether there is one more layer before the classifier.
        pool: Padding of the branch's max pool, before and behind.
        padded: Whether zeros around convolutions are put there by a Pad.
        twice: Layers whose Relu is followed by a Sigmoid.
    """

    norm: str = "kept"
    prefix: str = ""
    last: bool = False
    fibers: bool = False
    epsilon: Mapping[str, float] = field(default_factory=dict)
    pads: Mapping[str, Sequence[int]] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    reverse_input: bool = False
    shortcut: bool = True
    reverse_shuffle: bool = False
    softmax: bool = False
    extra: bool = False
    pool: tuple[int, int] = (1, 1)
    padded: bool = False
    twice: frozenset[str] = frozenset()


class _Writer:
    def __init__(self, values: Mapping[str, Array], spelling: Spelling) -> None:
        self.values, self.spelling = dict(values), spelling
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def add(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        name = self.spelling.prefix + name
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}:0"], name, **attributes))
        return f"{name}:0"

    def constant(self, name: str, value: Any) -> str:
        self.constants[self.spelling.prefix + name] = np.asarray(value)
        return self.spelling.prefix + name

    def scale(self, name: str) -> tuple[Array, Array]:
        v = self.values
        scale = v[f"{name}.gamma"] / np.sqrt(v[f"{name}.var"] + np.float32(self.spelling.epsilon.get(name, 1e-5)))
        return scale, v[f"{name}.beta"] - v[f"{name}.mean"] * scale

    def conv(self, x: str, name: str, *, groups: int = 1, strides: Sequence[int] = (1, 1, 1), relu: bool = True) -> str:
        w = self.values[f"{name}.w"]
        kernel = w.shape[2:]
        pads = self.spelling.pads.get(name) or [k // 2 for k in kernel] * 2
        if self.spelling.padded and any(pads):
            around = [[0, *p, 0] if self.spelling.last else [0, 0, *p] for p in (pads[:3], pads[3:])]
            x = self.add("Pad", [x, self.constant(f"{name}.pads", np.array(around).reshape(-1))], f"{name}/pad")
            pads = [0] * 6
        bias = None
        if self.spelling.norm == "folded":
            scale, bias = self.scale(name)
            w = w * scale.reshape(-1, 1, 1, 1, 1)
        attributes = {"kernel_shape": kernel, "strides": strides, "pads": list(pads)}
        turned = self.spelling.last
        if turned:
            x = self.add("Transpose", [x], f"{name}/in", perm=[0, 4, 1, 2, 3])
        if self.spelling.fibers and 1 < groups < len(w):
            y = self._fibers(x, name, w, bias, groups, attributes)
        else:
            inputs = [x, self.constant(f"{name}.w", w)]
            if bias is not None:
                inputs.append(self.constant(f"{name}.b", bias))
            y = self.add("Conv", inputs, name, group=groups, **attributes)
        if turned:
            y = self.add("Transpose", [y], f"{name}/out", perm=[0, 2, 3, 4, 1])
        y = self.norm(y, name)
        y = self.add("Relu", [y], f"{name}/relu") if relu and name not in self.spelling.silent else y
        return self.add("Sigmoid", [y], f"{name}/again") if name in self.spelling.twice else y

    def _fibers(self, x: str, name: str, w: Array, bias: Array | None, groups: int, attributes: Any) -> str:
        per, width = len(w) // groups, w.shape[1]
        pieces = [f"{name}/cut/{i}" for i in range(groups)]
        sizes = self.constant(f"{name}/sizes", np.full(groups, width, np.int64))
        self.nodes.append(helper.make_node("Split", [x, sizes], pieces, f"{name}/cut", axis=1))
        ends = []
        for i, piece in enumerate(pieces):
            rows = slice(i * per, (i + 1) * per)
            inputs = [piece, self.constant(f"{name}.w{i}", w[rows])]
            if bias is not None:
                inputs.append(self.constant(f"{name}.b{i}", bias[rows]))
            ends.append(self.add("Conv", inputs, f"{name}/fiber{i}", **attributes))
        return self.add("Concat", ends, f"{name}/joined", axis=1)

    def norm(self, x: str, name: str) -> str:
        if self.spelling.norm == "folded":
            return x
        if self.spelling.norm == "kept" and not self.spelling.last:
            inputs = [
                self.constant(f"{name}.{k}", self.values[f"{name}.{k}"]) for k in ("gamma", "beta", "mean", "var")
            ]
            return self.add("BatchNormalization", [x, *inputs], f"{name}/bn",
                            epsilon=self.spelling.epsilon.get(name, 1e-5))  # fmt: skip
        scale, shift = self.scale(name)
        shape = (1, 1, 1, 1, -1) if self.spelling.last else (1, -1, 1, 1, 1)
        x = self.add("Mul", [x, self.constant(f"{name}.scale", scale.reshape(shape))], f"{name}/mul")
        return self.add("Add", [x, self.constant(f"{name}.shift", shift.reshape(shape))], f"{name}/add")

    def pool(self, x: str) -> str:
        before, after = self.spelling.pool
        if self.spelling.last:
            x = self.add("Transpose", [x], "pool/in", perm=[0, 4, 1, 2, 3])
        x = self.add("MaxPool", [x], "pool", kernel_shape=[3, 3, 3], strides=[1, 1, 1], pads=[before] * 3 + [after] * 3)
        return self.add("Transpose", [x], "pool/out", perm=[0, 2, 3, 4, 1]) if self.spelling.last else x

    def dense(self, x: str, name: str) -> str:
        inputs = [x, self.constant(f"{name}.w", self.values[f"{name}.w"].T)]
        if self.spelling.last:
            y = self.add("MatMul", inputs, name)
            return self.add("Add", [y, self.constant(f"{name}.bias", self.values[f"{name}.bias"])], f"{name}/bias")
        return self.add("Gemm", [*inputs, self.constant(f"{name}.bias", self.values[f"{name}.bias"])], name)

    def body(self, x: str) -> str:
        s = self.spelling
        channel = 4 if s.last else 1
        if s.reverse_input:
            x = self.add("Gather", [x, self.constant("turned", np.array([2, 1, 0]))], "turn", axis=channel)
        stem = x = self.conv(x, "stem", strides=(1, 2, 2))
        x = self.conv(self.conv(x, "res.a"), "res.b", relu=False)
        x = self.add("Add", [x, stem], "add") if s.shortcut else x
        x = x if "add" in s.silent else self.add("Relu", [x], "add/relu")
        branches = [self.conv(x, "b1"), self.conv(x, "b2"), self.conv(self.pool(x), "b3")]
        x = self.conv(self.add("Concat", branches, "concat", axis=channel), "mix")
        x = self.shuffle(self.conv(x, "grp", groups=GROUPS))
        x = self.conv(self.conv(x, "dw", groups=16), "pw")
        x = self.gated(x)
        if s.extra:
            w = self.constant("more.w", np.eye(12, dtype=np.float32).reshape(12, 12, 1, 1, 1) * 0.5)
            x = self.add("Relu", [self.add("Conv", [x, w], "more")], "more/relu")
        y = self.dense(self.mean(x, "gap"), "fc")
        return self.add("Softmax", [y], "softmax", axis=-1) if s.softmax else y

    def shuffle(self, x: str) -> str:
        order = SHUFFLE.reshape(4, GROUPS)[:, ::-1].reshape(-1) if self.spelling.reverse_shuffle else SHUFFLE
        if self.spelling.last:
            return self.add("Gather", [x, self.constant("shuffle", order)], "shuffle", axis=4)
        _, _, t, h, w = CLIP
        sizes = [1, GROUPS, 4, t, h // 2, w // 2]
        x = self.add("Reshape", [x, self.constant("apart", np.array(sizes))], "apart")
        if self.spelling.reverse_shuffle:
            x = self.add("Gather", [x, self.constant("backwards", np.arange(GROUPS)[::-1].copy())], "backwards", axis=1)
        x = self.add("Transpose", [x], "exchange", perm=[0, 2, 1, 3, 4, 5])
        return self.add("Reshape", [x, self.constant("together", np.array([1, 16, t, h // 2, w // 2]))], "together")

    def mean(self, x: str, name: str) -> str:
        axes = [1, 2, 3] if self.spelling.last else [2, 3, 4]
        return self.add("ReduceMean", [x], name, axes=axes, keepdims=0)

    def gated(self, x: str) -> str:
        gate = self.add("Relu", [self.dense(self.mean(x, "squeeze"), "se1")], "se1/relu")
        gate = self.add("Sigmoid", [self.dense(gate, "se2")], "se2/sigmoid")
        shape = [1, 1, 1, 1, 12] if self.spelling.last else [1, 12, 1, 1, 1]
        gate = self.add("Reshape", [gate, self.constant("wide", np.array(shape))], "wide")
        return self.add("Mul", [x, gate], "gate")


PLAIN = Spelling()


def write(path: Path, values: Mapping[str, Array], spelling: Spelling = PLAIN) -> Path:
    """Write the network to a file."""
    writer = _Writer(values, spelling)
    shape = [CLIP[i] for i in (0, 2, 3, 4, 1)] if spelling.last else list(CLIP)
    y = writer.body("clip")
    graph = helper.make_graph(
        writer.nodes, "blocks",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in writer.constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests", ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


# --------------------------------------------------------------------------------------------- edits


def _kernels(values: Mapping[str, Array], name: str, order: Array) -> dict[str, Array]:
    """Kernels of a layer in another order, with everything that belongs to them."""
    own = [k for k in values if k.rpartition(".")[0] == name]
    return {**values, **{k: values[k][order] for k in own}}


def _channels(values: Mapping[str, Array], name: str, order: Array) -> dict[str, Array]:
    return {**values, f"{name}.w": values[f"{name}.w"][:, order]}


def permuted(values: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """The same network with every layer's kernels in another order, and the layers that read them changed with them."""
    out = dict(values)
    order = {n: rng.permutation(SHAPES[n][0]) for n in ("stem", "res.a", "b1", "b2", "b3", "pw", "se1")}
    order["res.b"] = order["stem"]
    order["mix"] = np.concatenate([g * 4 + rng.permutation(4) for g in range(GROUPS)])
    order["grp"] = np.concatenate([g * 4 + rng.permutation(4) for g in range(GROUPS)])
    place = np.argsort(SHUFFLE)
    order["dw"] = place[order["grp"][SHUFFLE]]
    order["se2"] = order["pw"]
    for name, o in order.items():
        out = _kernels(out, name, o)
    branches = np.concatenate([order["b1"], 4 + order["b2"], 8 + order["b3"]])
    reads = {
        "res.a": order["stem"], "res.b": order["res.a"], "b1": order["stem"], "b2": order["stem"],
        "b3": order["stem"], "mix": branches, "pw": order["dw"], "se1": order["pw"], "se2": order["se1"],
        "fc": order["pw"],
    }  # fmt: skip
    for name, o in reads.items():
        out = _channels(out, name, o)
    grouped = out["grp.w"].copy()
    for g in range(GROUPS):
        own = order["mix"][g * 4 : (g + 1) * 4] - g * 4
        grouped[g * 4 : (g + 1) * 4] = grouped[g * 4 : (g + 1) * 4][:, own]
    return {**out, "grp.w": grouped}


def scaled(name: str, kernel: int, factor: float) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """One kernel's weights times a factor."""

    def edit(values: Mapping[str, Array]) -> dict[str, Array]:
        w = values[f"{name}.w"].copy()
        w[kernel] *= np.float32(factor)
        return {**values, f"{name}.w": w}

    return edit


def swapped(name: str, one: int, two: int) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Two kernels in each other's place, and nothing that reads them changed."""
    order = np.arange(SHAPES[name][0])
    order[[one, two]] = two, one
    return lambda values: _kernels(values, name, order)


def turned_input(values: Mapping[str, Array]) -> dict[str, Array]:
    """The first layer's input channels turned round, in its weights."""
    return _channels(values, "stem", np.array([2, 1, 0]))


def shifted(name: str, kernel: int, by: float) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """One kernel's offset moved."""

    def edit(values: Mapping[str, Array]) -> dict[str, Array]:
        beta = values[f"{name}.beta"].copy()
        beta[kernel] += np.float32(by)
        return {**values, f"{name}.beta": beta}

    return edit


def rewrite(spelling: Spelling, **changes: Any) -> Spelling:
    """Another spelling."""
    return replace(spelling, **changes)
