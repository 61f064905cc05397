"""What the pages share: filled in, escaped, and every file in use."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from cfp_onnx.report import check_page, page, pyramid_page
from cfp_onnx.report import comparison_page as compare

HOSTILE = "<b>&'\"\x00\x1b\udcff\u202e\n</script>"


class Texts(HTMLParser):
    """The text of a piece of markup, as a parser that is not ours reads it."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found = ""
        self.tags: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.found += data


def test_escaped_text_is_text_and_shows_what_cannot_be_printed():
    markup = page.escaped(HOSTILE)
    assert markup.isascii()
    read = Texts(markup)
    assert read.tags == []
    assert read.found == "<b>&'\"\\x00\\x1b\\udcff\\u202e\\n</script>"


def test_embedded_json_comes_back_and_cannot_end_its_element():
    text = page.embedded({HOSTILE: [HOSTILE, 1.5, None]})
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert json.loads(text) == {HOSTILE: [HOSTILE, 1.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        page.embedded(float("nan"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        (2.0, 2),
        (1 / 3, 0.3333333),
        (1e300, 1e300),
        (-0.5, -0.5),
    ],
)
def test_numbers_of_the_page(value, expected):
    found = page.rounded(value)
    assert found == expected
    assert type(found) is type(expected)


def test_finite_leaves_everything_but_numbers_that_json_lacks():
    assert page.finite({"a": (1, float("nan")), 3: [True, "x", {"b": float("-inf")}]}) == {
        "a": [1, None],
        "3": [True, "x", {"b": None}],
    }


def test_every_part_is_used():
    folder = page.resources.files("cfp_onnx.report") / "assets"
    found = {item.name for item in folder.iterdir()}
    pages = (pyramid_page, compare, check_page)
    assert {name for name in found if name.endswith(".js")} == {*pyramid_page.SCRIPTS, *compare.SCRIPTS}
    assert {name for name in found if name.endswith(".css")} == {name for page in pages for name in page.STYLES}
