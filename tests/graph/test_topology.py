"""What is read off small whole networks, and exact contributions on the reference models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper
from operator_rows import CASES, ROWS, Row

from cfp_onnx import runtime
from cfp_onnx.errors import CfpError, ModelError, RunError, TargetError, UnsupportedOperatorError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.network import channel_axes
from cfp_onnx.graph.effects import Move
from cfp_onnx.graph.features import feature_of
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.topology import Topology, build
from cfp_onnx.model import load
from cfp_onnx.relevance import adjoint
from cfp_onnx.relevance import scores as rules
from cfp_onnx.relevance.statistics import Statistics
from cfp_onnx.runtime.probe import Probe, Values

Array = npt.NDArray[Any]


def network(
    body: str, weights: Mapping[str, Any], inputs: str = "float[1,3,6,6] x", opset: int = 21, extra: str = ""
) -> onnx.ModelProto:
    """A model from ONNX text; a tuple is the shape of a random weight."""
    domains = f'"" : {opset}, "local" : 1, "com.microsoft" : 1'
    text = f"<ir_version: 9, opset_import: [{domains}]> net ({inputs}) => (float[N] y) {{ {body} }} {extra}"
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(3)
    for name, value in weights.items():
        array = rng.standard_normal(value) if isinstance(value, tuple) else np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


def engine_of(
    model: onnx.ModelProto, folder: Path, *, barriers: bool = False, feeds: Mapping[str, Array] | None = None
) -> Engine:
    loaded = load(saved(model, folder))
    return Engine(loaded, feeds or runtime.random_feeds(loaded), device=runtime.Device("cpu"), barriers=barriers)


def layer_of(topology: Topology, output: str) -> KernelLayer:
    return next(layer for layer in topology.layers if layer.output == output)


def wires(engine: Engine, output: str) -> list[list[tuple[str | None, int, str]]]:
    """For each input channel of the layer with that output: (layer's output, kernel, via)."""
    layer = layer_of(engine.topology, output)
    names = {one.index: one.output for one in engine.topology.layers}
    found = engine.topology.sources(layer, range(layer.channels))
    return [[(names.get(s.layer) if s.layer is not None else None, s.kernel, s.via) for s in one] for one in found]


def test_a_channel_shuffle_is_followed_exactly(tmp_path: Path) -> None:
    engine = engine_of(
        network(
            """a = Conv (x, w)
            v = Reshape (a, five)
            t = Transpose <perm=[0,2,1,3,4]> (v)
            s = Reshape (t, four)
            b = Conv <group=3> (s, v3)
            g = GlobalAveragePool (b)
            y = Flatten (g)""",
            {"w": (6, 3, 1, 1), "five": [1, 2, 3, 6, 6], "four": [1, 6, 6, 6], "v3": (6, 2, 1, 1)},
        ),
        tmp_path,
    )
    assert wires(engine, "b") == [[("a", k, "chain")] for k in (0, 3, 1, 4, 2, 5)]
    assert engine.coverage.complete


def test_a_flattened_map_keeps_its_kernels(tmp_path: Path) -> None:
    engine = engine_of(
        network(
            "a = Conv (x, w)\nr = Relu (a)\nf = Flatten (r)\ny = Gemm (f, v)",
            {"w": (4, 3, 3, 3), "v": (64, 5)},
        ),
        tmp_path,
    )
    assert wires(engine, "y") == [[("a", k // 16, "chain")] for k in range(64)]
    assert engine.classes() == (5, 1)


def test_a_padded_shortcut_joins_some_channels(tmp_path: Path) -> None:
    engine = engine_of(
        network(
            """a = Conv (x, w)
            b = Conv <strides=[2,2]> (a, v)
            p = AveragePool <kernel_shape=[1,1], strides=[2,2]> (a)
            k = Pad (p, pads)
            s = Add (b, k)
            c = Conv (s, u)
            g = GlobalAveragePool (c)
            y = Flatten (g)""",
            {"w": (4, 3, 1, 1), "v": (6, 4, 1, 1), "pads": [0, 1, 0, 0, 0, 1, 0, 0], "u": (5, 6, 1, 1)},
        ),
        tmp_path,
    )
    found = wires(engine, "c")
    assert [sorted(str(w[0]) for w in one) for one in found] == [["b"], *[["a", "b"]] * 4, ["b"]]
    assert found[1] == [("b", 1, "chain"), ("a", 0, "shortcut")]
    assert [s.kind for s in engine.topology.shortcuts] == ["padded"]


NESTED = """a = Conv (x, w)
r = Relu (a)
b = Conv (r, v)
s = Add (b, r)
t = Relu (s)
c = Conv (t, u)
p = Add (c, t)
q = Relu (p)
d = Conv (q, z)
g = GlobalAveragePool (d)
y = Flatten (g)"""
NESTED_WEIGHTS = {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "u": (4, 4, 1, 1), "z": (5, 4, 1, 1)}


def test_shares_of_nested_adds_sum_to_one(tmp_path: Path) -> None:
    engine = engine_of(network(NESTED, NESTED_WEIGHTS), tmp_path)
    layer = layer_of(engine.topology, "d")
    for k, found in enumerate(engine.topology.sources(layer, range(4))):
        assert {(engine.topology.layers[s.layer or 0].output, s.kernel) for s in found} == {
            ("a", k),
            ("b", k),
            ("c", k),
        }
        assert sum(s.share for s in found) == pytest.approx(1)
        assert {s.share for s in found} == {0.5, 0.25}
    assert [s.kind for s in engine.topology.shortcuts] == ["identity", "identity"]


def test_measured_shares_sum_to_one_and_follow_the_addends(tmp_path: Path) -> None:
    from cfp_onnx.graph.topology import shared_states

    engine = engine_of(network(NESTED, NESTED_WEIGHTS), tmp_path)
    means = {"b": 1.0, "r": 3.0, "c": 1.0, "t": 1.0}
    states = shared_states(engine.topology, engine.axes, lambda n: np.full((1, 1, 1, 1), means[n]))
    for found in engine.topology.sources(layer_of(engine.topology, "d"), range(4), states):
        share = {engine.topology.layers[s.layer or 0].output: s.share for s in found}
        assert share == pytest.approx({"c": 0.5, "b": 0.125, "a": 0.375})


def test_a_gate_is_named_and_takes_no_share(tmp_path: Path) -> None:
    engine = engine_of(
        network(
            """a = Conv (x, w)
            m = GlobalAveragePool (a)
            e = Conv (m, v)
            s = Sigmoid (e)
            p = Mul (a, s)
            d = Conv (p, z)
            g = GlobalAveragePool (d)
            y = Flatten (g)""",
            {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "z": (5, 4, 1, 1)},
        ),
        tmp_path,
    )
    layer = layer_of(engine.topology, "d")
    for k, found in enumerate(engine.topology.sources(layer, range(4))):
        assert [(s.kernel, s.share, s.via) for s in found] == [(k, 1.0, "chain"), (k, 0.0, "gate")]
    assert [g.paths for g in engine.topology.gates] == [((0,), (1,))]


def chosen(sign: float) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A network whose If depends on the sign of the input's mean."""
    model = network(
        """m = ReduceMean <keepdims=0> (x)
        c = Greater (m, zero)
        a = Conv (x, w)
        g = GlobalAveragePool (a)
        f = Flatten (g)
        y = Gemm (f, v)""",
        {"w": (4, 3, 1, 1), "v": (4, 5), "zero": 0.0, "u": (4, 4, 1, 1)},
    )
    one = helper.make_node("Conv", ["a", "u"], ["then_value"], "deep")
    other = helper.make_node("Relu", ["a"], ["else_value"], "flat")
    made = [
        helper.make_graph([n], "branch", [], [helper.make_empty_tensor_value_info(n.output[0])]) for n in (one, other)
    ]
    call = helper.make_node("If", ["c"], ["k"], "switch", then_branch=made[0], else_branch=made[1])
    model.graph.node.insert(3, call)
    model.graph.node[4].input[0] = "k"
    return model, {"x": np.full((1, 3, 6, 6), sign, np.float32)}


@pytest.mark.parametrize(("sign", "layers"), [(1.0, 3), (-1.0, 2)])
def test_an_if_becomes_the_branch_the_clip_takes(sign: float, layers: int, tmp_path: Path) -> None:
    model, feeds = chosen(sign)
    engine = engine_of(model, tmp_path, feeds=feeds)
    assert len(engine.topology.layers) == layers
    assert engine.coverage.complete
    assert set(engine.relevance(feeds, 2)) == set(range(layers - 1))


UNKNOWN = """a = Conv (x, w)
u = Cos (a)
b = Conv (u, v)
g = GlobalAveragePool (b)
y = Flatten (g)"""
UNKNOWN_WEIGHTS = {"w": (4, 3, 1, 1), "v": (5, 4, 1, 1)}


def test_an_unknown_operator_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match="Cos") as caught:
        engine_of(network(UNKNOWN, UNKNOWN_WEIGHTS), tmp_path)
    assert (caught.value.operator, caught.value.node) == ("Cos", "u")


def test_an_unknown_operator_is_a_recorded_barrier_on_request(tmp_path: Path) -> None:
    engine = engine_of(network(UNKNOWN, UNKNOWN_WEIGHTS), tmp_path, barriers=True)
    coverage = engine.coverage
    assert coverage.operators_unknown == ("Cos",)
    assert coverage.channels < 1
    assert not coverage.complete


def test_an_unknown_operator_off_the_channel_paths_does_not_matter(tmp_path: Path) -> None:
    model = network(
        "a = Conv (x, w)\ng = GlobalAveragePool (a)\ny = Flatten (g)\nu = Cos (k)",
        {"w": (4, 3, 1, 1), "k": 1.0},
    )
    assert engine_of(model, tmp_path).coverage.complete


def test_a_group_that_contradicts_the_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ModelError, RunError), match="group"):
        engine_of(
            network("a = Conv <group=3> (x, w)\ng = GlobalAveragePool (a)\ny = Flatten (g)", {"w": (6, 3, 1, 1)}),
            tmp_path,
        )


def test_a_batch_norm_in_training_mode_is_refused(tmp_path: Path) -> None:
    body = """a = Conv (x, w)
    n, p, q = BatchNormalization <training_mode=1> (a, s, o, m, v)
    g = GlobalAveragePool (n)
    y = Flatten (g)"""
    weights = {"w": (4, 3, 1, 1), "s": (4,), "o": (4,), "m": (4,), "v": np.ones(4)}
    with pytest.raises(ModelError, match="training mode"):
        engine_of(network(body, weights), tmp_path)


def test_a_function_in_a_standard_domain_is_refused(tmp_path: Path) -> None:
    extra = '<domain: "", opset_import: ["" : 21]> Relu (x) => (y) { y = Neg (x) }'
    model = network("a = Conv (x, w)\nr = Relu (a)\ny = Flatten (r)", {"w": (4, 3, 1, 1)}, extra=extra)
    with pytest.raises(ModelError, match="standard domain"):
        load(saved(model, tmp_path))


def test_names_carry_call_paths_and_repeats(tmp_path: Path) -> None:
    extra = '<domain: "local", opset_import: ["" : 21]> Block (x, w) => (y) { a = Conv (x, w)\n y = Relu (a) }'
    model = network(
        """a = local.Block (x, w)
        b = local.Block (a, v)
        c = local.Block (b, v)
        g = GlobalAveragePool (c)
        f = Flatten (g)
        y = Gemm (f, u)""",
        {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "u": (4, 5)},
        extra=extra,
    )
    for node, name in zip(model.graph.node, ("first", "second", "second", "pool", "flat", "first"), strict=True):
        node.name = name
    model.functions[0].node[0].name = "conv"
    engine = engine_of(model, tmp_path)
    assert [layer.name for layer in engine.topology.layers] == [
        "first/conv",
        "second/conv",
        "second/conv#2",
        "first",
    ]
    assert [layer.weight for layer in engine.topology.layers] == ["w", "v", "v", "u"]
    assert len({node.name for node in engine.program.nodes}) == len(engine.program.nodes)


def test_two_classifiers_are_told_apart_by_their_output(tmp_path: Path) -> None:
    model = network(
        "a = Conv (x, w)\ng = GlobalAveragePool (a)\nf = Flatten (g)\ny = Gemm (f, v)\nz = Gemm (f, u)",
        {"w": (4, 3, 1, 1), "v": (4, 5), "u": (4, 7)},
    )
    model.graph.output.append(helper.make_empty_tensor_value_info("z"))
    loaded = load(saved(model, tmp_path))
    feeds = runtime.random_feeds(loaded)
    assert Engine(loaded, feeds, device=runtime.Device("cpu")).classes()[0] == 5
    assert Engine(loaded, feeds, device=runtime.Device("cpu"), output="z").classes()[0] == 7
    with pytest.raises(TargetError, match="no output 'q'"):
        Engine(loaded, feeds, device=runtime.Device("cpu"), output="q")


def test_a_network_without_layers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no kernels"):
        engine_of(network("a = Relu (x)\ny = Flatten (a)", {}), tmp_path)


def test_the_feature_is_behind_affine_map_and_activation_and_before_an_add(tmp_path: Path) -> None:
    engine = engine_of(network(NESTED, NESTED_WEIGHTS), tmp_path)
    layers = {layer.output: layer for layer in engine.topology.layers}
    tensors = {k: feature_of(engine.topology, layer, engine.target).tensor for k, layer in layers.items()}
    assert tensors == {"a": "r", "b": "b", "c": "c", "d": "d"}


# -------------------------------------------------------------------- exact contributions (method, section 3)


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

EXACT = frozenset({"lossless"})
TOLERANCE = 1e-4


def reference_files(shared_dir: Path, kinds: frozenset[str]) -> list[Path]:
    """Reference models of some kinds, and those found in the wild."""
    folder = shared_dir / "models"
    rows = json.loads((folder / "exporters" / "manifest.json").read_text(encoding="utf-8"))
    listed = [folder / "exporters" / name for name, row in rows.items() if row["kind"] in kinds]
    return sorted(p for p in [*listed, *(folder / "wild").glob("*.onnx")] if p.is_file())


@pytest.mark.shared
@pytest.mark.slow
def test_contributions_add_up_on_every_reference_model(shared_dir: Path) -> None:
    problems = []
    files = reference_files(shared_dir, EXACT)
    for path in files:
        try:
            loaded = load(path)
            feeds = runtime.random_feeds(loaded)
            engine = Engine(loaded, feeds, device=runtime.Device("cpu"))
            errors = contribution_errors(engine, feeds)
            problems += [f"{path.name}: {name}: {e:.1e}" for name, e in errors.items() if e > TOLERANCE]
            if not errors:
                problems.append(f"{path.name}: nothing compared")
        except (CfpError, AssertionError) as error:
            problems.append(f"{path.name}: {type(error).__name__}: {error}")
    assert files
    assert not problems, "\n".join(problems)


def test_contributions_add_up_on_a_small_network(tmp_path: Path) -> None:
    """The same check without reference models: strides, dilations, groups, uneven pads, dense layers."""
    engine = engine_of(
        network(
            """a = Conv <strides=[2,1], pads=[1,0,2,1]> (x, w, wb)
            r = Relu (a)
            b = Conv <group=2, dilations=[2,1], pads=[1,0,1,2]> (r, v)
            q = Relu (b)
            c = Conv <pads=[3,3,3,3], strides=[2,3]> (q, u)
            f = Flatten (c)
            d = MatMul (f, z)
            y = Add (d, zb)""",
            {"w": (4, 3, 3, 2), "wb": (4,), "v": (6, 2, 1, 3), "u": (3, 6, 2, 2), "z": (90, 5), "zb": (5,)},
            "float[1,3,9,8] x",
        ),
        tmp_path,
    )
    feeds = runtime.random_feeds(engine.file)
    errors = contribution_errors(engine, feeds)
    assert len(errors) == 4
    assert max(errors.values()) <= TOLERANCE


MOVEMENTS = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Concat", "Split", "Slice", "Gather",
     "GatherElements", "GatherND", "ScatterND", "ScatterElements", "Pad", "DepthToSpace", "SpaceToDepth", "Resize",
     "Upsample", "QLinearConcat"}
)  # fmt: skip
MOVES = [row for row in ROWS + CASES if not row.still and any(n.op_type in MOVEMENTS for n in row.model.graph.node)]
CHANNELS_LAST = """i = QuantizeLinear (a, s, z)
t = Transpose <perm=[0,2,3,1]> (i)
q = com.microsoft.QLinearConv <channels_last=1> (t, s, z, n, s, z, s, z)
h = DequantizeLinear (q, s, z)
c = Transpose <perm=[0,3,1,2]> (h)"""


@pytest.mark.parametrize("row", MOVES, ids=lambda row: " ".join((row.op, row.case)).strip())
def test_a_movement_moves_every_element_as_the_runtime_does(row: Row, tmp_path: Path) -> None:
    """Labels and fields only follow a movement to the right places if it is the operator itself."""
    model = load(saved(row.model, tmp_path))
    feeds = runtime.random_feeds(model)
    program = runtime.observe(model, feeds)
    topology = build(program, channel_axes=channel_axes(program))
    moves = [(n, e) for n in program.nodes if isinstance(e := topology.effects.get(n.name), Move)]
    names = dict.fromkeys(n for node, e in moves for n in [*(node.inputs[i] for i in e.sources), *node.outputs])
    probe = Probe(model.opset)
    probe.outputs = [n for n in names if not program.is_constant(n)]
    session = runtime.Graph.of(model).with_probe(probe, keep_outputs=False).session(runtime.Device("cpu"))
    values = dict(zip(probe.outputs, runtime.run(session, probe.outputs, feeds), strict=True))
    assert moves
    for node, effect in moves:
        arrays = [values[n] if n in values else program.constant(n) for n in (node.inputs[i] for i in effect.sources)]
        for name, moved in zip(node.outputs, effect.apply(arrays, 0), strict=True):
            np.testing.assert_array_equal(np.broadcast_to(moved, values[name].shape), values[name], err_msg=node.name)


@pytest.mark.parametrize(
    ("body", "operator"),
    [
        ('c = com.microsoft.FusedConv <activation="Relu"> (a, v, k, a)', "com.microsoft::FusedConv"),
        ("c = Pow (o6, a)", "Pow"),
        ("c = Conv (a, v, b)", "Conv"),
        (CHANNELS_LAST, "com.microsoft::QLinearConv"),
        ("e = GlobalAveragePool (a)\nf = Flatten (e)\nh = Gemm (f, m, f)\nc = Unsqueeze (h, last)", "Gemm"),
        ("c = Clip (a, b1)", "Clip"),
        ("c = LayerNormalization <axis=3> (a, b6)", "LayerNormalization"),
        ("r = ReduceL2 (a, last)\nc = Mul (r, o6)", "ReduceL2"),
        ("c, i = TopK <axis=3> (a, two)", "TopK"),
        ('c = Resize <mode="linear"> (a, , scales)', "Resize"),
        ('c = Einsum <equation="nchw,dc->ndhw"> (a, m)', "Einsum"),
        ('h = Add (a, a)\nc = Einsum <equation="nchw,ncvw->nchv"> (a, h)', "Einsum"),
    ],
)
def test_a_use_that_a_handler_does_not_know_is_refused(body: str, operator: str, tmp_path: Path) -> None:
    """An addend, a factor or an order that the effect has no place for would otherwise be lost in silence."""
    weights: dict[str, Any] = {
        "w": (6, 3, 1, 1), "v": (6, 6, 1, 1), "k": (6,), "o": (6,), "o6": 2.0, "u": (5, 6, 1, 1), "m": (6, 6),
        "s": np.float32(0.05), "z": np.uint8(128), "n": np.full((6, 6, 1, 1), 130, np.uint8), "last": [2, 3],
        "one": [1], "two": [2], "scales": np.array([1, 1, 2, 2], np.float32), "flat": [-1], "all": [0, 1, 2, 3],
    }  # fmt: skip
    before = "a = Conv (x, w)"
    for name, made in {
        "b": "bp = GlobalAveragePool (a)\nb = Reshape (bp, flat)",
        "b1": "b1 = ReduceMean <keepdims=0> (a, all)",
        "b6": "b6 = ReduceMean <keepdims=0> (a, start)",
    }.items():
        if f" {name})" in body:
            before += "\n" + made
    weights["start"] = [0, 1, 2]
    text = f"{before}\n{body}\nd = Conv (c, u)\ng = GlobalAveragePool (d)\ny = Flatten (g)"
    used = {n: v for n, v in weights.items() if n in text.replace("(", " ").replace(")", " ").replace(",", " ").split()}
    with pytest.raises(UnsupportedOperatorError) as caught:
        engine_of(network(text, used), tmp_path)
    assert caught.value.operator == operator
