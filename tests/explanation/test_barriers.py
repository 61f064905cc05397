"""What is said of layers that lie behind an operator that is not followed: unknown, never 0, never covered."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from text_net import network, saved

from cfp_onnx import explain, load_pyramid
from cfp_onnx.pyramid.result import Pyramid

BEHIND = """a = Conv (x, w)
r = Relu (a)
u = Cos (r)
b = Conv (u, v)
q = Relu (b)
g = GlobalAveragePool (q)
f = Flatten (g)
y = Gemm (f, z)"""
WEIGHTS = {"w": (4, 3, 1, 1), "v": (5, 4, 1, 1), "z": (5, 6)}

BESIDE = BEHIND.replace("b = Conv (u, v)", "s = Add (u, r)\nb = Conv (s, v)")
CLIP = np.random.default_rng(1).standard_normal((1, 3, 6, 6)).astype(np.float32)


def found(body: str, folder: Path, **options: object) -> Pyramid:
    path = saved(network(body, WEIGHTS), folder)
    return explain(path, CLIP, target=1, depth="all", barriers=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["positional", "zplus", "active", "published", "mean"])
def test_behind_a_barrier_relevance_is_null_and_not_covered(rule: str, tmp_path: Path) -> None:
    pyramid = found(BEHIND, tmp_path, rule=rule)
    first, second, _ = pyramid.layers
    assert (first.paths, second.paths) == ("none", "all")
    assert all(math.isnan(r) for r in first.relevance)
    assert not any(map(math.isnan, second.relevance))
    assert pyramid.coverage.layers == pytest.approx(2 / 3)
    assert pyramid.coverage.channels == pytest.approx(5 / 12)  # of 3 + 4 + 5 those that the classifier reads
    value = json.loads(json.dumps(pyramid.to_json(), allow_nan=False))
    assert (value["schema_version"], value["layers"][0]["relevance"]) == (2, [None] * 4)
    assert not any(k.layer == first.name for k in pyramid.kernels())
    assert "unknown: it lies behind Cos" in str(pyramid)


def test_a_table_has_nothing_for_what_is_unknown(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pyramid = found(BEHIND, tmp_path)
    frame = pyramid.to_frame()
    unknown = frame.layer == pyramid.layers[0].name
    assert unknown.any()
    assert frame.loc[unknown, ["relevance", "share"]].isna().all().all()


def test_a_layer_with_one_path_that_is_followed_is_known_in_part(tmp_path: Path) -> None:
    pyramid = found(BESIDE, tmp_path)
    assert [x.paths for x in pyramid.layers] == ["some", "all", "all"]
    assert all(map(math.isfinite, pyramid.layers[0].relevance))
    assert pyramid.coverage.layers == pytest.approx(2 / 3)
    assert "known in part" in str(pyramid)


def test_what_is_unknown_is_saved_read_and_drawn(tmp_path: Path) -> None:
    pyramid = found(BEHIND, tmp_path)
    pyramid.save(tmp_path / "out", animation="none")
    again = load_pyramid(tmp_path / "out")
    assert again.layers == pyramid.layers
    assert "unknown: it lies behind" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_files_of_version_1_are_read(tmp_path: Path) -> None:
    value = found(BEHIND.replace("Cos", "Abs"), tmp_path).to_json()
    value["schema_version"] = 1
    for layer in value["layers"]:
        del layer["paths"]
    (tmp_path / "pyramid.json").write_text(json.dumps(value), "utf-8")
    assert {x.paths for x in load_pyramid(tmp_path / "pyramid.json").layers} == {"all"}


def test_the_notes_on_tubes_say_that_nothing_is_known(tmp_path: Path) -> None:
    notes = found(BEHIND, tmp_path).tubes.notes  # type: ignore[union-attr]
    assert any("depth 2 does not say where: relevance is unknown behind Cos" in n for n in notes)
    assert not any("only steer" in n for n in notes)


def test_an_operator_before_the_first_layer_needs_no_flag(tmp_path: Path) -> None:
    body = BEHIND.replace("a = Conv (x, w)", "c = Cos (x)\na = Conv (c, w)").replace("u = Cos (r)", "u = Abs (r)")
    pyramid = explain(saved(network(body, WEIGHTS), tmp_path), CLIP, target=1, depth="all")
    assert pyramid.coverage.complete
    assert {x.paths for x in pyramid.layers} == {"all"}
    links = [c for e in pyramid.edges if e.layer == pyramid.layers[0].name for c in e.channels]
    assert not links or all(s.layer is None and s.kernel == c.channel for c in links for s in c.sources)
    notes = pyramid.tubes.notes  # type: ignore[union-attr]
    assert any("places in the clip are not known behind Cos" in n for n in notes)
    assert not any("1 x 1 x 1" in n and "depth 2" in n for n in notes)


TOKENS = """e = Gather (table, x)
h = MatMul (e, w)
r = Relu (h)
m = ReduceMean <keepdims=0> (r, one)
y = MatMul (m, v)"""


def test_tokens_that_are_embedded_need_no_flag(tmp_path: Path) -> None:
    weights = {"table": (20, 6), "w": (6, 8), "v": (8, 3), "one": np.array([1])}
    path = saved(network(TOKENS, weights, "int64[1,7] x"), tmp_path)
    pyramid = explain(path, np.arange(7)[None], target=2, depth="all")
    assert pyramid.coverage.complete
    assert any(pyramid.layers[0].relevance)
    links = [c for e in pyramid.edges if e.layer == pyramid.layers[0].name for c in e.channels]
    assert all((s.layer, s.kernel) == (None, c.channel) for c in links for s in c.sources)
