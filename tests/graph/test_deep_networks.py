"""Deep networks: what is known of them is right, and what it takes does not grow with the square of their depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from text_net import engine_of, network

from cfp_onnx.errors import LimitError
from cfp_onnx.graph import tracing
from cfp_onnx.graph.states import Track, merge_tracks
from cfp_onnx.runtime import model_graph
from cfp_onnx.runtime.probe import SHARED_UNTIL, Probe


def ladder(steps: int) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Body and weights of convolutions each of which has a shortcut around it."""
    lines = [f"c{i} = Conv (a{i}, w{i})\na{i + 1} = Add (c{i}, a{i})" for i in range(steps)]
    head = f"g = GlobalAveragePool (a{steps})\nf = Flatten (g)\ny = Gemm (f, v)"
    weights = {f"w{i}": (3, 3, 1, 1) for i in range(steps)}
    return "\n".join(["a0 = Identity (x)", *lines, head]), {**weights, "v": (3, 5)}


def test_each_addend_of_a_ladder_counts_half_of_what_follows_it(tmp_path: Path) -> None:
    steps = 40
    engine = engine_of(network(*ladder(steps)), tmp_path)
    assert engine.coverage.complete
    (found,) = engine.topology.sources(engine.topology.layers[-1], [1])
    shares = {source.layer: source.share for source in found}
    assert shares == pytest.approx({None: 2.0**-steps, **{i: 2.0 ** (i - steps) for i in range(steps)}})
    assert {source.kernel for source in found} == {1}
    assert sum(shares.values()) == pytest.approx(1)
    assert len(engine.topology.shortcuts) == steps
    assert [k for k, d in sorted(engine.depths.items(), key=lambda item: -item[1])] == list(range(steps + 1))


def test_tracks_that_are_too_many_are_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "TRACK_LIMIT", 100)
    body, weights = ladder(20)
    with pytest.raises(LimitError, match="more than 100 layers in all"):
        engine_of(network(body, weights), tmp_path)


def test_tracks_with_the_same_labels_become_one_and_no_others() -> None:
    rng = np.random.default_rng(4)
    tracks = [
        Track(rng.integers(-1, 2, (1, 2, 1)), rng.random((1, 2, 1)), str(rng.choice(["gate", "chain", "shortcut"])))
        for _ in range(60)
    ]
    wanted: list[Track] = []
    for track in tracks:
        if (track.labels == -1).all():
            continue
        for place, old in enumerate(wanted):
            if (old.labels == track.labels).all():
                wanted[place] = Track(old.labels, old.share + track.share, track.via if old.via == "gate" else old.via)
                break
        else:
            wanted.append(track)
    found = merge_tracks(tracks)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.labels.tolist() == b.labels.tolist()
        assert a.share.tolist() == b.share.tolist()
        assert a.via == b.via


def test_equal_constants_are_written_once() -> None:
    probe = Probe(17)
    one, other = probe.constant(np.zeros((2, 3), np.float32)), probe.constant(np.zeros((3, 2), np.float32))
    assert probe.constant(np.zeros((2, 3), np.float32)) == one
    assert probe.constant(np.zeros((2, 3), np.int32)) not in {one, other}
    large = np.zeros(SHARED_UNTIL // 4 + 1, np.float32)
    assert probe.constant(large) != probe.constant(large)
    assert len(probe.constants) == 5


def test_a_large_graph_gives_the_same_without_fused_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 6, 6)).astype(np.float32)}
    engine = engine_of(network(*ladder(6)), tmp_path, feeds=feeds)
    wanted = engine.relevance(feeds, 2)
    monkeypatch.setattr(model_graph, "FUSED_UNTIL", 1)
    engine = engine_of(network(*ladder(6)), tmp_path, feeds=feeds)
    for index, values in engine.relevance(feeds, 2).items():
        np.testing.assert_allclose(values, wanted[index], rtol=1e-3, atol=1e-4 * np.abs(wanted[index]).max())
