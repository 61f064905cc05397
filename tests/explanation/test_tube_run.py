"""How layers share forward passes: each within its budget, none forgotten, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from text_net import engine_of, network
from walk_nets import by_name

from cfp_onnx import explain
from cfp_onnx.explanation import tube_run
from cfp_onnx.explanation.sessions import Wanted
from cfp_onnx.explanation.tube_run import passes

#: x of 4 * 48 bytes, a of 4 * 64, b of 4 * 80, its mean and y.
BODY = "a = Conv (x, w)\nr = Relu (a)\nb = Conv (r, v)\ng = GlobalAveragePool (b)\nf = Flatten (g)\ny = Gemm (f, u)"
WEIGHTS = {"w": (4, 3, 1, 1), "v": (5, 4, 1, 1), "u": (5, 3)}


@pytest.mark.parametrize(
    ("budget", "expanded", "shown", "volumes", "expected"),
    [
        (10**6, (0, 1, 2), (), False, [((0, 1, 2), ())]),
        (448 + 576, (0, 1), (), False, [((0, 1), ())]),
        (448 + 575, (0, 1, 2), (), False, [((0,), ()), ((1, 2), ())]),
        (1, (0, 1, 2), (0,), False, [((0,), (0,)), ((1,), ()), ((2,), ())]),
        (256 + 320, (), (0, 1), False, [((), (0, 1))]),
        (256 + 320, (), (0, 1), True, [((), (0,)), ((), (1,))]),
        (576 + 320 + 256, (1,), (0, 1), False, [((1,), (1, 0))]),
        (576 + 320 + 255, (1,), (0, 1), False, [((1,), (1,)), ((), (0,))]),
        (10**6, (), (), False, [((), ())]),
    ],
)
def test_layers_share_a_pass_up_to_its_budget(
    budget: int,
    expanded: tuple[int, ...],
    shown: tuple[int, ...],
    volumes: bool,
    expected: list[tuple[tuple[int, ...], tuple[int, ...]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tube_run, "PASS_BUDGET", budget)
    net = engine_of(network(BODY, WEIGHTS, "float[1,3,4,4] x"), tmp_path).network
    assert passes(net, expanded, shown, volumes=volumes) == [Wanted(a, b, volumes=volumes) for a, b in expected]


@pytest.mark.parametrize("rule", ["positional", "zplus"])
def test_many_passes_say_what_one_says(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = by_name("residual 21")
    path, x = tmp_path / "net.onnx", net.feeds()["x"]
    onnx.save(net.model(), path)
    options = {"rule": rule, "depth": "all", "theta": 0.3, "device": "cpu", "kernel_relevance": True}
    one = explain(path, x, **options)
    asked: list[int] = []
    usual = tube_run.passes

    def counted(*arguments: object, **more: bool) -> list[Wanted]:
        found = usual(*arguments, **more)
        asked.append(len(found))
        return found

    monkeypatch.setattr(tube_run, "PASS_BUDGET", 1)
    monkeypatch.setattr(tube_run, "passes", counted)
    many = explain(path, x, **options)
    assert asked
    assert min(asked) > 1
    assert [(e.layer, e.kernel) for e in many.edges] == [(e.layer, e.kernel) for e in one.edges]
    for a, b in zip(one.edges, many.edges, strict=True):
        assert [c.channel for c in a.channels] == [c.channel for c in b.channels]
        np.testing.assert_allclose([c.weight for c in b.channels], [c.weight for c in a.channels], rtol=1e-5, atol=1e-7)
    assert len(one.tubes.items) == len(many.tubes.items) > 3
    for a, b in zip(one.tubes.items, many.tubes.items, strict=True):
        assert (a.kind, a.depth, a.layer, a.kernel) == (b.kind, b.depth, b.layer, b.kernel)
        np.testing.assert_allclose(b.values, a.values, rtol=1e-4, atol=1e-6)
