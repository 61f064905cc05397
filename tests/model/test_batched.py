"""Products with a batch of constant matrices, and with vectors: the numbers are NumPy's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from cfp_onnx import runtime
from cfp_onnx.model import load

Shape = tuple[int, ...]

BATCHES = (
    ((2, 3, 4, 5), (3, 5, 6)), ((3, 4, 5), (3, 5, 6)), ((2, 1, 4, 5), (3, 5, 6)), ((4, 5), (3, 5, 6)),
    ((5,), (3, 5, 6)), ((2, 3, 4, 5), (1, 3, 5, 6)), ((2, 2, 3, 4, 5), (2, 3, 5, 6)), ((2, 1, 1, 4, 5), (2, 3, 5, 6)),
    ((3, 6, 4), (2, 3, 4, 5)), ((3, 6, 4), (3, 4, 5)), ((3, 6, 4), (4,)), ((3, 6, 4), (4, 5)),
    ((1, 3, 6, 4), (2, 1, 4, 5)),
)  # fmt: skip
VECTORS = (((5,), (2, 5, 6)), ((2, 4, 5), (5,)), ((5,), (5,)), ((4, 5), (5,)))


def product(shapes: tuple[Shape, Shape], constant: int | None) -> onnx.ModelProto:
    rng = np.random.default_rng(4)
    names = ("x0", "x1")
    held = {n: rng.standard_normal(shapes[i]).astype(np.float32) for i, n in enumerate(names) if i == constant}
    infos = [helper.make_tensor_value_info(n, 1, s) for n, s in zip(names, shapes, strict=True) if n not in held]
    graph = helper.make_graph(
        [helper.make_node("MatMul", names, ["y"], "product")], "g", infos,
        [helper.make_tensor_value_info("y", 1, None)], [numpy_helper.from_array(v, k) for k, v in held.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(
    ("shapes", "constant"),
    [*((s, int(len(s[1]) > 2 and (len(s[0]), s[0][0]) != (4, 1) and s[0] != (3, 6, 4))) for s in BATCHES),
     *((s, None) for s in VECTORS)],
)  # fmt: skip
def test_the_numbers_are_the_same(shapes: tuple[Shape, Shape], constant: int | None, tmp_path: Path) -> None:
    proto = product(shapes, constant)
    onnx.save(proto, tmp_path / "m.onnx")
    rng = np.random.default_rng(2)
    held = {i.name: numpy_helper.to_array(i) for i in proto.graph.initializer}
    given = {f"x{i}": rng.standard_normal(s).astype(np.float32) for i, s in enumerate(shapes)} | held
    feeds = {k: v for k, v in given.items() if k not in held}
    program = runtime.observe(load(tmp_path / "m.onnx"), feeds)
    found = ir.to_proto(program.model.graph)
    [node] = [n for n in found.graph.node if n.name == "product"]
    assert node.op_type == ("MatMul" if constant is None else "Conv")
    [y] = onnxruntime.InferenceSession(found.SerializeToString()).run(None, feeds)
    np.testing.assert_allclose(y, np.matmul(given["x0"], given["x1"]), rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_one_in_part_is_named(tmp_path: Path) -> None:
    onnx.save(product(((2, 1, 4, 5), (2, 3, 5, 6)), 1), tmp_path / "m.onnx")
    program = runtime.observe(load(tmp_path / "m.onnx"), {"x0": np.zeros((2, 1, 4, 5), np.float32)})
    assert "by constants of" in program.model.unexpanded["product"]


GEMMS = (
    ("<transA=1, alpha=0.5> (x0, w)", {"x0": (5, 2)}, {"w": (5, 3)}),
    ("<transA=1, transB=1, beta=2.0> (x0, w, c)", {"x0": (5, 2)}, {"w": (3, 5), "c": (3,)}),
    ("(x0, x1)", {"x0": (2, 5), "x1": (5, 3)}, {}),
    ("<beta=0.5> (x0, w, x1)", {"x0": (2, 5), "x1": (2, 1)}, {"w": (5, 3)}),
    ("<alpha=3.0> (w, x0)", {"x0": (5, 3)}, {"w": (2, 5)}),
)


@pytest.mark.parametrize(("call", "shapes", "constants"), GEMMS)
def test_a_gemm_that_is_no_dense_layer(
    call: str, shapes: dict[str, Shape], constants: dict[str, Shape], tmp_path: Path
) -> None:
    rng = np.random.default_rng(6)
    inputs = ", ".join(f"float[{','.join(map(str, s))}] {k}" for k, s in shapes.items())
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17]> net ({inputs}) => (float[2,3] y) {{ y = Gemm {call} }}'
    )
    for name, shape in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.save(proto, tmp_path / "m.onnx")
    feeds = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    program = runtime.observe(load(tmp_path / "m.onnx"), feeds)
    assert not any(n.op == "Gemm" for n in program.nodes)
    found = ir.to_proto(program.model.graph)
    [y] = onnxruntime.InferenceSession(found.SerializeToString()).run(None, feeds)
    [known] = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)
    np.testing.assert_allclose(y, known, rtol=1e-5, atol=1e-5)
