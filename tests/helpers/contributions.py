"""How far contributions and bias are from the mean output that they must add up to (docs/method.md, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from text_net import Array

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.parts import Part
from cfp_onnx.relevance import adjoint
from cfp_onnx.relevance import scores as rules
from cfp_onnx.relevance.statistics import Statistics
from cfp_onnx.runtime.probe import Probe, Values


def contribution_errors(engine: Engine, feeds: Mapping[str, Array]) -> dict[str, float]:
    """How far the sum over c of z[o, c] plus b[o] is from the mean output of kernel o, for every layer of a file.

    Returns:
        Per weighted operation the largest difference over kernels, in units of sum |z| + |b|; transposed convolutions
        are left out.
    """
    probe = Probe(engine.model.opset)
    statistics = Statistics.begin(engine.topology, probe)
    parts = [p for layer in engine.topology.layers for p in layer.parts if p.kind != "deconv"]
    for part in parts:
        statistics.want_taps(part)
    means = {p.output: mean_output(engine, p, probe, statistics.value) for p in parts}
    names = [n for n in dict.fromkeys([*probe.outputs, *means.values()]) if n not in feeds]
    probe.outputs = names
    session = engine.graph.with_probe(probe, keep_outputs=False).session(engine.device)
    results = {**feeds, **dict(zip(names, runtime.run(session, names, feeds), strict=True))}
    errors: dict[str, float] = {}
    for part in parts:
        z = rules.contributions(part.weights(), statistics.tap_means(part, results), part.groups)
        bias = part.bias().astype(np.float64)
        scale = np.abs(z).sum(axis=1) + np.abs(bias)
        right = np.asarray(results[means[part.output]], np.float64).reshape(-1)
        difference = np.abs(z.sum(axis=1) + bias - right)
        assert np.isfinite(scale).all()
        assert np.isfinite(difference).all()
        errors[part.node.name] = float((difference / np.maximum(scale, TINY)).max())
    return errors


def mean_output(engine: Engine, part: Part, probe: Probe, value: Values) -> str:
    """Mean value of every kernel before its activation, from the runtime."""
    fused = part.activation is not None or engine.topology.states[part.output].quantised is not None
    tensor = adjoint.forward(probe, engine.program.shapes, part, value(part.source)) if fused else value(part.output)
    rank = len(engine.program.shapes[part.output])
    return probe.reduce("ReduceMean", tensor, [a for a in range(rank) if a != part.out_axis], keep=False)


TINY = 1e-8
"""Sums of shares below this are zeros: what is left of a dead input."""


TOLERANCE = 1e-4
