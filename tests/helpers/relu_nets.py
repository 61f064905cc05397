"""Networks of rectifiers, drawn at random from the blocks that classifiers are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from small_nets import Net, Norm, bn


@dataclass
class Drawing:
    """A network on its way.

    Attributes:
        rng: Decides everything.
        sizes: Sizes of the present map.
        channels: Its channels.
        tensor: Its name.
        lines: Nodes so far, in ONNX text.
        weights: As of `Net`.
    """

    rng: np.random.Generator
    sizes: list[int]
    channels: int
    tensor: str = "x"
    lines: list[str] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)

    def name(self, kind: str) -> str:
        return f"{kind}{len(self.lines)}"

    def add(self, kind: str, call: str, attributes: str = "") -> str:
        """A node with one output; its name."""
        out = self.name(kind)
        op, _, inputs = call.partition(" ")
        self.lines.append(f"{out} = {op} {f'<{attributes}> ' if attributes else ''}({inputs})")
        return out

    def constant(self, value: Any) -> str:
        out = f"w{len(self.weights)}"
        self.weights[out] = value
        return out

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def convolved(self, source: str, channels: int, kernels: int, *, same: bool) -> tuple[str, list[int]]:
        """A convolution; `same` keeps the sizes."""
        groups = self.pick(1, 1, 2, channels) if channels % 2 == 0 else self.pick(1, channels)
        kernels = -(-kernels // groups) * groups if not same else kernels
        if kernels % groups:
            groups = 1
        window, dilations, strides, pads, sizes = [], [], [], [], []
        for n in self.sizes:
            k = min(self.pick(1, 3) if same else self.pick(1, 2, 3), n)
            k -= same and k % 2 == 0
            d = self.pick(1, 2) if (k - 1) * 2 + 1 <= n else 1
            span = (k - 1) * d + 1
            s = 1 if same else self.pick(1, 1, 2)
            before, after = ((span - 1) // 2,) * 2 if same else (self.pick(0, 1), self.pick(0, 1, 2))
            before, after = min(before, span - 1), min(after, span - 1)
            window.append(k), dilations.append(d), strides.append(s), pads.append((before, after))
            sizes.append((n + before + after - span) // s + 1)
        ends = [p[0] for p in pads] + [p[1] for p in pads]
        weight = self.constant((kernels, channels // groups, *window))
        bias = f", {self.constant((kernels,))}" if self.pick(True, False) else ""
        attributes = f"group={groups}, dilations={dilations}, strides={strides}, pads={ends}"
        return self.add("c", f"Conv {source}, {weight}{bias}", attributes), [kernels, *sizes]

    def rectified(self, source: str, channels: int) -> str:
        """A batch norm perhaps, and a rectifier."""
        if self.pick(True, False):
            norm = f"n{len(self.lines)}"
            self.weights[norm] = Norm(channels)
            self.lines.append(bn(norm, source))
            source = norm
        return self.add("r", f"Relu {source}")


def _conv(d: Drawing) -> None:
    out, (kernels, *sizes) = d.convolved(d.tensor, d.channels, int(d.rng.integers(2, 7)), same=False)
    d.tensor, d.channels, d.sizes = d.rectified(out, kernels), kernels, sizes


def _pool(d: Drawing) -> None:
    """A pool; rounded up only where no window begins in the padding, of which runtimes think differently."""
    kind = d.pick("MaxPool", "AveragePool")
    window, strides, pads = [], [], []
    for n in d.sizes:
        k = min(d.pick(1, 2, 3), n)
        window.append(k), strides.append(d.pick(1, 2)), pads.append((d.pick(0, k // 2), d.pick(0, k // 2)))
    free = [n + sum(p) - k for n, p, k in zip(d.sizes, pads, window, strict=True)]
    up = [-(-f // s) + 1 for f, s in zip(free, strides, strict=True)]
    inside = all((o - 1) * s < n + p[0] for o, s, n, p in zip(up, strides, d.sizes, pads, strict=True))
    ceil = d.pick(0, 1) if inside else 0
    ends = [p[0] for p in pads] + [p[1] for p in pads]
    attributes = f"kernel_shape={window}, strides={strides}, pads={ends}, ceil_mode={ceil}"
    if kind == "AveragePool":
        attributes += f", count_include_pad={d.pick(0, 1)}"
    d.tensor = d.add("p", f"{kind} {d.tensor}", attributes)
    d.sizes = up if ceil else [f // s + 1 for f, s in zip(free, strides, strict=True)]


def _shortcut(d: Drawing) -> None:
    inner, (kernels, *_) = d.convolved(d.tensor, d.channels, d.channels, same=True)
    out, _ = d.convolved(d.rectified(inner, kernels), kernels, d.channels, same=True)
    other = d.tensor
    if d.pick(True, False):
        other, _ = d.convolved(d.tensor, d.channels, d.channels, same=True)
    d.tensor = d.rectified(d.add("s", f"{d.pick('Add', 'Add', 'Sum')} {out}, {other}"), d.channels)


def _branches(d: Drawing) -> None:
    parts, total = [], 0
    for _ in range(int(d.rng.integers(2, 4))):
        out, (kernels, *_) = d.convolved(d.tensor, d.channels, int(d.rng.integers(1, 4)), same=True)
        parts.append(d.rectified(out, kernels))
        total += kernels
    if d.pick(True, False):
        parts.append(d.tensor)
        total += d.channels
    d.tensor, d.channels = d.add("k", f"Concat {', '.join(parts)}", "axis=1"), total


def _split(d: Drawing) -> None:
    if d.channels < 2:
        return
    first = int(d.rng.integers(1, d.channels))
    sizes = d.constant(np.array([first, d.channels - first], np.int64))
    left, right = d.name("a"), d.name("b")
    d.lines.append(f"{left}, {right} = Split <axis=1> ({d.tensor}, {sizes})")
    out, (kernels, *_) = d.convolved(left, first, int(d.rng.integers(1, 4)), same=True)
    made = d.rectified(out, kernels)
    d.tensor = d.add("k", f"Concat {d.pick(f'{made}, {right}', f'{right}, {made}')}", "axis=1")
    d.channels = kernels + d.channels - first


def _shuffle(d: Drawing) -> None:
    groups = next((g for g in (3, 2) if d.channels % g == 0), 0)
    if not groups:
        return
    wide = d.constant(np.array([1, groups, d.channels // groups, *d.sizes], np.int64))
    back = d.constant(np.array([1, d.channels, *d.sizes], np.int64))
    order = [0, 2, 1, *range(3, 3 + len(d.sizes))]
    turned = d.add("t", f"Transpose {d.add('v', f'Reshape {d.tensor}, {wide}')}", f"perm={order}")
    d.tensor = d.add("u", f"Reshape {turned}, {back}")


BLOCKS = (_conv, _conv, _pool, _shortcut, _branches, _split, _shuffle)


def drawn(seed: int) -> Net:
    """A network of two to four blocks behind a convolution, with one of three heads.

    Args:
        seed: Decides everything.
    """
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    sizes = [int(rng.integers(4, (14, 8, 6)[rank - 1])) for _ in range(rank)]
    channels = int(rng.integers(1, 4))
    d = Drawing(rng, list(sizes), channels)
    _conv(d)
    for _ in range(int(rng.integers(2, 5))):
        d.pick(*BLOCKS)(d)
    classes = int(rng.integers(2, 6))
    head = d.pick("pooled", "flat", "hidden")
    if head == "pooled":
        flat, wide = d.add("f", f"Flatten {d.add('g', f'GlobalAveragePool {d.tensor}')}"), d.channels
    else:
        flat, wide = d.add("f", f"Flatten {d.tensor}"), d.channels * int(np.prod(d.sizes))
    if head == "hidden":
        dense = d.add("d", f"Gemm {flat}, {d.constant((5, wide))}, {d.constant((5,))}", "transB=1")
        flat, wide = d.add("r", f"Relu {dense}"), 5
    d.lines.append(f"y = Gemm <transB=1> ({flat}, {d.constant((classes, wide))}, {d.constant((classes,))})")
    inputs = f"x=1,{channels},{','.join(map(str, sizes))}"
    return Net(f"drawn {seed}", inputs, "\n".join(d.lines), d.weights, int(d.pick(13, 18, 21)))


__all__ = ["drawn"]
