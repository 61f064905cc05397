"""The report as text: complete, closed to the outside, and deaf to what hostile names try to be."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
import report_payloads as payloads

from cfp_onnx.report.pyramid_page import render_pyramid

VOID = {"meta", "img", "input", "br", "link", "path", "circle", "rect"}


class Page(HTMLParser):
    """Elements, attributes and the text of raw elements, as a parser that is not ours sees them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"style": [], "script": [], "title": []}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]].append(data)

    def with_tag(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def data_of(text: str) -> dict:
    """The data as the page's own script reads them."""
    return json.loads(Page(text).raw["script"][0])


@pytest.fixture(scope="module")
def demo() -> str:
    return render_pyramid(payloads.demo())


def test_it_is_one_well_formed_document(demo):
    found = Page(demo)
    assert demo.startswith("<!doctype html>")
    assert found.open == []
    assert len(found.raw["script"]) == 2
    assert len(found.raw["style"]) == 1
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in found.elements:
        for name in ("aria-labelledby", "for"):
            assert attributes.get(name) in {*ids, None}


def test_it_has_landmarks_and_a_heading_for_every_section(demo):
    found = Page(demo)
    tags = [tag for tag, _ in found.elements]
    assert all(tags.count(tag) == 1 for tag in ("main", "header", "nav", "footer", "h1", "title", "aside"))
    assert all("aria-labelledby" in attributes for attributes in found.with_tag("section"))
    assert dict(found.elements)["html"]["lang"] == "en"
    assert any(attributes.get("aria-live") == "polite" for _, attributes in found.elements)


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(demo):
    found = Page(demo)
    (policy,) = [m["content"] for m in found.with_tag("meta") if m.get("http-equiv") == "Content-Security-Policy"]

    def allowed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src {allowed(found.raw['style'][0])}",
        f"script-src {allowed(found.raw['script'][1])}",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_no_element_carries_style_or_handlers(demo):
    for _, attributes in Page(demo).elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]


@pytest.mark.parametrize(
    "word", ["http:", "https:", "://", "src=", "@import", "url(", "innerHTML", "outerHTML", "insertAdjacent", "eval("]
)
def test_nothing_points_outside_or_parses_markup(demo, word):
    data = Page(demo).raw["script"][0]
    assert word.lower() not in demo.replace(data, "").lower()


def test_the_data_arrive_whole(demo):
    payload, data = payloads.demo(), data_of(demo)
    pyramid, names = data["pyramid"], data["names"]
    assert [names[x["layer"]] for x in pyramid["layers"]] == [x["name"] for x in payload["pyramid"]["layers"]]
    for key in ("target", "run", "model", "input", "coverage"):
        assert pyramid[key] == payload["pyramid"][key]
    assert data["media"]["frames"] == payload["media"]["frames"]
    assert [m["data"] for m in data["tubes"]["maps"]] == [m["data"] for m in payload["tubes"]["maps"]]
    for got, wanted in zip(pyramid["layers"], payload["pyramid"]["layers"], strict=True):
        assert got["relevance"] == pytest.approx(wanted["relevance"], rel=1e-6)
    assert unfolded(data) == links_of(payload["pyramid"]["edges"])


def links_of(edges):
    """(layer, kernel, channel, weight, from, unit, share, via) of every source of the published JSON."""
    return [
        (e["layer"], e["kernel"], c["channel"], pytest.approx(c["weight"], rel=1e-6), s["layer"], s["kernel"],
         pytest.approx(s["share"], rel=1e-6), s["via"])
        for e in edges for c in e["channels"] for s in c["sources"]
    ]  # fmt: skip


def unfolded(data):
    """The same from the columns of the page."""
    raw, names = data["pyramid"]["edges"], data["names"]
    channels = iter(zip(raw["channel"], raw["weight"], raw["sources"], strict=True))
    sources = iter(zip(raw["from"], raw["unit"], raw["share"], raw["via"], strict=True))
    out = []
    for layer, kernel, size in zip(raw["layer"], raw["kernel"], raw["channels"], strict=True):
        for _ in range(size):
            channel, weight, of = next(channels)
            for origin, unit, share, via in [next(sources) for _ in range(of)]:
                name = None if origin is None else names[origin]
                out.append((names[layer], kernel, channel, weight, name, unit, share, raw["vias"][via]))
    assert next(channels, None) is None
    assert next(sources, None) is None
    return out


def test_hostile_names_stay_text():
    calm, text = Page(render_pyramid(payloads.demo())), render_pyramid(payloads.hostile())
    found = Page(text)
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in calm.elements]
    data = found.raw["script"][0]
    assert data.isascii()
    assert not re.search(r"[<>&]", data)
    assert json.loads(data)["names"][0] == payloads.HOSTILE[0]
    assert text.encode("utf-8")
    assert "\x1b" not in text


def test_a_long_name_is_there_once():
    long = "x" * 200_000
    payload = payloads.demo()
    text = json.dumps(payload).replace("node_Conv_228", long)
    assert text.count(long) > 10
    assert render_pyramid(json.loads(text)).count(long) <= 4  # the name, the list of its nodes, in pyramid and topology


def test_the_title_is_short_and_escaped():
    payload = payloads.demo()
    target = {**payload["pyramid"]["target"], "label": "<b>" + "y" * 10**6}
    payload["pyramid"] = {**payload["pyramid"], "target": target}
    assert "<title>&lt;b&gt;yyy" in render_pyramid(payload)
    assert len(Page(render_pyramid(payload)).raw["title"][0]) < 200


def test_it_is_the_same_for_the_same_payload(demo):
    assert render_pyramid(payloads.demo()) == demo


def test_numbers_that_json_lacks_become_null():
    payload = payloads.demo()
    payload["tubes"]["maps"][0]["max"] = float("nan")
    payload["facts"] = {"nested": [float("inf"), 1.5]}
    payload["pyramid"] = json.loads(json.dumps(payload["pyramid"]))
    payload["pyramid"]["edges"][0]["channels"][0]["weight"] = float("nan")
    data = data_of(render_pyramid(payload))
    assert data["tubes"]["maps"][0]["max"] is None
    assert data["facts"]["nested"] == [None, 1.5]
    assert data["pyramid"]["edges"]["weight"][0] is None


def test_sixteen_frames_of_full_size_stay_small():
    payload = payloads.demo()
    payload["media"] = payloads.media_of("video", (16, 224, 224))
    assert len(render_pyramid(payload)) < 8e6


@pytest.mark.parametrize("make", [payloads.bare, lambda: payloads.demo("image"), lambda: payloads.demo("curve")])
def test_every_kind_of_media_is_written(make):
    assert data_of(render_pyramid(make()))["media"]["kind"] in {"none", "image", "curve"}


def test_another_format_is_refused():
    with pytest.raises(ValueError, match="format 2"):
        render_pyramid({**payloads.demo(), "format": 2})


def test_a_frame_elsewhere_is_refused():
    payload = payloads.demo()
    payload["media"] = {**payload["media"], "frames": ["//example.org/a.jpg"]}
    with pytest.raises(ValueError, match="data:image/"):
        render_pyramid(payload)
