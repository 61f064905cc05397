"""Rule `zplus` of all layers of a small network in one run, and the comparison with the twin."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import twin

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import feature_of
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.relevance.field_walk import Walk
from cfp_onnx.relevance.zplus import ZPlus
from cfp_onnx.runtime.probe import SEED, Probe, Values

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Found:
    """What a run returned: layer index to relevance per kernel, summed map, and relevance of every element."""

    relevance: dict[int, Array]
    maps: dict[int, Array]
    volumes: dict[int, Array]


@functools.lru_cache(maxsize=2)
def prepared(engine: Engine) -> tuple[Any, tuple[dict[int, str], ...]]:
    """A session with the walk alone, and its outputs: relevance, maps, volumes."""
    probe = Probe(engine.model.opset)
    steps = Walk(engine.topology, engine.target, depths=engine.depths, depth=None, rule=ZPlus, probe=probe, places=True)
    steps.run()
    groups = (steps.relevance, steps.maps, steps.volumes)
    probe.outputs = list(dict.fromkeys(n for group in groups for n in group.values()))
    return engine.graph.with_probe(probe).session(engine.device), groups


def run(engine: Engine, feeds: Mapping[str, Array], target: int, seed: Array | None = None) -> Found:
    """All that rule `zplus` says of all layers."""
    session, groups = prepared(engine)
    names = list(dict.fromkeys(n for group in groups for n in group.values()))
    seed = engine.seed(target, "contrast") if seed is None else seed
    results = dict(zip(names, runtime.run(session, names, {**feeds, SEED: seed}), strict=True))
    return Found(*({i: np.asarray(results[n], np.float64) for i, n in group.items()} for group in groups))


def axes_of(engine: Engine) -> dict[str, int | None]:
    """Channel axis of every tensor with channels; None where several kernels' elements share no axis."""
    values = Values(engine.topology, Probe(engine.model.opset))
    return {n: values.channel_axis(n) for n in engine.program.shapes if n in engine.topology.states}


def walked(engine: Engine) -> list[KernelLayer]:
    """Layers below the classifier."""
    return [layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0]


def same(found: Array, expected: Array, where: str) -> None:
    """Assert that relevance is equal, within 1e-4 of the largest value."""
    assert found.shape == expected.shape, where
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max(initial=0) + 1e-12, err_msg=where)


def agrees(engine: Engine, model: onnx.ModelProto, feeds: Mapping[str, Array], targets: Iterable[int]) -> float:
    """Compare all layers with the twin; the largest relevance of any element."""
    axes, heard = axes_of(engine), 0.0
    positions = int(np.prod(engine.program.shapes[engine.target])) / engine.classes()[0]
    for target in targets:
        found = run(engine, feeds, target)
        truth = twin.zplus(model, feeds, target=target, channel_axes=axes)
        for layer in walked(engine):
            feature = feature_of(engine.topology, layer, engine.target)
            where = f"class {target}: {layer.name} at {feature.tensor}"
            if feature.tensor not in truth.found:
                assert layer.index not in found.relevance, f"{where}: the twin's walk does not come here"
                continue
            same(found.volumes[layer.index], truth.found[feature.tensor] / positions, where)
            same(found.relevance[layer.index], truth.kernels(feature.tensor, axis=feature.axis) / positions, where)
            same(found.maps[layer.index], truth.places(feature.tensor, axis=feature.axis) / positions, where)
            assert found.volumes[layer.index].min() >= 0, where
            heard = max(heard, float(found.volumes[layer.index].max()))
    return heard
