"""The walk inside the graph against the float64 twin, on small random networks of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import live_nets
import numpy as np
import pytest
import twin
import walk_nets
from slope_walk import relevance
from small_nets import Array, Net, engine_of

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.features import feature_of
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.runtime.probe import SEED, Values

NETS = (*walk_nets.NETS, *live_nets.NETS)

ALONE = [(one,) for one in HOLDS]

STEERS = frozenset({"Softmax", "Div", "Sqrt", "LRN"})


def steers(net: Net) -> bool:
    """Whether something in a network may be held: a product of two activations, or a norm."""
    model = net.model()
    constants = {t.name for t in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type in {"Mul", "MatMul", "Einsum"}]
    return any(n.op_type in STEERS or n.op_type.endswith("Normalization") for n in model.graph.node) or any(
        not constants & set(n.input) for n in products
    )


def check(engine: Engine, found: dict[int, Array], truth: twin.TwinResult, positions: float, where: str) -> float:
    """Every layer's relevance against the twin's; the largest that there is."""
    heard = 0.0
    for layer in engine.topology.layers:
        if engine.depths.get(layer.index, 0) <= 0:
            continue
        feature = feature_of(engine.topology, layer, engine.target)
        place = f"{where}: {layer.name} at {feature.tensor}"
        if feature.tensor not in truth.fields:
            assert layer.index not in found, f"{place}: the twin's walk does not come here"
            continue
        expected = truth.relevance(feature.tensor, axis=feature.axis) / positions
        assert layer.index in found, f"{place}: not walked, expected {expected}"
        scale = np.abs(expected).max()
        heard = max(heard, scale)
        terms = np.abs(truth.fields[feature.tensor] * truth.values[feature.tensor]).sum()  # they may cancel
        near = 1e-4 * scale + 5e-7 * terms / positions + 1e-12
        np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=near, err_msg=place)
    return heard


def runs(net: Net) -> list[tuple[str, str, Sequence[str]]]:
    """Rule, class step and what is held."""
    held = [("positional", HOLDS), ("active", HOLDS)]
    out = [(rule, step, hold) for rule, hold in held for step in ("contrast", "contribution")]
    more = [(), *ALONE] if steers(net) else [()]
    return [*out, *(("positional", "contrast", hold) for hold in more)]


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_the_walk_in_the_graph_is_the_twins(net: Net, tmp_path: Path) -> None:
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    values = Values(engine.topology, engine.field_probe("active", None, hold=HOLDS).statistics.probe)
    axes = {n: values.channel_axis(n) for n in engine.program.shapes if n in engine.topology.states}
    count = engine.classes()[0]
    positions = int(np.prod(engine.program.shapes[engine.target])) / count
    heard = 0.0
    for rule, step, hold in runs(net):
        if rule == "positional":
            found = relevance(engine, feeds, count // 2, step=step, hold=hold)
        else:
            probe = engine.field_probe(rule, None, hold=hold)
            seeded = {**feeds, SEED: engine.seed(count // 2, step)}  # the mean over all places, as the twin has it
            found = dict(
                zip(probe.relevance, runtime.run(probe.session, list(probe.relevance.values()), seeded), strict=True)
            )
        truth = twin.fields(
            model, feeds, target=count // 2, rule=rule, class_step=step, channel_axes=axes, hold=hold
        )  # fmt: skip
        where = f"{rule}, {step}, {', '.join(hold) or 'nothing'} held"
        heard = max(heard, check(engine, found, truth, positions, where))
    assert heard > 0


def test_names_of_networks_differ() -> None:
    assert len({net.name for net in NETS}) == len(NETS)
