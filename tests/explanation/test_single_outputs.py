"""Outputs that are a single number: its value and its side, and what speaks against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from text_net import Array, network

import cfp_onnx as cfp
from cfp_onnx.errors import TargetError

BODY = "a = Conv (x, w)\nr = Relu (a)\ng = GlobalAveragePool (r)\nf = Flatten (g)\nz = Gemm (f, v, b)\n"
RULES = ("positional", "active", "zplus", "mean", "published")


def network_with(bias: float, folder: Path, tail: str = "y = Sigmoid (z)", sign: float = 1.0) -> Path:
    v = np.array([[1.0], [-0.5], [0.25], [2.0]]) * sign
    weights: dict[str, Any] = {"w": (4, 3, 1, 1), "v": v, "b": np.array([bias])}
    folder.mkdir(exist_ok=True)
    onnx.save(network(BODY + tail, weights), folder / "net.onnx")
    return folder / "net.onnx"


def explained(file: Path, x: Array, **options: Any) -> cfp.Pyramid:
    return cfp.explain(file, x, device="cpu", tubes=False, depth="all", **options)


@pytest.fixture
def x(rng: np.random.Generator) -> Array:
    return rng.standard_normal((1, 3, 6, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("target", "title"),
    [(None, "dog: what speaks for it"), ("dog", "dog: what speaks for it"), ("cat", "dog: what speaks against it")],
)
def test_two_names_are_the_two_sides(target: str | None, title: str, x: Array, tmp_path: Path) -> None:
    found = explained(network_with(9.0, tmp_path), x, target=target, labels=["cat", "dog"])
    assert found.target.title == title
    assert "two names for one output" in str(found.run.labels)


@pytest.mark.parametrize(
    ("bias", "target", "title", "note"),
    [
        (9.0, None, "output 'y': what speaks for it", None),
        (-9.0, None, "output 'y': what speaks for it", "below one half, so the model says no; use --class not:0"),
        (9.0, "not:0", "output 'y': what speaks against it", "above one half, so the model says yes; leave not: out"),
        (-9.0, "not:0", "output 'y': what speaks against it", None),
    ],
)
def test_a_sigmoid_has_a_value_and_a_side(
    bias: float, target: str | None, title: str, note: str | None, x: Array, tmp_path: Path
) -> None:
    found = explained(network_with(bias, tmp_path), x, target=target)
    assert found.target.title == title
    assert (found.target.score > 0.5) == (bias > 0)
    assert found.target.top == ()
    assert bool(found.target.turned) == (target is not None)
    text = " ".join(str(found).split())
    assert text.startswith(title)
    assert "class 0" not in text
    assert "itself answers" not in text
    assert (note in text) if note else ("one half" not in text)


@pytest.mark.parametrize("target", [None, "not:0"])
def test_a_regression_has_no_class(target: str | None, x: Array, tmp_path: Path) -> None:
    found = explained(network_with(3.0, tmp_path, "y = Identity (z)"), x, target=target)
    assert found.target.title == f"output 'y': what {'lowers' if target else 'raises'} it"
    assert "class 0" not in str(found)
    assert found.run.against is None


@pytest.mark.parametrize("rule", RULES)
def test_the_other_side_is_that_of_the_network_with_its_sign_turned(rule: str, x: Array, tmp_path: Path) -> None:
    found = explained(network_with(0.3, tmp_path / "a"), x, target="not:0", rule=rule)
    turned = explained(network_with(-0.3, tmp_path / "b", sign=-1.0), x, rule=rule)
    here = explained(network_with(0.3, tmp_path / "a"), x, rule=rule)
    for one, other, own in zip(found.layers, turned.layers, here.layers, strict=True):
        np.testing.assert_allclose(one.relevance, other.relevance, rtol=1e-5, atol=1e-7)
        assert one.depth == 0 or not np.allclose(one.relevance, own.relevance)
    assert [(k.layer, k.kernel) for k in found.levels[1]] == [(k.layer, k.kernel) for k in turned.levels[1]]


def test_a_label_names_the_value(x: Array, tmp_path: Path) -> None:
    found = explained(network_with(3.0, tmp_path), x, labels=("smoke",), target="not:smoke")
    assert found.target.title == "smoke: what speaks against it"


def test_only_a_single_output_has_another_side(x: Array, tmp_path: Path) -> None:
    model = network(BODY.replace(", b)", ")") + "y = Softmax (z)", {"w": (4, 3, 1, 1), "v": (4, 3)})
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(TargetError, match=r"'not:1' asks for the other side of a single output, .* 3 classes"):
        explained(tmp_path / "net.onnx", x, target="not:1")


def test_the_page_of_a_value_has_its_title(x: Array, tmp_path: Path) -> None:
    found = cfp.explain(network_with(3.0, tmp_path), x, device="cpu")
    found.save(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<title>output &#x27;y&#x27;: what speaks for it - class feature pyramid</title>" in page
