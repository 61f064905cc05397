"""``--against`` and ``--hold`` on the command line: what reaches the result, and what is refused in one sentence."""

from __future__ import annotations

import pytest
from onnx import helper
from tiny_net import TINY, save, strict, tiny_weights


@pytest.fixture
def labels(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("run\nswim\nskate\nthrow\n")
    return file


def test_a_rival_by_its_name(call, tiny, clip, labels):
    given = ("explain", tiny, clip, "--class", "swim", "--labels", labels, "--against", "throw", "--device", "cpu")
    code, out, err = call(*given)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "class 1 swim, rather than 3 throw"
    run = strict(call(*given, "--json", "-")[1])["run"]
    assert (run["against"], run["rivals"], run["holds"]) == ("throw", [[3, "throw", 1.0]], [])
    assert "gates" not in run


def test_several_rivals(call, tiny, clip, labels, tmp_path):
    given = (
        "explain",
        tiny,
        clip,
        "--class",
        "1",
        "--labels",
        labels,
        "--device",
        "cpu",
        "--json",
        tmp_path / "p.json",
    )
    code, out, _ = call(*given, "--against", "0", "--against", "mean", "--against", "skate")
    assert code == 0
    assert out.splitlines()[0] == "class 1 swim, rather than 0 run"
    assert "rather than 2 skate" in out
    value = strict((tmp_path / "p.json").read_text("utf-8"))
    assert [a["run"]["against"] for a in (value, *value["rather"])] == ["0", "mean", "skate"]
    for a in value["rather"]:
        assert [x["name"] for x in a["layers"]] == [x["name"] for x in value["layers"]]
        assert a["run"]["rule"] == value["run"]["rule"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--against", "fly"), "label 'fly' is unknown; see --labels, or give an index"),
        (("--against", "swim"), "class 1 cannot be set against itself; name another"),
        (("--against", "4"), "class 4 is out of range"),
        (("--against", "best", "--against", "best"), "against names 'best' twice"),
        (("--against", "best", "--rule", "published"), "--against needs --class-step contrast"),
        (("--against", "best", "--class-step", "contribution"), "--against needs --class-step contrast"),
        (("--hold", "none", "--rule", "active"), "rule active holds norms, attention, gates always"),
        (("--hold", "norm"), "hold names 'norm'; choose of norms, attention, gates, or all, or none"),
    ],
)
def test_what_cannot_be_asked_is_refused(refuses, tiny, clip, labels, given, says):
    refuses("explain", tiny, clip, "--class", "swim", "--labels", labels, *given, says=says)


def test_a_pooled_rule_under_contrast(call, tiny, clip):
    given = ("--rule", "mean", "--class-step", "contrast", "--against", "best", "--json", "-")
    run = strict(call("explain", tiny, clip, *given)[1])["run"]
    assert run["against"] == "best"
    assert run["rivals"][0][2] == 1.0
    assert run["holds"] == ["norms", "attention", "gates"]


def test_one_output_has_no_rival(call, refuses, clip, tmp_path, rng):
    weights = tiny_weights(rng) | {"one": rng.standard_normal((6, 1)).astype("float32")}
    nodes = [*TINY[:-1], helper.make_node("MatMul", ["f", "one"], ["y"], name="head")]
    model = save(tmp_path / "one.onnx", nodes, {k: v for k, v in weights.items() if k != "fc"})
    code, out, _ = call("explain", model, clip)
    assert (code, out.splitlines()[0]) == (0, "output 'y': what raises it")
    refuses("explain", model, clip, "--against", "rivals", says="has one class, so there is none to set it against")
