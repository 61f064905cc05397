"""What a notebook shows of a pyramid: small, escaped, and compared within a layer only."""

from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
from pyramids import invented

HOSTILE = "<script>alert('1')</script>&\"\n\x00\x1b[31m\udcff\u202e"


class Markup(HTMLParser):
    """Collects tags, attributes and text, and insists that every element is closed in order."""

    VOID = ("img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images, self.words, self.styles = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.styles.append(dict(attrs).get("style", ""))
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_notebooks_get_a_small_picture_and_the_strongest_kernels(pyramid):
    text = pyramid._repr_html_()
    assert len(text) < 700_000
    page = Markup(text)
    (image,) = page.images
    head, _, data = image["src"].partition(",")
    assert head == "data:image/png;base64"
    assert image["alt"]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[0] > 400
    assert picture.shape[1] > 600
    words = " ".join(page.words)
    assert "class 1 right" in words
    assert "12 of 13 depths" in words
    k = pyramid.kernels(13)[0]
    assert f"{k.layer}:{k.kernel}" in words
    assert not [s for s in page.styles if "color" in s or "background" in s], "a notebook's own colours hold"


def test_a_notebooks_picture_stays_small_on_noise(pyramid, rng):
    media = replace(pyramid.media, size=(16, 160, 160), frames=rng.integers(0, 256, (16, 160, 160, 3), np.uint8))
    assert len(replace(pyramid, media=media)._repr_html_()) < 700_000


def test_a_notebook_compares_kernels_within_a_layer_only():
    words = " ".join(Markup(invented()._repr_html_()).words)
    assert "b:0, b2:0, b:1" in words


def test_hostile_names_stay_text(pyramid):
    layers = tuple(replace(x, name=HOSTILE + x.name) for x in pyramid.layers)
    levels = {d: tuple(k._replace(layer=HOSTILE + k.layer) for k in found) for d, found in pyramid.levels.items()}
    run, target = replace(pyramid.run, rule=HOSTILE), replace(pyramid.target, label=HOSTILE)
    hostile = replace(pyramid, layers=layers, levels=levels, run=run, target=target)
    text = hostile._repr_html_()
    assert set(Markup(text).tags) <= {"div", "p", "b", "img", "table", "tr", "th", "td"}
    assert "alert" in text
    assert "<script" not in text
    assert "\x00" not in text
    assert "\x1b" not in text
    text.encode()
    printed = str(hostile)
    assert "\x00" not in printed
    assert "\x1b" not in printed
    assert "\u202e" not in printed


def test_without_tubes_a_notebook_shows_the_table_alone():
    page = Markup(invented()._repr_html_())
    assert not page.images
    assert "table" in page.tags
