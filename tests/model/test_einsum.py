"""Einsum in ordinary nodes: the numbers are those of NumPy's own."""

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

FORMS = {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "bij,jk->bik": ((2, 3, 4), (4, 5)),
    "abc,cde->abde": ((2, 3, 4), (4, 2, 5)),
    "abcd,cde->abe": ((2, 3, 4, 5), (4, 5, 6)),
    "aecd,abcd->acbe": ((2, 5, 3, 4), (2, 6, 3, 4)),
    "acbe,aecd->abcd": ((2, 3, 4, 5), (2, 5, 3, 6)),
    "BTNH,BSNH->BNTS": ((2, 3, 4, 5), (2, 6, 4, 5)),
    "...qd,...kd->...qk": ((2, 3, 4, 5), (2, 3, 6, 5)),
    "bhid,jd->bhij": ((2, 3, 4, 5), (6, 5)),
    "bhwc,hkc->bhwk": ((2, 3, 4, 5), (3, 6, 5)),
    "bchw,kc->bkhw": ((2, 3, 4, 5), (6, 3)),
    "nctv,vw->nctw": ((2, 3, 4, 5), (5, 6)),
    "ncuv,nctv->nctu": ((2, 3, 4, 5), (2, 3, 6, 5)),
    "nkctv,kvw->nctw": ((2, 3, 4, 5, 6), (3, 6, 2)),
    "bij,bij->b": ((2, 3, 4), (2, 3, 4)),
    "bij,bij->bij": ((2, 3, 4), (2, 3, 4)),
    "bhwc,bc->bhwc": ((2, 3, 4, 5), (2, 5)),
    "bi,bj->bij": ((2, 3), (2, 4)),
    "bij,bkl->bl": ((2, 3, 4), (2, 5, 6)),
    "bij,bjk": ((2, 3, 4), (2, 4, 5)),
    "bhid,bhjd->bhij": ((1, 3, 4, 5), (2, 3, 6, 5)),
    "d c, b c n -> b d n": ((4, 3), (2, 3, 5)),
    "bthk,hkn->bthn": ((2, 3, 4, 5), (4, 5, 6)),
    "bhtk,hnk->bhtn": ((2, 4, 3, 5), (4, 6, 5)),
    "gbtk,gkmn->bmgtn": ((3, 2, 4, 5), (3, 5, 2, 6)),
    "bij->bji": ((2, 3, 4),),
    "bij->b": ((2, 3, 4),),
}  # fmt: skip


def model(equation: str, shapes: tuple[tuple[int, ...], ...], constant: int | None) -> onnx.ModelProto:
    names = [f"x{i}" for i in range(len(shapes))]
    rng = np.random.default_rng(4)
    held = {names[i]: rng.standard_normal(s).astype(np.float32) for i, s in enumerate(shapes) if i == constant}
    infos = [helper.make_tensor_value_info(n, 1, s) for n, s in zip(names, shapes, strict=True) if n not in held]
    graph = helper.make_graph(
        [helper.make_node("Einsum", names, ["y"], "product", equation=equation)], "g", infos,
        [helper.make_tensor_value_info("y", 1, None)], [numpy_helper.from_array(v, k) for k, v in held.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(
    ("equation", "constant"), [(e, k) for e, s in FORMS.items() for k in ((None, 0, 1) if len(s) == 2 else (None,))]
)
def test_the_numbers_are_the_same(equation: str, constant: int | None, tmp_path: Path) -> None:
    shapes = FORMS[equation]
    proto = model(equation, shapes, constant)
    onnx.save(proto, tmp_path / "m.onnx")
    rng = np.random.default_rng(2)
    feeds = {
        i.name: rng.standard_normal([d.dim_value for d in i.type.tensor_type.shape.dim]).astype(np.float32)
        for i in proto.graph.input
    }
    program = runtime.observe(load(tmp_path / "m.onnx"), feeds)
    found = ir.to_proto(program.model.graph)
    assert not any(n.op_type == "Einsum" for n in found.graph.node)
    assert constant is None or any(n.name == "product" for n in found.graph.node)
    [y] = onnxruntime.InferenceSession(found.SerializeToString()).run(None, feeds)
    held = {i.name: numpy_helper.to_array(i) for i in proto.graph.initializer}
    given = [{**feeds, **held}[f"x{i}"] for i in range(len(shapes))]
    np.testing.assert_allclose(y, np.einsum(equation, *given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes", "said"),
    [("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5)), "more than two"), ("bii->bi", ((2, 3, 3),), "a diagonal")],
)
def test_other_forms_are_named(equation: str, shapes: tuple[tuple[int, ...], ...], said: str, tmp_path: Path) -> None:
    onnx.save(model(equation, shapes, None), tmp_path / "m.onnx")
    loaded = load(tmp_path / "m.onnx")
    feeds = {f"x{i}": np.zeros(s, np.float32) for i, s in enumerate(shapes)}
    assert said in runtime.observe(loaded, feeds).model.unexpanded["product"]
