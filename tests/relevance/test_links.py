"""Messages along links add up to the relevance of the kernel that sends them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import twin
from small_nets import Net, engine_of, weights_of
from walk_nets import NETS
from zplus_nets import CHECKED, OWN, living
from zplus_runs import axes_of

from cfp_onnx import explain, runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.sessions import Wanted
from cfp_onnx.relevance import links
from cfp_onnx.runtime.probe import SEED

Array = npt.NDArray[Any]

SUMMED = [
    net
    for net in NETS
    if net.name.startswith(
        (
            "plain",
            "residual 9",
            "Conv ",
            "ConvT",
            "shuffle",
            "(2+1)D",
            "mlp",
            "flatten",
            "NDHWC",
            "attention",
            "fibers",
        )
    )
]


@pytest.mark.parametrize("net", SUMMED, ids=lambda net: net.name)
def test_messages_and_bias_add_up_to_the_kernels_relevance(net: Net, tmp_path: Path) -> None:
    """Sum over c of z[o, c] + b[o] * sum of g == sum of g * y, y the layer's value before its activation."""
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    truth = twin.evaluate(model, feeds)
    layers = tuple(engine.depths)
    probe = engine.field_probe("positional", None, Wanted(linked=layers))
    names = [n for found in probe.links.values() for m in found for n in (m.x, m.g) if n not in {*feeds, SEED}]
    seed = {SEED: engine.seed(1, "contrast")}
    results = dict(zip(names, runtime.run(probe.session, names, {**feeds, **seed}), strict=True)) | feeds | seed
    deepest = max(engine.depths.values())
    held = {i for i in layers if i not in probe.relevance and engine.depths[i] > 0}
    assert {k[0] for k in probe.links} == {i for i, d in engine.depths.items() if d < deepest} - held
    for (index, k), ((part, x, g),) in (
        (key, [(m.part, m.x, m.g) for m in found]) for key, found in probe.links.items()
    ):
        assert part is engine.topology.layers[index].parts[k]
        z = links.messages(part, results[x], results[g], np.arange(part.kernels))
        y = truth[part.output]
        axes = tuple(a for a in range(y.ndim) if a != part.out_axis)
        wide = results[g].astype(np.float64)
        expected = (wide * y).sum(axis=axes)
        total = z.sum(axis=1) + part.bias() * wide.sum(axis=axes)
        scale = np.abs(z).sum(axis=1) + np.abs(part.bias() * wide.sum(axis=axes))
        assert (np.abs(total - expected) <= 1e-4 * scale + 1e-9).all(), part.node.name


# ------------------------------------------------------------------------------------------- rule zplus


def fetched_links(engine: Engine, feeds: Mapping[str, Array], target: int) -> tuple[Any, dict[str, Array]]:
    probe = engine.field_probe("zplus", None, Wanted(linked=tuple(engine.depths)))
    tensors = [n for found in probe.links.values() for m in found for n in (m.x, m.g)]
    names = list(dict.fromkeys(n for n in [*tensors, *probe.relevance.values()] if n not in {*feeds, SEED}))
    seed = {SEED: engine.seed(target, "contrast")}
    results = dict(zip(names, runtime.run(probe.session, names, {**feeds, **seed}), strict=True))
    return probe, results | dict(feeds) | seed


LINKED = [
    net
    for net in CHECKED
    if net.name.startswith(
        ("plain", "residual 21", "Conv strides=[2,3]", "Conv strides=[2,1,2]", "ConvT", "shuffle", "flatten", "NDHWC",
         "negative batch", "the input is read", "fibers", "quantised")
    )
]  # fmt: skip


@pytest.mark.parametrize("net", LINKED, ids=lambda net: net.name)
def test_messages_of_a_kernel_add_up_to_its_relevance(net: Net, tmp_path: Path) -> None:
    """Where a place has anything positive to share; and none of them is negative."""
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    axes, count = axes_of(engine), engine.classes()[0]
    heard = 0.0
    for target in range(count):
        probe, results = fetched_links(engine, feeds, target)
        truth = twin.zplus(model, feeds, target=target, channel_axes=axes)
        for (index, k), pieces in probe.links.items():
            layer = engine.topology.layers[index]
            part = layer.parts[k]
            if engine.depths[index] == 0:
                continue
            assert max(float(np.abs(results[m.g]).max()) for m in pieces) < 1e9, "nothing divided by nothing is nothing"
            each = [links.messages(m.part, results[m.x], results[m.g], np.arange(part.kernels)) for m in pieces]
            z = np.sum(each, axis=0)
            assert z.min() >= 0
            shared = truth.found[part.output] * (truth.totals[part.node.outputs[0]] > 0)
            kept = np.moveaxis(shared, part.out_axis, 0).reshape(part.kernels, -1).sum(axis=1)
            np.testing.assert_allclose(z.sum(axis=1), kept, rtol=1e-3, atol=1e-5 * max(kept.max(), 1e-6))
            heard = max(heard, kept.max())
    assert heard > 0


def test_at_theta_0_the_links_of_a_pyramid_add_up_to_each_kernels_relevance(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    body = (
        "a1 = Conv (x, wa)\nr1 = Relu (a1)\nb1 = Conv <pads=[1,1,1,1]> (r1, wb)\nr2 = Relu (b1)\n"
        "c1 = Conv (r2, wc)\nf = Relu (c1)"
    )
    weights = {"wa": living(rng, (4, 2, 1, 1)), "wb": living(rng, (5, 4, 3, 3)), "wc": living(rng, (6, 5, 1, 1))}
    path = tmp_path / "net.onnx"
    onnx.save(Net("links", "x=1,2,6,5", body, weights, 21, 6).model(), path)
    x = rng.uniform(0.1, 1, (1, 2, 6, 5)).astype(np.float32)
    checked = 0
    for target in range(5):
        found = explain(path, x, target=target, rule="zplus", theta=0, depth="all", device="cpu", tubes=False)
        relevance = {layer.name: layer.relevance for layer in found.layers}
        depths = {layer.name: layer.depth for layer in found.layers}
        for edge in found.edges:
            if depths[edge.layer] > 0 and relevance[edge.layer][edge.kernel] > 1e-6:
                sent = sum(link.weight for link in edge.channels)
                assert sent == pytest.approx(relevance[edge.layer][edge.kernel], rel=1e-4)
                checked += 1
    assert checked > 10


def test_an_input_of_both_signs_sends_from_both(tmp_path: Path) -> None:
    """The messages of a layer that reads the model's input are its positive products, of whichever signs."""
    net = next(n for n in OWN if n.name.startswith("the input is read"))
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    layer = next(x for x in engine.topology.layers if x.parts[0].output == "c3")
    x, w = feeds["x"].astype(np.float64)[0], weights_of(model)["w3"].astype(np.float64)[:, :, 0, 0]
    heard = 0.0
    for target in range(5):
        probe, results = fetched_links(engine, feeds, target)
        pieces = probe.links[layer.index, 0]
        assert len(pieces) == 2
        found = np.sum([links.messages(m.part, results[m.x], results[m.g], np.arange(6)) for m in pieces], axis=0)
        r = twin.zplus(model, feeds, target=target, channel_axes=axes_of(engine)).found["c3"][0]
        products = np.maximum(w[:, :, None, None] * x[None], 0)
        total = products.sum(axis=1)
        shares = np.divide(r, total, out=np.zeros_like(r), where=total > 0)
        expected = (products * shares[:, None]).sum(axis=(2, 3))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * max(expected.max(), 1e-6))
        heard = max(heard, expected.max())
    assert heard > 0
