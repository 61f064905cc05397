"""What the report's page is made of stays small and says what it left out."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from pyramids import explained

from cfp_onnx.pyramid import page_payload, tubes
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tubes import Tube, Tubes, mark_constant
from cfp_onnx.report.pyramid_page import render_pyramid


def _big(rng, layers=320, kernels=1000, chosen=50, links=20):
    """A pyramid of a size that no page could hold whole: 320 000 links and kernels, 64 MB of maps."""
    names = [f"/net/stage{i // 10}/block{i % 10}/branch/conv_{i}/Conv" for i in range(layers)]
    relevance = np.sort(rng.random((layers, kernels)))[:, ::-1]
    rows = [
        {
            "name": name, "op": "Conv", "weight": f"{name}.weight", "nodes": [name], "kernels": kernels,
            "channels": kernels, "groups": 1, "kernel_shape": [3, 3, 3], "family": "plain", "depth": layers - i,
            "relevance": relevance[i].tolist(),
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    weights = rng.random((layers, chosen, links))

    def edge(i, k):
        channels = [
            {"channel": c, "weight": float(weights[i, k, c]),
             "sources": [{"layer": names[i - 1] if i else None, "kernel": c, "share": 1.0, "via": "chain"}]}
            for c in range(links)
        ]  # fmt: skip
        return {"layer": names[i], "kernel": k, "channels": channels}

    value = {
        "schema": "cfp-onnx/pyramid", "schema_version": 2,
        "model": {"file": "big.onnx", "sha256": "0", "producer": "", "opset": 20},
        "input": {"file": "clip", "sha256": "1", "shape": [1, 3, 16, 112, 112], "layout": "NCTHW"},
        "run": {"rule": "positional", "class_step": "contrast", "theta": 0.6, "top_k": None, "depth": "all"},
        "target": {"output": "y", "index": 3, "label": "ü", "score": 1.0, "top": [[3, "ü", 1.0]]},
        "coverage": {"channels": 1.0, "layers": 1.0, "operators_unknown": []},
        "layers": rows,
        "levels": [
            {"depth": layers - i, "kernels": [
                {"layer": names[i], "kernel": k, "relevance": float(relevance[i, k])} for k in range(chosen)
            ]}
            for i in reversed(range(layers))
        ],
        "edges": [edge(i, k) for i in range(layers) for k in range(chosen)],
    }  # fmt: skip
    centres = tuple(np.linspace(0, n - 1, m) for n, m in ((16, 8), (112, 56), (112, 56)))
    volumes = rng.random((8, 8, 56, 56)).astype(np.float32)
    tubes = Tubes(
        (16, 112, 112),
        tuple(
            Tube("activation", layers - i, name, k, volumes[k], centres)
            for i, name in enumerate(names)
            for k in range(8)
        ),
        ("said before",),
    )
    frames = rng.integers(0, 256, (16, 112, 112, 3), np.uint8)
    return value, tubes, Media("video", (16, 112, 112), frames)


@pytest.fixture(scope="module")
def big():
    return _big(np.random.default_rng(7))


def test_a_page_stays_within_its_bytes_and_says_what_it_left_out(big):
    value, tubes, media = big
    page = page_payload.report_html(value, topology=None, tubes=tubes, media=media, facts={})
    assert len(page.encode()) <= 8 * 10**6
    held = page_payload.payload(value, None, tubes, media, {})
    assert len(render_pyramid(held)) > 8 * 10**6, "the budget is halved at least once"
    notes = " ".join(held["tubes"]["notes"])
    assert "said before" in notes
    total = sum(len(e["channels"]) for e in value["edges"])
    kept = sum(len(e["channels"]) for e in held["pyramid"]["edges"])
    assert 14_000 < kept <= page_payload.REPORT_LINKS
    assert f"{total - kept} weaker links are left out of this page" in notes
    drawn = len(held["tubes"]["maps"])
    assert 0 < drawn < len(tubes.items)
    assert f"{len(tubes.items) - drawn} more tubes did not fit into this page" in notes
    assert "weaker links are left out" in page
    strongest = {m["layer"] for m in held["tubes"]["maps"][:100] if m["kernel"] == 0}
    assert len(strongest) == min(100, len(value["layers"])), "the first of each layer before any second"


def test_further_answers_share_the_links_and_leave_when_the_page_is_full(monkeypatch):
    value = explained(depth=2, tubes=False, against=("rivals", "mean", "left")).to_json()

    def links(found):
        return [sum(len(e["channels"]) for e in a["edges"]) for a in (found["pyramid"], *found["pyramid"]["rather"])]

    whole = page_payload.payload(value, None, None, None, {})
    few = page_payload.payload(value, None, None, None, {}, links=9)
    assert len(links(whole)) == 3
    assert max(links(few)) <= 3 < min(links(whole))
    left_out = sum(links(whole)) - sum(links(few))
    assert f"{left_out} weaker links are left out of this page; pyramid.json holds them" in few["tubes"]["notes"]
    first = render_pyramid(page_payload.payload(value, None, None, None, {}, answers=1, budget=0, links=300))
    monkeypatch.setattr(page_payload, "REPORT_BYTES", len(first) + 200)
    page = page_payload.report_html(value, topology=None, tubes=None, media=None, facts={})
    assert len(page) <= page_payload.REPORT_BYTES
    assert "2 further answers did not fit into this page; pyramid.json holds them" in page


def test_the_strongest_links_are_kept(big):
    value, _, _ = big
    edges = value["edges"]
    ranks = page_payload._ranks(value["levels"])
    kept, dropped = page_payload._strongest_links(edges, 20_000, ranks)
    assert dropped == sum(len(e["channels"]) for e in edges) - sum(len(e["channels"]) for e in kept)
    for before, after in zip(edges, kept, strict=True):
        assert (before["layer"], before["kernel"]) == (after["layer"], after["kernel"])
        weights = sorted((abs(c["weight"]) for c in before["channels"]), reverse=True)
        assert [abs(c["weight"]) for c in after["channels"]] == weights[: len(after["channels"])]
    assert page_payload._strongest_links(edges[:3], 10**6, ranks) == (edges[:3], 0)
    signed = [{"layer": "a", "kernel": 0, "channels": [{"weight": w} for w in (0.1, -5.0, 2.0)]}]
    assert [c["weight"] for c in page_payload._strongest_links(signed, 2, {})[0][0]["channels"]] == [-5.0, 2.0]


def test_where_kernels_outnumber_links_each_layers_strongest_keep_theirs(big):
    value, _, _ = big
    head = {"layer": "head", "kernel": 3, "channels": [{"channel": 0, "weight": 0.0, "sources": []}]}
    kept, _ = page_payload._strongest_links([head, *value["edges"]], 641, page_payload._ranks(value["levels"]))
    assert sum(len(e["channels"]) for e in kept) == 641
    assert kept[0]["layer"] == "head"
    assert {e["kernel"] for e in kept[1:]} == {0, 1}


@pytest.mark.parametrize("shape", [(3, 300, 301), (16, 112, 112), (1, 1, 70_001), (1, 1, 131_073), (2, 2, 40_001)])
def test_averaging_keeps_the_mean_and_the_centres(rng, shape):
    values = rng.random(shape).astype(np.float32)
    centres = tuple(np.arange(n, dtype=np.float64) for n in shape)
    tube = Tube("activation", 1, "a", 0, values, centres)
    small = page_payload._averaged(tube)
    assert small.values.size <= page_payload.REPORT_MAP
    assert small.values.dtype == np.float32
    assert small.values.shape == tuple(map(len, small.centres))
    sizes = []
    for axis, (before, after) in enumerate(zip(centres, small.centres, strict=True)):
        assert (np.diff(after) > 0).all()
        edges = np.searchsorted(before, after)
        assert before[0] <= after[0] <= before[-1]
        assert edges[-1] <= shape[axis]
        # centres of runs of neighbours: from them the runs' lengths follow, and all elements are in one
        lengths, start = [], 0.0
        for centre in after:
            length = round(2 * (centre - start) + 1)
            lengths.append(length)
            start += length
        assert sum(lengths) == shape[axis]
        sizes.append(np.array(lengths, np.float64))
    weights = sizes[0][:, None, None] * sizes[1][:, None] * sizes[2]
    np.testing.assert_allclose((small.values * weights).sum() / weights.sum(), values.mean(dtype=np.float64), rtol=1e-5)


def test_a_small_map_is_kept_as_it_is(rng):
    tube = Tube("activation", 1, "a", 0, rng.random((4, 8, 8)).astype(np.float32), tuple(map(np.arange, (4, 8, 8))))
    assert page_payload._averaged(tube) is tube


def test_a_map_in_the_page_is_its_share_of_the_depths_scale(shallow):
    held = page_payload.payload(shallow.to_json(), None, shallow.tubes, shallow.media, {})
    first, second, one = held["tubes"]["maps"][:3]
    assert (one["kind"], one["depth"], one["layer"]) == ("relevance", 1, None)
    (own,) = shallow.tubes.of("evidence", "class")
    for shown, sign in ((first, 1), (second, -1)):
        assert (shown["kind"], shown["depth"], shown["layer"]) == ("evidence" if sign > 0 else "against", 0, None)
        levels = np.frombuffer(base64.b64decode(shown["data"]), np.uint8).reshape(shown["shape"])
        np.testing.assert_allclose(levels / 255, np.clip(sign * own.values, 0, 1), atol=0.5 / 255 + 1e-6)
        assert (shown["min"], shown["max"]) == (float((sign * own.values).min()), float((sign * own.values).max()))
    tube = shallow.tubes.find("relevance", depth=1)
    high = shallow.tubes.scale("relevance", 1).high
    levels = np.frombuffer(base64.b64decode(one["data"]), np.uint8).reshape(one["shape"])
    np.testing.assert_allclose(levels / 255, np.clip(tube.values / high, 0, 1), atol=0.5 / 255 + 1e-6)
    assert (one["min"], one["max"]) == (float(tube.values.min()), float(tube.values.max()))
    json.dumps(held, allow_nan=False)


def test_a_long_signal_is_thinned_without_losing_its_peaks(rng):
    curve = rng.standard_normal((2, 400_000)).astype(np.float32)
    curve[0, 123_456], curve[1, 399_999] = 50.0, -70.0
    shown = page_payload._media(Media("curve", (1, 1, 400_000), curve=curve))["curve"]
    assert len(shown) == 2
    assert sum(map(len, shown)) <= page_payload.REPORT_SAMPLES
    assert (max(shown[0]), min(shown[1])) == (50.0, -70.0)
    short = curve[:, :1000]
    same = page_payload._media(Media("curve", (1, 1, 1000), curve=short))["curve"]
    np.testing.assert_allclose(same, short, atol=1e-5)


def test_large_frames_are_shrunk_for_the_page(rng):
    frames = rng.integers(0, 256, (16, 400, 400, 3), np.uint8)
    shown = page_payload._media(Media("video", (16, 400, 400), frames))["frames"]
    assert len(shown) == 16
    assert sum(map(len, shown)) <= page_payload.REPORT_FRAMES * 4 / 3 + 1000


def test_a_kernel_that_is_never_above_zero_is_drawn_by_its_size():
    """The array keeps the sign; scale and page show the size."""
    line = Tube(
        "activation", 1, "signed", 0, np.array([[[-3.0, -1.0]]], np.float32), (np.zeros(1), np.zeros(1), np.arange(2.0))
    )
    found = mark_constant((1, 1, 2), [line])
    assert found.scale("activation", 1).high == 3
    maps, _ = page_payload._maps(found, 2**20, [])
    assert np.frombuffer(base64.b64decode(maps[0]["data"]), np.uint8).tolist() == [255, 85]
    assert (maps[0]["min"], maps[0]["max"]) == (-3.0, -1.0)
    np.testing.assert_array_equal(tubes.drawn_values(line.values, "activation"), [[[3.0, 1.0]]])
    np.testing.assert_array_equal(tubes.drawn_values(line.values, "relevance"), line.values)
