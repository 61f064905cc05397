"""Old and odd files: what they say in other ways is read as the usual, and gives the usual's answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx as cfp
from cfp_onnx import runtime
from cfp_onnx.errors import ModelError
from cfp_onnx.model import load, raising

Array = np.ndarray[Any, Any]

CLIP = np.random.default_rng(5).standard_normal((1, 3, 16, 16)).astype(np.float32)


def weights(names: dict[str, Any]) -> list[TensorProto]:
    rng = np.random.default_rng(2)
    arrays = {
        k: (rng.standard_normal(v) * 0.3).astype(np.float32) if isinstance(v, tuple) else np.asarray(v)
        for k, v in names.items()
    }
    return [numpy_helper.from_array(a, k) for k, a in arrays.items()]


def model(
    nodes: list[onnx.NodeProto],
    names: dict[str, Any],
    *,
    opset: int = 17,
    domain: str = "",
    inputs: dict[str, list[int]] | None = None,
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    tensors = weights(names)
    given = [helper.make_tensor_value_info(k, 1, v) for k, v in (inputs or {"x": list(CLIP.shape)}).items()]
    if opset < 9:
        given += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    made = [helper.make_tensor_value_info(o, 1, None) for o in outputs]
    domains = [
        helper.make_opsetid(domain, opset),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("ai.onnx.ml", 3),
    ]
    graph = helper.make_graph(nodes, "net", given, made, tensors)
    return helper.make_model(graph, opset_imports=domains, ir_version=3 if opset < 9 else 8)


def saved(made: onnx.ModelProto, folder: Path, name: str = "net.onnx") -> Path:
    onnx.save(made, folder / name)
    return folder / name


def plain(path: Path, feeds: dict[str, Array], output: str = "y") -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run([output], feeds)[0]


def relevance(path: Path, feeds: dict[str, Array], **options: Any) -> tuple[cfp.Pyramid, dict[str, Array]]:
    pyramid = cfp.explain(path, feeds, depth="all", device="cpu", tubes=False, **options)
    return pyramid, {layer.name: np.array(layer.relevance) for layer in pyramid.layers}


node = helper.make_node
CONV = [node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1] * 4), node("Relu", ["c"], ["r"], "relu")]
HEAD = [
    node("GlobalAveragePool", ["a"], ["p"]),
    node("Flatten", ["p"], ["f"]),
    node("Gemm", ["f", "v", "u"], ["y"], "head", transB=1),
]
NAMES: dict[str, Any] = {"w": (32, 3, 3, 3), "b": (32,), "v": (5, 32), "u": (5,)}
DENSE = [
    node("MatMul", ["x", "w"], ["a"], "hidden"), node("Relu", ["a"], ["r"]), node("MatMul", ["r", "v"], ["y"], "head"),
]  # fmt: skip
MEAN = [node("ReduceMean", ["r"], ["m"], axes=[2, 3]), HEAD[2]]

FLOOR = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
FUSED = {"domain": "com.microsoft", "activation": "Relu", "kernel_shape": [3, 3]}
OLD: dict[str, tuple[list[onnx.NodeProto], list[onnx.NodeProto], dict[str, Any]]] = {
    "maximum": (same := [*CONV, node("MaxPool", ["r"], ["a"], kernel_shape=[2, 2], strides=[2, 2]), *HEAD], same, {}),
    "mean": (same := [*CONV, node("Identity", ["r"], ["a"]), *HEAD], same, {}),
    "clip": (
        [CONV[0], node("Clip", ["c"], ["a"], min=0.0, max=0.5), *HEAD],
        [CONV[0], node("Clip", ["c", "low", "high"], ["a"]), *HEAD],
        {"low": np.float32(0), "high": np.float32(0.5)},
    ),
    "pad": (
        [*CONV, node("Pad", ["r"], ["a"], pads=[0, 0, 1, 1, 0, 0, 1, 1]), *HEAD],
        [*CONV, node("Pad", ["r", "by"], ["a"]), *HEAD],
        {"by": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
    ),
    "larger": (
        [*CONV, node("Upsample", ["r"], ["a"], scales=[1.0, 1.0, 2.0, 2.0]), *HEAD],
        [*CONV, node("Resize", ["r", "", "by"], ["a"], **FLOOR), *HEAD],
        {"by": np.array([1, 1, 2, 2], np.float32)},
    ),
    "squeeze": (
        [*CONV, MEAN[0], node("Squeeze", ["m"], ["f"], axes=[2, 3]), HEAD[2]],
        [*CONV, MEAN[0], node("Squeeze", ["m", "by"], ["f"]), HEAD[2]],
        {"by": np.array([2, 3])},
    ),
    "fused": (
        same := [node("FusedConv", ["x", "w", "b"], ["a"], "conv", **FUSED), *HEAD],
        same, {},
    ),
}  # fmt: skip
"""Networks as operator sets 7 and 8 write them, as 17 does, and the constants that only the second has."""


@pytest.mark.parametrize("opset", [7, 8])
@pytest.mark.parametrize("kind", OLD)
def test_an_old_operator_set_gives_the_answer_of_a_new_one(kind: str, opset: int, tmp_path: Path) -> None:
    old, new, more = OLD[kind]
    path = saved(model(old, NAMES, opset=opset), tmp_path)
    found, answer = relevance(path, {"x": CLIP})
    known, wanted = relevance(saved(model(new, NAMES | more), tmp_path, "new.onnx"), {"x": CLIP})
    assert found.target.score == pytest.approx(float(plain(path, {"x": CLIP}).max()), rel=1e-5)
    assert (found.model.opset, found.coverage.channels, found.target.index) == (opset, 1.0, known.target.index)
    assert list(answer) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(answer[name], values, rtol=1e-4, atol=1e-5 * np.abs(values).max())


def test_an_old_file_is_not_raised_to_one_that_computes_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(model(OLD["maximum"][0], NAMES, opset=8), tmp_path)
    convert = raising.version_converter.convert_version

    def wrong(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
        made = convert(proto, opset)
        next(n for n in made.graph.node if n.op_type == "MaxPool").attribute[0].ints[:] = [1, 1]
        return made

    assert runtime.observe(load(path), {"x": CLIP}).model.opset == 17
    monkeypatch.setattr(raising.version_converter, "convert_version", wrong)
    assert runtime.observe(load(path), {"x": CLIP}).model.opset == 8


def test_weights_are_not_copied_through_the_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    convert = raising.version_converter.convert_version

    def seen(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
        sizes.append(proto.ByteSize())
        return convert(proto, opset)

    monkeypatch.setattr(raising.version_converter, "convert_version", seen)
    runtime.observe(
        load(saved(model(OLD["mean"][0], NAMES | {"v": (50_000, 32)} | {"u": (50_000,)}, opset=7), tmp_path)),
        {"x": CLIP},
    )
    assert max(sizes) < 4000


def test_the_standard_domain_may_be_spelled_out(tmp_path: Path) -> None:
    nodes = [node("Mul", ["k", "two"], ["w"]), *CONV, node("Identity", ["r"], ["a"]), *HEAD]
    names = {"k": (8, 3, 3, 3), "b": (8,), "v": (5, 8), "u": (5,), "two": np.float32(2)}
    usual = saved(model(nodes, names), tmp_path)
    spelled = model(nodes, names, domain="ai.onnx")
    spelled.graph.node[1].domain = "ai.onnx"
    for given in ({}, {"rule": "published"}):
        _, wanted = relevance(usual, {"x": CLIP}, **given)
        found, answer = relevance(saved(spelled, tmp_path, "spelled.onnx"), {"x": CLIP}, **given)
        assert found.model.opset == 17
        assert {k: v.tolist() for k, v in answer.items()} == {k: v.tolist() for k, v in wanted.items()}


def test_an_output_needs_no_type(tmp_path: Path) -> None:
    made = model(OLD["mean"][0], NAMES, opset=9)
    made.graph.output[0].ClearField("type")
    found, _ = relevance(path := saved(made, tmp_path), {"x": CLIP})
    assert found.target.score == pytest.approx(float(plain(path, {"x": CLIP}).max()))


@pytest.mark.parametrize(
    ("keys", "labels"),
    [({"classlabels_int64s": [0, 1, 2]}, None), ({"classlabels_strings": ["ant", "bee", "cat"]}, ("ant", "bee", "cat")),
     ({"classlabels_int64s": [3, 7, 2]}, ("3", "7", "2"))],
    ids=["numbers", "names", "other numbers"],
)  # fmt: skip
def test_a_map_of_scores_is_the_scores(keys: dict[str, Any], labels: tuple[str, ...] | None, tmp_path: Path) -> None:
    nodes = [
        *DENSE[:2], node("MatMul", ["r", "v"], ["z"], "head"),
        node("Softmax", ["z"], ["s"], axis=1), node("ZipMap", ["s"], ["y"], domain="ai.onnx.ml", **keys),
    ]  # fmt: skip
    made = model(nodes, {"w": (20, 16), "v": (16, 3)}, inputs={"x": [1, 20]})
    kind = TensorProto.STRING if "classlabels_strings" in keys else TensorProto.INT64
    entry = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(1, None))
    made.graph.output[0].CopyFrom(helper.make_value_info("y", helper.make_sequence_type_proto(entry)))
    path, feeds = saved(made, tmp_path), {"x": CLIP.reshape(-1)[:20].reshape(1, 20)}
    (scores,) = plain(path, feeds)
    found, answer = relevance(path, feeds)
    strongest = max(scores, key=lambda k: scores[k])
    assert found.target.score == pytest.approx(scores[strongest])
    assert (found.target.label or found.target.index) == (str(strongest) if labels else strongest)
    assert load(path).labels == labels
    del made.graph.node[-1]
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("s", 1, None))
    _, wanted = relevance(saved(made, tmp_path, "tensor.onnx"), feeds)
    np.testing.assert_array_equal(answer["hidden"], wanted["hidden"])


def test_a_chain_of_constants_may_be_long(tmp_path: Path) -> None:
    chain = [node("Mul", [f"w{i}", "near"], [f"w{i + 1}"]) for i in range(1500)]
    nodes = [
        *chain,
        node("MatMul", ["x", "w1500"], ["a"], "hidden"),
        node("Relu", ["a"], ["r"]),
        node("MatMul", ["r", "v"], ["y"]),
    ]
    path = saved(model(nodes, {"w0": (6, 4), "v": (4, 3), "near": np.float32(1.0001)}, inputs={"x": [1, 6]}), tmp_path)
    found, _ = relevance(path, {"x": CLIP[0, 0, :1, :6]})
    assert found.target.score == pytest.approx(float(plain(path, {"x": CLIP[0, 0, :1, :6]}).max()), rel=1e-4)


@pytest.mark.parametrize(
    ("operator", "attributes", "says"),
    [
        ("TreeEnsembleRegressor", {
            "nodes_treeids": [0], "nodes_nodeids": [0], "nodes_featureids": [0], "nodes_values": [0.0],
            "nodes_modes": ["LEAF"], "nodes_truenodeids": [0], "nodes_falsenodeids": [0], "target_treeids": [0],
            "target_nodeids": [0],
            "target_ids": [0], "target_weights": [1.0], "n_targets": 1,
        }, r"this is a tree ensemble \(TreeEnsembleRegressor\)"),
        ("LinearRegressor", {"coefficients": [0.5] * 6, "intercepts": [0.1], "targets": 1}, "this is a linear model"),
    ],
)  # fmt: skip
def test_other_kinds_of_models_are_named(operator: str, attributes: dict[str, Any], says: str, tmp_path: Path) -> None:
    made = model([node(operator, ["x"], ["y"], domain="ai.onnx.ml", **attributes)], {}, inputs={"x": [1, 6]})
    with pytest.raises(ModelError, match=says):
        relevance(saved(made, tmp_path), {"x": CLIP[0, 0, :1, :6]})


def test_weights_that_are_inputs_are_named(tmp_path: Path) -> None:
    made = model([node("MatMul", ["x", "w"], ["y"], "head")], {}, inputs={"x": [1, 6], "w": [6, 3]})
    with pytest.raises(ModelError, match="the weights of MatMul 'head' are an input of the model"):
        cfp.topology(saved(made, tmp_path))


VECTORS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], list[int], Callable[..., Array]]] = {
    "on the left": (
        DENSE,
        {"w": (7, 9), "v": (9, 4)}, [7], lambda w, v: (w, v),
    ),
    "on the right": (
        [node("MatMul", ["w", "x"], ["a"], "hidden"), DENSE[1], node("MatMul", ["v", "r"], ["y"], "head")],
        {"w": (9, 7), "v": (4, 9)}, [7], lambda w, v: (w.T, v.T),
    ),
    "both": (
        DENSE,
        {"w": (7, 9), "v": (9,)}, [1, 7], lambda w, v: (w, v[:, None]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", VECTORS)
def test_products_with_vectors_are_dense_layers(kind: str, tmp_path: Path) -> None:
    nodes, names, shape, matrices = VECTORS[kind]
    made = model(nodes, names, inputs={"x": shape})
    path, x = saved(made, tmp_path), CLIP.reshape(-1)[:7].reshape(shape)
    w, v = matrices(*(numpy_helper.to_array(t) for t in made.graph.initializer))
    engine = cfp.explanation.engine.Engine(load(path), {"x": x}, device=runtime.Device("cpu"))
    hidden = np.maximum(x.reshape(-1) @ w, 0)
    scores = hidden @ v
    index = int(np.argmax(scores))
    others = np.delete(v, index, axis=1)
    wanted = hidden * (v[:, index] - (others.mean(1) if others.size else 0))
    assert engine.scores(engine.plain({"x": x})["y"])[index] == pytest.approx(float(scores[index]), rel=1e-5)
    assert [(layer.name, layer.weight) for layer in engine.topology.layers] == [("hidden", "w"), ("head", "v")]
    np.testing.assert_allclose(engine.relevance({"x": x}, index)[0], wanted, rtol=1e-5, atol=1e-6)
