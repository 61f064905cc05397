"""Pooled statistics out of one forward pass: small outputs that the rules in NumPy need, and nothing else.

`pooled` is one mean per input channel (the published rule); `taps` is the mean of what each tap of each kernel reads,
which makes the mean contribution of a channel exact (docs/method.md, exact contributions). Layers' *inputs* are tapped,
so that no fusion of the runtime is broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cfp_onnx.graph.effects import Sum
from cfp_onnx.graph.parts import Geometry, Part
from cfp_onnx.graph.topology import Topology
from cfp_onnx.runtime.probe import Probe, Values
from cfp_onnx.values import Array


@dataclass
class Statistics:
    """What was asked of the probe, and how to read its outputs.

    Attributes:
        pooled: (tensor, channel axis) to the output with its channel means.
        taps: (tensor, kernel, strides, dilations, begins, out) to the output with its spatial sums.
        addends: Tensor that goes into an Add to the output with its means, broadcasting against it.
    """

    topology: Topology
    probe: Probe
    value: Values
    pooled: dict[tuple[str, int], str] = field(default_factory=dict)
    taps: dict[tuple[str, Geometry, tuple[int, ...]], str] = field(default_factory=dict)
    addends: dict[str, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, topology: Topology, probe: Probe, value: Values | None = None) -> Statistics:
        """Nothing asked for yet."""
        return cls(topology, probe, value or Values(topology, probe))

    def want_pooled(self, part: Part) -> None:
        """Ask for the channel means of a part's input."""
        key = (part.source, part.in_axis)
        if key in self.pooled:
            return
        rank = len(self.value.shape(part.source))
        axes = [a for a in range(rank) if a != part.in_axis]
        self.pooled[key] = self.probe.reduce("ReduceMean", self.value(part.source), axes, keep=False)
        self.probe.outputs.append(self.pooled[key])

    def want_taps(self, part: Part) -> None:
        """Ask for what each tap of a part reads on average."""
        if part.kind != "conv" or part.geometry.pointwise:
            self.want_pooled(part)
            return
        out = self.value.shape(part.output)[2:]
        key = (part.source, part.geometry, out)
        if key in self.taps:
            return
        shape = self.value.shape(part.source)
        matrices = selectors(part.geometry, shape[2:], out)
        inner = matrices[1:] if len(matrices) == 3 else matrices
        grid = inner[0]
        for m in inner[1:]:
            grid = np.einsum("ah,bw->abhw", grid, m).reshape(grid.shape[0] * m.shape[0], -1)
        lead = shape[: len(shape) - len(inner)]
        flat = self.probe.reshape(self.value(part.source), (*lead, grid.shape[1]))
        name = self.probe.add(
            "MatMul", [flat, self.probe.constant(np.ascontiguousarray(grid.T.astype(np.float32)), "selector")]
        )
        self.taps[key] = name
        self.probe.outputs.append(name)

    def want_addends(self, members: Iterable[str]) -> None:
        """Ask for the means of everything that meets in an Add, for the nodes named."""
        wanted = set(members)
        for node in self.topology.program.nodes:
            effect = self.topology.effects.get(node.name)
            if not isinstance(effect, Sum) or node.name not in wanted or len(effect.sources) < 2:
                continue
            for index in effect.sources:
                name = node.inputs[index]
                if name not in self.addends:
                    self.addends[name] = self._mean(name)
                    self.probe.outputs.append(self.addends[name])

    def _mean(self, name: str) -> str:
        axis = self.value.channel_axis(name)
        axes = [a for a in range(len(self.value.shape(name))) if a != axis]
        return self.probe.reduce("ReduceMean", self.value(name), axes, keep=True)

    # ------------------------------------------------------------------------------------- reading

    def channel_means(self, part: Part, results: Mapping[str, Array]) -> Array:
        """Mean of every input channel of a part, (channels,) float64."""
        return np.asarray(results[self.pooled[part.source, part.in_axis]], np.float64).reshape(-1)

    def tap_means(self, part: Part, results: Mapping[str, Array]) -> Array:
        """Mean over output positions of what each tap reads, (channels, taps) float64."""
        if part.kind != "conv":
            return self.channel_means(part, results)[:, None] * _deconv_share(part, self.value)
        if part.geometry.pointwise:
            return self.channel_means(part, results)[:, None]
        shape, out = self.value.shape(part.source), self.value.shape(part.output)[2:]
        raw = results[self.taps[part.source, part.geometry, out]].astype(np.float64).mean(axis=0)
        matrices = selectors(part.geometry, shape[2:], out)
        if len(matrices) == 3:
            raw = np.einsum("kt,ctp->ckp", matrices[0], raw)
        return np.asarray(raw).reshape(shape[1], -1)


def _deconv_share(part: Part, value: Values) -> Array:
    """Inputs per output position that one tap of a transposed convolution serves; 1 for a dense layer."""
    if part.kind == "dense":
        return np.ones((1, 1))
    size, out = value.shape(part.source)[2:], value.shape(part.output)[2:]
    return np.full((1, int(np.prod(part.geometry.kernel))), np.prod(size) / np.prod(out))


def selectors(geometry: Geometry, sizes: tuple[int, ...], out: tuple[int, ...]) -> list[Array]:
    """Per axis the matrix M[tap, x]: how often a tap reads input position x, over the number of output positions."""
    matrices = []
    for axis, n in enumerate(sizes):
        taps = np.arange(geometry.kernel[axis]) * geometry.dilations[axis] - geometry.begins[axis]
        m = np.zeros((geometry.kernel[axis], n))
        for k, tap in enumerate(taps):
            at = np.arange(out[axis]) * geometry.strides[axis] + tap
            np.add.at(m[k], at[(at >= 0) & (at < n)], 1.0 / out[axis])
        matrices.append(m)
    return matrices
