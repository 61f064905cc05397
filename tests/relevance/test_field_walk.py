"""The walk inside the graph against the float64 twin, on small random networks of every kind; and identities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import twin
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from walk_nets import NETS, Array, Net, by_name, engine_of, ungrouped, weights_of, with_weights

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.sessions import Wanted
from cfp_onnx.graph.features import feature_of
from cfp_onnx.model import load
from cfp_onnx.relevance import links
from cfp_onnx.relevance import scores as rules
from cfp_onnx.runtime.probe import SEED, Values


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_the_walk_in_the_graph_is_the_twins(net: Net, tmp_path: Path) -> None:
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    values = Values(engine.topology, engine.field_probe("positional", None).statistics.probe)
    axes = {
        n: a for n in engine.program.shapes if n in engine.topology.states and (a := values.channel_axis(n)) is not None
    }
    count = engine.classes()[0]
    positions = int(np.prod(engine.program.shapes[engine.target])) / count
    walked = [layer for layer in engine.topology.layers if engine.depths.get(layer.index, 0) > 0]
    heard = 0.0
    for rule in ("positional", "active"):
        for step in ("contrast", "contribution"):
            found = engine.relevance(feeds, count // 2, rule=rule, class_step=step)
            truth = twin.fields(model, feeds, target=count // 2, rule=rule, class_step=step, channel_axes=axes)
            for layer in walked:
                feature = feature_of(engine.topology, layer, engine.target)
                where = f"{rule} {step}: {layer.name} at {feature.tensor}"
                if feature.tensor not in truth.fields:
                    assert layer.index not in found, f"{where}: the twin's walk does not come here"
                    continue
                expected = truth.relevance(feature.tensor, axis=feature.axis) / positions
                assert layer.index in found, f"{where}: not walked, expected {expected}"
                scale = np.abs(expected).max()
                heard = max(heard, scale)
                np.testing.assert_allclose(
                    found[layer.index], expected, rtol=0, atol=1e-4 * scale + 1e-12, err_msg=where
                )
    assert heard > 0


@pytest.mark.parametrize("rule", ["positional", "active"])
def test_permuting_kernels_permutes_the_answer(rule: str, rng: np.random.Generator, tmp_path: Path) -> None:
    net = by_name("residual 21")
    model, feeds = net.model(), net.feeds()
    order = rng.permutation(6)
    turned = weights_of(model)
    for name in ("w1", "w2", *(f"{n}_{k}" for n in ("n1", "n2") for k in "somv")):
        turned[name] = turned[name][order]
    for name in ("w2", "w3", "wd"):
        turned[name] = turned[name][:, order]
    before = engine_of(model, feeds, tmp_path).relevance(feeds, 1, rule=rule)
    after = engine_of(with_weights(model, turned), feeds, tmp_path).relevance(feeds, 1, rule=rule)
    for index, found in before.items():
        expected = found[order] if index < 2 else found
        np.testing.assert_allclose(after[index], expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_a_grouped_convolution_is_a_dense_one_with_zeros(tmp_path: Path) -> None:
    net = by_name("shuffle")
    model, feeds = net.model(), net.feeds()
    weights = weights_of(model)
    dense = with_weights(model, {k: ungrouped(v, 8) if k in {"w2", "w3", "w4"} else v for k, v in weights.items()})
    for node in dense.graph.node:
        kept = [a for a in node.attribute if a.name != "group"]
        del node.attribute[:]
        node.attribute.extend(kept)
    first, second = engine_of(model, feeds, tmp_path), engine_of(dense, feeds, tmp_path)
    assert {layer.groups for layer in second.topology.layers} == {1}
    expected = first.relevance(feeds, 2)
    for index, found in second.relevance(feeds, 2).items():
        np.testing.assert_allclose(found, expected[index], rtol=1e-3, atol=1e-5 * np.abs(expected[index]).max())


def test_a_pointwise_convolution_is_a_dense_layer(rng: np.random.Generator, tmp_path: Path) -> None:
    w1, w2, w3 = (rng.standard_normal(s).astype(np.float32) for s in ((6, 4), (5, 6), (3, 5)))
    conv = Net(
        "as convolutions",
        "x=1,4,1,1",
        "c1 = Conv (x, w1)\nr1 = Relu (c1)\nc2 = Conv (r1, w2)\nr2 = Relu (c2)\nc3 = Conv (r2, w3)\ny = Flatten (c3)",
        {"w1": w1[:, :, None, None], "w2": w2[:, :, None, None], "w3": w3[:, :, None, None]},
    )
    dense = Net(
        "as products",
        "x=1,4",
        "c1 = MatMul (x, w1)\nr1 = Relu (c1)\nc2 = Gemm <transB=1> (r1, w2)\nr2 = Relu (c2)\ny = MatMul (r2, w3)",
        {"w1": w1.T, "w2": w2, "w3": w3.T},
    )
    x = rng.standard_normal((1, 4)).astype(np.float32)
    feeds = {"x": x[:, :, None, None]}
    expected = engine_of(conv.model(), feeds, tmp_path).relevance(feeds, 0)
    found = engine_of(dense.model(), {"x": x}, tmp_path).relevance({"x": x}, 0)
    assert found.keys() == expected.keys() == {0, 1}
    for index, values in found.items():
        np.testing.assert_allclose(values, expected[index], rtol=1e-5, atol=1e-6)


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


RELEVANCE = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40).map(np.array)


@given(RELEVANCE, st.floats(0, 1), st.floats(0, 1), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_raising_theta_only_removes_kernels(relevance: Array, a: float, b: float, top_k: int) -> None:
    low, high = sorted((a, b))
    few = rules.choose(relevance, theta=high, top_k=None)
    many = rules.choose(relevance, theta=low, top_k=None)
    assert set(few) <= set(many)
    np.testing.assert_array_equal(rules.choose(relevance, theta=low, top_k=top_k), many[:top_k])
    assert (relevance[many] > 0).all()


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
)
@settings(max_examples=100, deadline=None)
def test_contributions_are_the_terms_of_the_convolution(
    seed: int, groups: int, per: int, width: int, taps: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((groups * per, width, taps))
    reads = rng.standard_normal((groups * width, taps))
    z = rules.contributions(weights, reads, groups)
    for o in range(groups * per):
        own = reads[o // per * width : (o // per + 1) * width]
        np.testing.assert_allclose(z[o], (weights[o] * own).sum(axis=1))


FUSED = {
    "Relu": ("Relu", ""),
    "LeakyRelu": ("LeakyRelu <alpha=0.2>", "activation_params=[0.2]"),
    "Sigmoid": ("Sigmoid", ""),
    "Tanh": ("Tanh", ""),
    "HardSigmoid": ("HardSigmoid <alpha=0.3, beta=0.4>", "activation_params=[0.3, 0.4]"),
    "Clip": ("Clip <min=0.0, max=1.5>", "activation_params=[0.0, 1.5]"),
}


@pytest.mark.parametrize("rule", ["positional", "active"])
@pytest.mark.parametrize("activation", FUSED)
def test_an_activation_inside_a_convolution_counts_as_one_behind_it(activation: str, rule: str, tmp_path: Path) -> None:
    plain, options = FUSED[activation]
    fused = f'activation="{activation}"' + (f", {options}" if options else "")
    head, tail = "a = Conv (x, w0)", "f = Conv (r, w2, b2)"
    weights = {"w0": (3, 3, 1, 1), "w1": (6, 3, 3, 3), "b1": (6,), "w2": (5, 6, 1, 1), "b2": (5,)}
    bodies = (
        f"{head}\nc = Conv <pads=[1,0,1,0]> (a, w1, b1)\nr = {plain} (c)\n{tail}",
        f"{head}\nr = com.microsoft.FusedConv <pads=[1,0,1,0], {fused}> (a, w1, b1)\n{tail}",
    )
    found = []
    for body in bodies:
        net = Net("fused", "x=1,3,6,6", body, weights, 9, 5)
        model = net.model()
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
        found.append(engine_of(model, net.feeds(), tmp_path).relevance(net.feeds(), 2, rule=rule))
    assert found[0].keys() == found[1].keys() == {0, 1, 2}
    for index, expected in found[0].items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[1][index], expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("rule", ["positional", "active", "zplus"])
def test_a_score_at_the_end_of_its_integer_type_still_counts(
    rule: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    """Calibration puts the largest score at the end of the range; the class's evidence is that of the float file."""
    weights = {"w": rng.standard_normal((5, 3, 2, 2)), "v": rng.standard_normal((4, 5)), "s": 1.0, "z": 0}
    kinds = {"z": np.int8}
    x = rng.standard_normal((1, 3, 6, 6)).astype(np.float32)

    def relevance(quantised: bool, scale: float) -> dict[int, Array]:
        tail = "q = QuantizeLinear (y0, s, z)\ny = DequantizeLinear (q, s, z)" if quantised else "y = Identity (y0)"
        text = (
            '<ir_version: 10, opset_import: ["" : 21]> net (float[1,3,6,6] x) => (float[1,4] y) {\n'
            "c = Conv (x, w)\nr = Relu (c)\np = GlobalAveragePool (r)\nf = Flatten (p)\n"
            f"y0 = Gemm <transB=1> (f, v)\n{tail}\n}}"
        )
        model = onnx.parser.parse_model(text)
        for name, value in {**weights, "s": scale}.items():
            array = np.asarray(value, kinds.get(name, np.float32))
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        path = tmp_path / f"{quantised}.onnx"
        onnx.save(model, path)
        engine = Engine(load(path), {"x": x})
        scores = engine.scores(engine.plain({"x": x})[engine.output])
        tops.append(int(np.argmax(scores)))
        sizes.append(float(scores.max()))
        return engine.relevance({"x": x}, tops[0], rule=rule)

    tops: list[int] = []
    sizes: list[float] = []
    plain = relevance(False, 1.0)
    rounded = relevance(True, sizes[0] / 150)
    assert tops[0] == tops[1]
    assert 0 < sizes[1] < 0.9 * sizes[0], "it is cut off"
    for index, values in plain.items():
        np.testing.assert_allclose(rounded[index], values, rtol=1e-5, atol=1e-7)
        assert np.abs(values).max() > 0


@pytest.mark.parametrize("rule", ["positional", "active"])
def test_a_relu_that_vanished_into_an_integer_sum_still_masks(
    rule: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    """The quantiser drops a Relu behind QLinearAdd where 0 is the type's least number; the float file has it."""
    values = {
        "w": rng.standard_normal((5, 3, 3, 3)) / 4, "u": rng.standard_normal((5, 5, 3, 3)) / 4,
        "v": rng.standard_normal((4, 5)), "s": 0.05, "mid": 128, "low": 0,
    }  # fmt: skip
    x = rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    sums = {
        "float": "m = Add (r, d)\na = Relu (m)",
        "integer": (
            "i = QuantizeLinear (r, s, mid)\nj = QuantizeLinear (d, s, mid)\n"
            "k = com.microsoft.QLinearAdd (i, s, mid, j, s, mid, s, low)\na = DequantizeLinear (k, s, low)"
        ),
    }
    found = {}
    for kind, joint in sums.items():
        text = (
            '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]> '
            "net (float[1,3,6,6] x) => (float[1,4] y) {\n"
            f"c = Conv (x, w)\nr = Relu (c)\nd = Conv <pads = [1,1,1,1]> (r, u)\n{joint}\n"
            "p = GlobalAveragePool (a)\nf = Flatten (p)\ny = Gemm <transB=1> (f, v)\n}"
        )
        model = onnx.parser.parse_model(text)
        kinds = {"mid": np.uint8, "low": np.uint8}
        for name, value in values.items():
            model.graph.initializer.append(
                numpy_helper.from_array(np.asarray(value, kinds.get(name, np.float32)), name)
            )
        path = tmp_path / f"{kind}.onnx"
        onnx.save(model, path)
        found[kind] = Engine(load(path), {"x": x}).relevance({"x": x}, 1, rule=rule)
    for index, expected in found["float"].items():
        far = np.abs(found["integer"][index] - expected).max()
        assert far <= 0.1 * np.abs(expected).max(), "what rounding to 0.05 alone moves"


def test_a_sigmoid_written_out_keeps_its_wires(rng: np.random.Generator, tmp_path: Path) -> None:
    """1 / (1 + exp(-x)), by Div or Reciprocal: the kernels below it are still reached."""
    ends = {"Div": "s = Div (one, a)", "Reciprocal": "s = Reciprocal (a)"}
    values = {"w": rng.standard_normal((5, 3, 3, 3)), "u": rng.standard_normal((6, 5, 3, 3)),
              "v": rng.standard_normal((4, 6)), "one": 1.0}  # fmt: skip
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    found = []
    for name, end in ends.items():
        model = onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["" : 17]> net (float[1,3,8,8] x) => (float[1,4] y) {\n'
            f"c = Conv (x, w)\nn = Neg (c)\ne = Exp (n)\na = Add (e, one)\n{end}\nd = Conv (s, u)\nr = Relu (d)\n"
            "p = GlobalAveragePool (r)\nf = Flatten (p)\ny = Gemm <transB=1> (f, v)\n}"
        )
        for key, value in values.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), key))
        onnx.save(model, tmp_path / f"{name}.onnx")
        engine = Engine(load(tmp_path / f"{name}.onnx"), {"x": x})
        assert [len(engine.topology.wires(layer)) for layer in engine.topology.layers] == [1, 1, 1]
        found.append(engine.relevance({"x": x}, 1))
    assert set(found[0]) == {0, 1}
    for index, values_of in found[1].items():
        np.testing.assert_allclose(found[0][index], values_of, rtol=1e-5, atol=1e-6)
