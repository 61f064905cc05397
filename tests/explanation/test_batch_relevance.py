"""Scores and relevance of several clips in one pass equal what each clip gives by the two passes of one alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from text_net import network, saved

from cfp_onnx import runtime
from cfp_onnx.errors import TargetError, UsageError
from cfp_onnx.explanation.batch_relevance import BatchRelevance
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.model import load

PLAIN = "a = Conv (x, w)  r = Relu (a)  b = Conv (r, u)  q = Relu (b)  g = GlobalAveragePool (q)  f = Flatten (g)  "
HEAD = PLAIN + "y = MatMul (f, v)"
NORMED = (
    "a = Conv (x, w)  n = InstanceNormalization (a, s, t)  r = Relu (n)  b = Conv (r, u)  q = Relu (b)  "
    "g = GlobalAveragePool (q)  f = Flatten (g)  y = MatMul (f, v)"
)
SOFT = PLAIN + "l = MatMul (f, v)  y = Softmax <axis = 1> (l)"
MIXED = PLAIN + "l = MatMul (f, v)  m = ReduceMean <keepdims = 1> (l, zero)  y = Add (l, m)"
DENSE = "a = Conv (x, w)  r = Relu (a)  y = Conv (r, u)"
SIZES = {"w": (6, 3, 3, 3), "u": (4, 6, 3, 3), "v": (4, 5), "s": (6,), "t": (6,), "zero": np.array([0])}
FREE = "float[N,3,8,8] x"


def asked(tmp_path: Path, body: str, batch: int = 4, inputs: str = FREE, **options: object) -> BatchRelevance:
    sizes = {k: v for k, v in SIZES.items() if f"{k})" in body or f"{k}," in body}
    loaded = load(saved(network(body, sizes, inputs), tmp_path))
    feeds = {"x": np.zeros((1, 3, 8, 8), np.float32)}
    return BatchRelevance(Engine(loaded, feeds, device=runtime.Device("cpu")), batch=batch, **options)


def clips(rng: np.random.Generator, count: int) -> list[dict[str, np.ndarray]]:
    return [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("against", ["rivals", "mean", "best", 2])
@pytest.mark.parametrize(
    ("body", "batch"), [(HEAD, 4), (SOFT, 4), (NORMED, 1), (MIXED, 1), (DENSE, 1)],
    ids=["head", "softmax", "normed", "mixed items", "dense"],
)  # fmt: skip
def test_clips_give_what_each_gives_alone(
    tmp_path: Path, rng: np.random.Generator, body: str, batch: int, against: str | int
) -> None:
    found = asked(tmp_path, body, against=against)
    feeds, targets = clips(rng, 6), [None, 1, None, 0, 3, None]
    got = found.run(feeds, targets)
    engine = found.engine
    assert found.one_pass == (body != DENSE and against != 2)
    assert found.batch == (batch if found.one_pass else 1)
    for clip, target, one in zip(feeds, targets, got, strict=True):
        scores = engine.scores(engine.plain(clip)["y"])
        index = int(scores.argmax()) if target is None else target
        if index == against:
            continue
        alone = engine.relevance(clip, index, against=against)
        assert (one.explained, one.predicted) == (index, int(scores.argmax()))
        np.testing.assert_allclose(one.scores, scores, rtol=1e-5, atol=1e-6)
        assert set(alone) == set(one.relevance) == set(one.activation)
        for i, relevance in alone.items():
            np.testing.assert_allclose(one.relevance[i], relevance, rtol=1e-4, atol=1e-4 * np.abs(relevance).max())


def test_mean_activations_are_those_of_the_maps(tmp_path: Path, rng: np.random.Generator) -> None:
    found, feeds = asked(tmp_path, HEAD), clips(rng, 3)
    got = found.run(feeds, [None] * 3)
    layers = found.engine.topology.layers
    names = {layer.index: tensor for layer, tensor in zip(layers, ["r", "q"], strict=False)}
    for clip, one in zip(feeds, got, strict=True):
        maps = dict(zip(["r", "q"], _tensors(found.engine, clip, ["r", "q"]), strict=True))
        for index, tensor in names.items():
            np.testing.assert_allclose(one.activation[index], maps[tensor].mean(axis=(0, 2, 3)), rtol=1e-5)


def _tensors(engine: Engine, clip: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    from onnx import TensorProto, helper

    proto = engine.graph.proto
    made = type(proto)()
    made.CopyFrom(proto)
    made.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
    session = runtime.Graph(made, engine.graph.weights).session(engine.device)
    return runtime.run(session, names, clip)


def test_the_margin_is_that_of_the_logits(tmp_path: Path, rng: np.random.Generator) -> None:
    found, feeds = asked(tmp_path, HEAD, against="mean"), clips(rng, 2)
    for clip, one in zip(feeds, found.run(feeds, [2, 2]), strict=True):
        logits = found.engine.plain(clip)["y"][0]
        assert one.margin == pytest.approx(logits[2] - np.delete(logits, 2).mean(), rel=1e-5)


def test_items_that_only_seem_apart_go_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    found = asked(tmp_path, MIXED)
    found.run(clips(rng, 4), [None] * 4)
    assert found.batch == 1


def test_what_cannot_be_asked_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(TargetError, match="class 5 is out of range"):
        asked(tmp_path, HEAD).run(clips(rng, 1), [5])
    with pytest.raises(UsageError, match="pooled statistics"):
        asked(tmp_path, HEAD, rule="published")
    with pytest.raises(TargetError, match="has no output 'z'"):
        asked(tmp_path, HEAD, outputs=("y", "z"))


def test_two_heads_come_out_of_one_pass(tmp_path: Path, rng: np.random.Generator) -> None:
    model = network(PLAIN + "y = MatMul (f, v)  z = MatMul (f, k)", {**{k: SIZES[k] for k in "wuv"}, "k": (4, 3)}, FREE)
    model.graph.output.add().CopyFrom(model.graph.output[0])
    model.graph.output[1].name = "z"
    loaded = load(saved(model, tmp_path))
    feeds = clips(rng, 5)
    engine = Engine(loaded, feeds[0], device=runtime.Device("cpu"))
    found = BatchRelevance(engine, outputs=("y", "z"), batch=4)
    other = Engine(loaded, feeds[0], device=runtime.Device("cpu"), output="z")
    assert (found.outputs, found.one_pass, found.batch) == (("y", "z"), True, 4)
    for clip, pair in zip(feeds, found.run_heads(feeds, [[None, 1]] * 5), strict=True):
        for one, alone in zip(pair, (engine, other), strict=True):
            for i, relevance in alone.relevance(clip, one.explained, against="rivals").items():
                np.testing.assert_allclose(one.relevance[i], relevance, rtol=1e-4, atol=1e-5 * np.abs(relevance).max())
        assert pair[1].explained == 1
