"""The strict reader of JSON, against what Python's own reader lets pass."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfp_onnx.errors import UsageError
from cfp_onnx.files import strict_json
from cfp_onnx.files.strict_json import Reader, parse, read_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_json_comes_back_as_it_was(value):
    assert parse(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "'a' is there twice"),
        ("[NaN]", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("1e999", "1e999 is too large"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "Expecting"),
        ("9" * 5000, "digits"),
    ],
)
def test_what_is_no_strict_json(text, said):
    with pytest.raises(ValueError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a thing: Expecting value"),
        (b"\xff\xfe", "is not a thing: 'utf-8' codec"),
        (b"[]", "it holds no JSON object"),
        (b'{"a": 1, "a": 2}', "'a' is there twice; it is damaged or was cut off"),
        (b'{"a": "' + b"x" * 100 + b'"}', "over 0 MB, too large for a thing; cut it"),
    ],
)
def test_files_that_are_refused(tmp_path, monkeypatch, content, said):
    monkeypatch.setattr(strict_json, "LARGEST", 60)
    file = tmp_path / "f.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_object(file, "a thing", smaller="cut it")
    assert "f.json" in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.json", "a\0b", "\udcff.json"])
def test_files_that_cannot_be_read(tmp_path, name):
    with pytest.raises(UsageError, match=r"cannot read a thing from .*: ") as caught:
        read_object(tmp_path / name, "a thing")
    str(caught.value).encode()


READERS = {
    "text": "x", "flag": True, "whole": 3, "number": 0.5, "number_as_written": 2, "items": [1], "inner": {"a": 1},
    "objects": [{"a": 1}], "wholes": [1, 2], "numbers": [1, 0.5], "texts": ["x"],
}  # fmt: skip
TAKES = {
    "items": {"wholes", "numbers", "texts", "objects"}, "number": {"whole", "number_as_written"},
    "number_as_written": {"whole", "number"}, "whole": {"number_as_written"}, "numbers": {"wholes", "items"},
    "wholes": {"items"},
}  # fmt: skip
"""Methods and the examples of other methods that they take too."""


@pytest.mark.parametrize("method", READERS)
def test_each_method_takes_its_type_and_no_other(method):
    for other, value in READERS.items():
        reader = Reader({"key": value}, "it")
        if other == method or other in TAKES.get(method, ()):
            getattr(reader, method)("key")
            reader.done()
        else:
            with pytest.raises(UsageError, match=r"^it: '?key'? "):
                getattr(reader, method)("key")
    with pytest.raises(UsageError, match="it has no key 'key'"):
        getattr(Reader({}, "it"), method)("key")
    with pytest.raises(UsageError, match="'key' "):
        getattr(Reader({"key": None}, "it"), method)("key")


@pytest.mark.parametrize("value", [True, 10**400, -(10**400), float("nan"), float("inf"), "1"])
def test_numbers_are_finite_and_no_truth_values(value):
    for method, given_value in (("number", value), ("number_as_written", value), ("numbers", [0.5, value])):
        with pytest.raises(UsageError, match=r"'key' is .* must be a (list of )?finite number"):
            getattr(Reader({"key": given_value}, "it"), method)("key")


def test_numbers_and_how_they_are_written():
    reader = Reader({"a": 1, "b": 1, "c": [1, 2.5]}, "it")
    assert type(reader.number("a")) is float
    assert type(reader.number_as_written("b")) is int
    assert reader.numbers("c") == (1.0, 2.5)


def test_bounds_hold():
    with pytest.raises(UsageError, match="at least 2"):
        Reader({"a": 1}, "it").whole("a", 2)
    with pytest.raises(UsageError, match="at least 0"):
        Reader({"a": -0.5}, "it").number("a", 0.0)
    with pytest.raises(UsageError, match="at least 1"):
        Reader({"a": [0]}, "it").wholes("a")
    assert Reader({"a": [0]}, "it").wholes("a", 0) == (0,)


def test_null_missing_and_left_over_keys():
    reader = Reader({"a": None, "b": 2, "c": 3, "d": 4}, "it")
    assert reader.maybe("a", reader.text) is None
    assert reader.maybe("b", reader.whole) == 2
    assert reader.optional("nothing", reader.text) is None
    assert reader.optional("c", reader.whole) == 3
    with pytest.raises(UsageError, match="it has the unknown key 'd'"):
        reader.done()
    assert reader.rest() == {"d": 4}
    reader.done()
    with pytest.raises(UsageError, match="it: 'a' is null"):
        Reader({"a": None}, "it").optional("a", Reader({"a": None}, "it").text)
    with pytest.raises(UsageError, match="has no key 'a'"):
        Reader({}, "it").maybe("a", Reader({}, "it").text)


def test_places_are_named():
    reader = Reader({"layers": [{}, {"name": 3}], "one": {"deep": []}}, "f.json")
    with pytest.raises(UsageError, match=r"^f\.json: layers 1: 'name' is int '3', it must be text$"):
        reader.objects("layers")[1].text("name")
    with pytest.raises(UsageError, match=r"^f\.json: 'one': 'deep' must be an object, not list '\[\]'$"):
        reader.inner("one").inner("deep")
