"""Class names from files: every usual form, and no name that stands at another class than its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from text_net import network, saved

import cfp_onnx as cfp
from cfp_onnx.cli.main import main
from cfp_onnx.errors import TargetError, UsageError
from cfp_onnx.explanation.labels import find_label, fitted_labels, read_labels

NAMES = ["arm wrestling", "archery", "salsa dancing", "yoga"]
CODES = [f"n{i:08d}" for i in range(4)]

FORMS: dict[str, str] = {
    "lines.txt": "\n".join(NAMES) + "\n\n",
    "quoted.txt": "\n".join(f'"{n}"' for n in NAMES),
    "numbered.txt": "\n".join(f"{i} {n}" for i, n in enumerate(NAMES)),
    "colons.txt": "\n".join(f"{i}: {n}" for i, n in enumerate(NAMES)),
    "unsorted.txt": "\n".join(f"{i}\t{NAMES[i]}" for i in (2, 0, 3, 1)),
    "classInd.txt": "".join(f"{i} {n}\r\n" for i, n in enumerate(NAMES, 1)),
    "behind.txt": "\n".join(f"{n} {i}" for i, n in enumerate(NAMES)),
    "synset_words.txt": "\n".join(f"{c} {n}" for c, n in zip(CODES, NAMES, strict=True)),
    "header.csv": "id,name\n" + "\n".join(f"{i},{n}" for i, n in enumerate(NAMES)),
    "no_header.csv": "\n".join(f"{i},{n}" for i, n in enumerate(NAMES)),
    "table.txt": "index\tdisplay_name\n" + "\n".join(f"{i}\t{n}" for i, n in enumerate(NAMES)),
    "audioset.csv": "index,mid,display_name\n" + "\n".join(f'{i},/m/0{i},"{n}"' for i, n in enumerate(NAMES)),
    "kinetics.csv": "id,name\n" + "\n".join(f'{i},"{NAMES[i]}"' for i in (3, 1, 0, 2)),
    "column.csv": "name\n" + "\n".join(NAMES),
    "names.yaml": "# data set\nnc: 4\nnames:\n" + "\n".join(f"  {i}: {n}  # a class" for i, n in enumerate(NAMES)),
    "list.yaml": "train: a/b\nnames:\n" + "\n".join(f"- {n}" for n in NAMES) + "\nval: c/d\n",
    "flow.yaml": "nc: 4\nnames: ['arm wrestling', 'archery',\n  'salsa dancing', 'yoga']\n",
    "nested.yaml": "features:\n- name: image\n- name: label\n  dtype:\n    class_label:\n      names:\n"
    + "".join(f"        '{i}': {n}\n" for i, n in enumerate(NAMES))
    + "splits: 3\n",
    "clsidx_to_labels.txt": "{" + ",\n ".join(f"{i}: '{n}'" for i, n in enumerate(NAMES)) + "}",
    "printed.txt": str(NAMES),
    "list.json": json.dumps(NAMES),
    "name_to_id.json": json.dumps({f'"{n}"': i for i, n in enumerate(NAMES)}),
    "id_to_name.json": json.dumps({str(i): NAMES[i] for i in (3, 0, 1, 2)}),
    "class_index.json": json.dumps({str(i): [c, n] for i, (c, n) in enumerate(zip(CODES, NAMES, strict=True))}),
    "config.json": json.dumps({"model_type": "vit", "id2label": {str(i): n for i, n in enumerate(NAMES)}}),
    "label2id.json": json.dumps({"label2id": {n: i for i, n in enumerate(NAMES)}}),
    "categories.json": json.dumps({"categories": [{"id": i, "name": n} for i, n in enumerate(NAMES)]}),
    "map.pbtxt": "\n".join(f'item {{\n id: {i}\n name: "{n}"\n}}' for i, n in enumerate(NAMES, 1)),
}


@pytest.mark.parametrize("file", FORMS)
def test_every_form_gives_each_class_its_name(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(FORMS[file], "utf-8")
    names, said = fitted_labels(read_labels(tmp_path / file), 4, "m.onnx")
    assert names == tuple(NAMES)
    assert (said is not None) == (file in {"classInd.txt", "map.pbtxt", "column.csv"}), said


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("background\na\nb\nc", ("a", "b", "c"), "its first line, 'background', names none of the model's 3 classes"),
        ("0: __background__\n1: a\n2: b\n3: c", ("a", "b", "c"), "its first label, '__background__'"),
        ("1 a\n2 b\n3 c", ("a", "b", "c"), "numbers the classes from 1; class 0 is 'a'"),
        ("1 a\n2 b", ("", "a", "b"), "numbers the classes from 1; class 0 has no name"),
        ("a\n\nb\nc\n", ("a", "b", "c"), None),
        ("a\n\nc", ("a", "", "c"), None),
        ("[unused]\nb\nc", ("[unused]", "b", "c"), None),
    ],
)
def test_names_that_are_surely_aligned(text: str, names: tuple[str, ...], said: str | None, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text, "utf-8")
    found, how = fitted_labels(read_labels(tmp_path / "labels.txt"), 3, "m.onnx")
    assert found == names
    assert how is None if said is None else said in str(how)


@pytest.mark.parametrize("text", ["cat\ndog", "0 cat\n1 dog", "1 cat\n2 dog"])
def test_of_two_names_for_one_output_the_second_is_a_high_value(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text, "utf-8")
    found, how = fitted_labels(read_labels(tmp_path / "labels.txt"), 1, "m.onnx")
    assert found == ("dog",)
    assert "'dog' is a high value, 'cat' a low one" in str(how)


@pytest.mark.parametrize(
    ("text", "classes", "words"),
    [
        ("a\nb", 4, "has 2 labels, m.onnx has 4 classes; it is made for another model, or lines are missing"),
        ("z\na\nb\nc", 3, "has 4 labels, m.onnx has 3 classes; if its first line is a heading or a background class"),
        ("a\nb\nc", 4, "has 3 labels, m.onnx has 4 classes; if class 0 is the background, put a line for it first"),
        ("a\nb\nc", 1, "has 3 labels, m.onnx has 1 classes; a single output has one name"),
        ("0 a\n1 b\n2 c\n3 d\n4 e", 2, "has 5 labels, m.onnx has 2 classes; it is made for another model, or holds"),
    ],
)
def test_another_number_of_names_than_classes_is_refused(text: str, classes: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text, "utf-8")
    with pytest.raises(UsageError) as caught:
        fitted_labels(read_labels(tmp_path / "labels.txt"), classes, "m.onnx")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("a.json", '{"cafe": [0, 1]}', "no labels in a form that can be read; write one label a line"),
        ("a.json", "[1, 2]", "no labels in a form"),
        ("a.json", '["a"', "is no JSON that can be read"),
        ("a.json", '{"0": "a", "00": "b"}', "names class 0 twice"),
        ("a.json", '{"a": 0, "b": 900}', "numbers its 2 labels 0 to 900"),
        ("a.txt", "\n\n", "holds no label"),
        ("a.csv", "id,name\n0,a,b\n1,c", "different numbers of columns"),
        ("a.csv", "id,number\n0,3\n1,4", "no column of names"),
        ("a.yaml", "a: b\nc: d", "no names that can be read"),
    ],
)
def test_labels_of_no_form_get_a_sentence(file: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text, "utf-8")
    with pytest.raises(UsageError, match=words):
        read_labels(tmp_path / file)


def test_labels_of_another_encoding_get_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("caf\u00e9\nbar\n".encode("latin-1"))
    with pytest.raises(UsageError, match="save it as text in UTF-8"):
        read_labels(tmp_path / "latin.txt")


def test_a_class_is_found_by_its_name_in_any_case() -> None:
    labels = ["Salsa dancing", "tench, Tinca tinca", "crane", "CRANE", "crane", "left_turn"]
    assert find_label(labels, "salsa DANCING") == 0
    assert find_label(labels, "Tinca tinca") == 1
    assert find_label(labels, "CRANE") == 3
    assert find_label(labels, "Left turn") == 5
    assert find_label(labels, "waltz") is None
    with pytest.raises(TargetError, match="'crane' names several classes"):
        find_label(labels, "crane")
    with pytest.raises(TargetError, match="names several classes"):
        find_label(labels, "Crane")


@pytest.fixture
def wins(tmp_path: Path) -> Path:
    """A model of four classes on whose clip class 2 wins."""
    weights: dict[str, Any] = {"one": np.eye(8), "two": np.eye(8, 4)}
    np.save(tmp_path / "x.npy", np.array([[0, 0, 5, 1, 0, 0, 0, 0]], np.float32))
    return saved(network("m = MatMul (x, one)\na = Relu (m)\ny = MatMul (a, two)", weights, "float[1,8] x"), tmp_path)


def test_the_class_has_its_own_name_or_the_file_is_refused(
    wins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text("cat\ndog\n", "utf-8")
    (tmp_path / "more.txt").write_text("\n".join(["background", *NAMES]), "utf-8")
    call = ["explain", str(wins), str(tmp_path / "x.npy"), "--labels"]
    assert main([*call, str(tmp_path / "short.txt")]) == 2
    assert "short.txt has 2 labels" in capsys.readouterr().err
    assert main([*call, str(tmp_path / "more.txt"), "--class", "Salsa Dancing"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "class 2 salsa dancing" in out
    assert "more.txt: its first line, 'background', names none of the model's 4 classes" in out


def test_a_list_of_another_length_is_refused_too(wins: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 3 labels, .* has 4 classes"):
        cfp.explain(wins, np.load(tmp_path / "x.npy"), labels=["a", "b", "c"], device="cpu")
    pyramid = cfp.explain(wins, np.load(tmp_path / "x.npy"), labels=NAMES, device="cpu")
    assert pyramid.target.label == "salsa dancing"
