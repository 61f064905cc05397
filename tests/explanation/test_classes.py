"""Classes of an output: scores, seeds, rivals and the one that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import twin
from small_nets import Net, engine_of

from cfp_onnx.errors import TargetError
from cfp_onnx.explanation.classes import Classes, label_of, pick_class, strongest

ALONG = Classes(3, 1, (1, 3, 2))
"""Three classes at two positions."""


@pytest.mark.parametrize(
    ("classes", "value", "expected"),
    [
        (ALONG, [[[1, 3], [2, 4], [0, 10]]], [2, 3, 5]),
        (ALONG, [[[1, 3], [2, 4], [0, 10]], [[9, 9], [9, 9], [9, 9]]], [2, 3, 5]),
        (ALONG, [[1, 3, 2, 4, 0, 10]], [2, 3, 5]),
        (Classes(3, 2, (1, 2, 3)), [[[1, 2, 0], [3, 4, 10]]], [2, 3, 5]),
        (Classes(3, 0, (3, 2)), [[1, 3], [2, 4], [0, 10]], [2, 3, 5]),
        (Classes(3, 1, (1, 3)), [[2, 3, 5]], [2, 3, 5]),
        (Classes(6, None, (1, 2, 3)), [[[1, 2, 3], [4, 5, 6]]], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_scores_are_means_over_the_positions_of_the_first_item(classes, value, expected):
    np.testing.assert_allclose(classes.scores(np.array(value, np.float32)), expected)


LAYOUTS = (
    ALONG, Classes(3, 2, (1, 2, 3)), Classes(3, 0, (3, 2)), Classes(3, 1, (1, 3)), Classes(6, None, (1, 2, 3)),
    Classes(1, 1, (1, 1, 4)),
)  # fmt: skip


@pytest.mark.parametrize("classes", LAYOUTS, ids=lambda c: f"{c.shape} {c.axis}")
def test_a_seed_times_the_value_is_the_score_less_that_of_the_others(classes, rng):
    value = rng.standard_normal(classes.shape)
    scores = classes.scores(value)
    rivals = rng.random(classes.count).astype(np.float32)
    for k in range(classes.count):
        others = np.delete(scores, k)
        expected = {
            "contribution": (scores[k], None),
            "contrast": (scores[k] - (others.mean() if others.size else 0.0), None),
            "rivals": (scores[k] - (np.delete(rivals, k) * others).sum(), rivals),
        }
        for step, (margin, weights) in expected.items():
            seed = classes.seed(k, "contrast" if step == "rivals" else step, weights)
            assert (seed.shape, seed.dtype) == (classes.shape, np.float32)
            assert (seed * value).sum() == pytest.approx(margin, abs=1e-6), step


SCORES = np.array([0.5, 2.0, -1.0])


@pytest.mark.parametrize(
    ("target", "labels", "index"),
    [
        (None, None, 1),
        (2, None, 2),
        ("2", None, 2),
        (" 0 ", ("a", "b", "c"), 0),
        ("c", ("a", "b", "c"), 2),
        ("2", ("2", "1", "0"), 0),
        (2, ("2", "1", "0"), 2),
    ],
)
def test_a_class_is_the_strongest_a_label_or_an_index(target, labels, index):
    assert pick_class(ALONG, SCORES, target, labels, file="m.onnx") == index


@pytest.mark.parametrize(
    ("target", "labels", "says"),
    [
        ("d", None, "label 'd' is unknown; the model has no labels, give --labels or an index"),
        ("d", ("a", "b", "c"), "label 'd' is unknown; see --labels, or give an index"),
        (3, None, "class 3 is out of range; m.onnx has 3 classes, 0 to 2"),
        ("-1", None, "class -1 is out of range"),
    ],
)
def test_a_class_that_is_not_there_is_refused(target, labels, says):
    with pytest.raises(TargetError) as caught:
        pick_class(ALONG, SCORES, target, labels, file="m.onnx")
    assert says in str(caught.value)


def test_the_strongest_come_first_and_equal_ones_in_their_order():
    found = strongest(np.array([1.0, 3.0, 3.0, 2.0]), ("a", "b"), 3)
    assert [tuple(c) for c in found] == [(1, "b", 3.0), (2, None, 3.0), (3, None, 2.0)]
    assert label_of(None, 0) is None


@pytest.mark.parametrize("end", ["", "Softmax", "LogSoftmax", "Sigmoid"])
def test_rivals_are_the_softmax_of_the_other_logits(end: str, rng: np.random.Generator, tmp_path: Path) -> None:
    body = "c1 = MatMul (x, w1)\nr1 = Relu (c1)\n" + (
        f"z = MatMul (r1, w2)\ny = {end} (z)" if end else "y = MatMul (r1, w2)"
    )
    net = Net("ends", "x=1,4", body, {"w1": (4, 6), "w2": (6, 5)})
    model, feeds = net.model(), net.feeds()
    engine = engine_of(model, feeds, tmp_path)
    logits = twin.evaluate(model, feeds)["z" if end else "y"][0]
    found = engine.rivals(engine.plain(feeds)["y"], 3)
    expected = np.exp(logits) * (np.arange(5) != 3)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-3, atol=1e-6)
    field = engine.seed(3, "contrast", found)
    np.testing.assert_allclose(field[0], (np.arange(5) == 3) - expected / expected.sum(), rtol=1e-3, atol=1e-6)
