"""Rather than what: each answer is the walk of the margin that it names, and further ones are kept beside the first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twin
from pyramids import explained, refusal
from small_nets import Net, engine_of, weights_of

import cfp_onnx as cfp
from cfp_onnx.errors import TargetError, UsageError
from cfp_onnx.explanation.options import WalkOptions
from cfp_onnx.graph.features import feature_of
from cfp_onnx.pyramid.result import Pyramid

PLAIN = Net(
    "against", "x=1,3,6,6", "c1 = Conv (x, w1)\nr1 = Relu (c1)\nc2 = Conv (r1, w2)\nf = Relu (c2)",
    {"w1": (6, 3, 3, 3), "w2": (7, 6, 3, 3)}, head=7,
)  # fmt: skip
CLASS = 3


def counts(scores: Any, against: str | int) -> Any:
    """How much each other class counts, by hand."""
    others = np.delete(np.arange(scores.size), CLASS)
    found = np.zeros(scores.size)
    if against == "mean":
        found[others] = 1 / others.size
    elif against == "rivals":
        found[others] = np.exp(scores[others]) / np.exp(scores[others]).sum()
    else:
        found[others[np.argmax(scores[others])] if against == "best" else int(against)] = 1
    return found


@pytest.mark.parametrize("against", ["mean", "rivals", "best", "0", 4])
@pytest.mark.parametrize("rule", ["positional", "active"])
def test_relevance_is_that_of_the_twin_from_the_seed_named(rule: str, against: str | int, tmp_path: Path) -> None:
    model, feeds = PLAIN.model(), PLAIN.feeds()
    engine = engine_of(model, feeds, tmp_path)
    scores = twin.evaluate(model, feeds)["y"][0].astype(np.float64)
    truth = twin.fields(model, feeds, target=CLASS, rule=rule, others=counts(scores, against))
    found = engine.relevance(feeds, CLASS, rule=rule, against=against)
    for layer in engine.topology.layers[:-1]:
        feature = feature_of(engine.topology, layer, engine.target)
        expected = truth.relevance(feature.tensor, axis=feature.axis)
        np.testing.assert_allclose(found[layer.index], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("rule", ["published", "mean"])
def test_the_pooled_rules_take_the_class_less_what_is_named(rule: str, tmp_path: Path) -> None:
    """At the classifier: (w_k - sum of the others' w, weighted) times the mean feature."""
    model, feeds = PLAIN.model(), PLAIN.feeds()
    file = engine_of(model, feeds, tmp_path).file.path
    values = twin.evaluate(model, feeds)
    weights = weights_of(model)["wy"]
    for against in ("mean", "rivals", "best", "4"):
        others = counts(values["y"][0].astype(np.float64), against)
        pyramid = cfp.explain(
            file, feeds["x"], target=CLASS, rule=rule, class_step="contrast", against=against, depth=1, theta=0.0,
            tubes=False, device="cpu",
        )  # fmt: skip
        margin = (weights[CLASS] - others @ weights) * values["flat"][0]
        links = {c.channel: c.weight for e in pyramid.edges if e.kernel == CLASS for c in e.channels}
        if rule == "published":
            every = (weights - (others @ weights if against != "mean" else mean_of_others(weights))) * values["flat"][0]
            margin = (margin - every.min()) / (every.max() - every.min())
        expected = {c: float(m) for c, m in enumerate(margin) if m > 0 or rule == "published"}
        assert links == pytest.approx(expected, rel=1e-3, abs=1e-6)


def mean_of_others(weights: Any) -> Any:
    return (weights.sum(axis=0) - weights) / (len(weights) - 1)


@pytest.fixture(scope="module")
def several() -> Pyramid:
    """The built-in model's answer, three ways."""
    return explained(depth=3, against=("best", "mean", "left"))


@pytest.mark.parametrize("against", ["best", "mean", "left"])
def test_each_of_several_is_the_answer_that_it_would_be_alone(several: Pyramid, against: str) -> None:
    alone = explained(depth=3, against=against, tubes=False)
    found = several if against == "best" else several.rather_than(against)
    assert dict(found.run) == dict(alone.run)
    assert (found.levels, found.edges) == (alone.levels, alone.edges)
    assert found.layers == alone.layers
    assert alone.rather == ()


def test_one_changes_places_with_another(several: Pyramid) -> None:
    mean = several.rather_than("mean")
    assert [a.run.against for a in mean.rather] == ["best", "left"]
    assert mean.rather_than("best") == several
    assert mean.tubes is several.tubes
    assert mean.kernels() != several.kernels()
    with pytest.raises(KeyError, match="no walk against 'rivals' was made; others that were: mean, left"):
        several.rather_than("rivals")


def test_they_are_saved_and_load_again(several: Pyramid, tmp_path: Path) -> None:
    several.save(tmp_path, drawings=(), animation="none")
    value = json.loads((tmp_path / "pyramid.json").read_text("utf-8"))
    assert [a["run"]["against"] for a in value["rather"]] == ["mean", "left"]
    assert value["rather"][1]["run"]["rivals"] == [[0, "left", 1.0]]
    loaded = cfp.load_pyramid(tmp_path)
    assert loaded == several
    assert loaded.to_json() == value
    assert str(loaded) == str(several)
    mean = several.rather_than("mean")
    mean.save(tmp_path / "mean", animation="none")
    assert cfp.load_pyramid(tmp_path / "mean").rather_than("best") == several
    assert "rather" not in replace(several, rather=()).to_json()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda a: a["layers"].pop(), "not the same layers"),
        (lambda a: a["layers"][0]["relevance"].append(0.0), "not the same layers"),
        (lambda a: a["levels"][0]["kernels"][0].update(layer="nowhere"), "'nowhere'"),
        (lambda a: a["edges"][0].update(kernel=99_999), "99999"),
        (lambda a: a["run"].pop("rule"), "'rule'"),
        (lambda a: a.pop("edges"), "'edges'"),
    ],
)
def test_a_further_answer_that_does_not_fit_is_refused(several: Pyramid, tmp_path: Path, spoil: Any, says: str) -> None:
    value = several.to_json()
    spoil(value["rather"][0])
    (tmp_path / "pyramid.json").write_text(json.dumps(value))
    assert says in refusal(tmp_path)


def test_the_text_names_what_else_was_walked(several: Pyramid) -> None:
    lines = str(several).splitlines()
    assert lines[0] == "class 1 right, rather than 4 clockwise"
    place = next(i for i, line in enumerate(lines) if line.startswith("also"))
    assert lines[place].split(maxsplit=1)[1] == "rather than the mean of the others"
    assert lines[place + 1].strip() == "rather than 0 left"


@pytest.mark.parametrize(
    ("against", "says"),
    [
        ("sideways", "against takes mean, rivals, best or a class: label 'sideways' is unknown"),
        ("12", "class 12 is out of range"),
        ("right", "class 1 cannot be set against itself"),
        (1, "class 1 cannot be set against itself"),
        (("best", "right"), "class 1 cannot be set against itself"),
    ],
)
def test_a_rival_that_is_none_is_refused(against: Any, says: str) -> None:
    with pytest.raises(TargetError) as caught:
        explained(depth=1, against=against, tubes=False)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"against": ("best", "best")}, "against names 'best' twice"),
        ({"rule": "published", "against": "best"}, "class step weights sets a class against nothing"),
        ({"rule": "mean", "against": ("mean",)}, "class step contribution sets a class against nothing"),
        ({"class_step": "contribution", "against": 2}, "class step contribution sets a class against nothing"),
        ({"rule": "zplus", "hold": ()}, "rule zplus holds norms, attention, gates always"),
        ({"rule": "active", "hold": ("norms",)}, "rule active holds norms, attention, gates always"),
        ({"rule": "published", "hold": ()}, "rule published holds norms, attention, gates always"),
        ({"rule": "mean", "hold": ("gates",)}, "rule mean holds norms, attention, gates always"),
        ({"hold": ("norm",)}, "hold names 'norm'; choose of norms, attention, gates, or all, or none"),
    ],
)
def test_what_a_rule_cannot_answer_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        WalkOptions(**options).settings()
    assert says in str(caught.value)


@pytest.mark.parametrize("rule", ["active", "zplus", "published", "mean"])
def test_the_rules_that_hold_say_so(rule: str) -> None:
    pyramid = explained(rule=rule, depth=1, tubes=False)
    assert pyramid.to_json()["run"]["holds"] == ["norms", "attention", "gates"]
    assert explained(rule=rule, depth=1, tubes=False, hold=("gates", "attention", "norms")) == pyramid


def test_a_single_class_is_set_against_nothing(tmp_path: Path) -> None:
    body = f"{PLAIN.body}\ng = GlobalAveragePool (f)\nh = Flatten (g)\ny = MatMul (h, w)"
    net = replace(PLAIN, name="one class", body=body, weights={**PLAIN.weights, "w": (7, 1)}, head=None)
    file = engine_of(net.model(), net.feeds(), tmp_path).file.path
    found = cfp.explain(file, net.feeds()["x"], device="cpu", tubes=False)
    assert "against" not in found.to_json()["run"]
    assert str(found).splitlines()[0] == "output 'y': what raises it"
    with pytest.raises(TargetError, match="has one class, so there is none to set it against"):
        cfp.explain(file, net.feeds()["x"], device="cpu", tubes=False, against="best")


def test_a_number_is_an_index_even_where_labels_are_numbers() -> None:
    labels = [str((i + 1) % 10) for i in range(10)]
    by_index, by_label = (explained(depth=1, tubes=False, labels=labels, against=a, target=1) for a in (4, "4"))
    assert by_index.run.rivals[0].class_index == 4
    assert by_label.run.rivals[0].class_index == 3
