"""What each command promises: keys of the JSON, options that reach the result, files and text."""

from __future__ import annotations

import json

import pytest
from tiny_net import TINY, save, strict, tiny_weights


def test_explain_json_has_the_promised_keys(call, tiny, clip, tmp_path):
    code, out, err = call("explain", tiny, clip, "--json", tmp_path / "p.json", "-o", tmp_path / "new" / "out")
    assert (code, err) == (0, "")
    assert "conv1" in out
    assert "Ranks hold within a layer" in out
    value = strict((tmp_path / "p.json").read_text("utf-8"))
    assert value == strict((tmp_path / "new" / "out" / "pyramid.json").read_text("utf-8"))
    assert (value["schema"], value["schema_version"]) == ("cfp-onnx/pyramid", 2)
    assert set(value["model"]) >= {"file", "sha256", "producer", "opset"}
    assert set(value["input"]) >= {"file", "sha256", "shape", "layout"}
    assert set(value["run"]) >= {
        "rule", "class_step", "theta", "top_k", "depth", "provider", "onnxruntime", "output_difference",
        "undefined",
    }  # fmt: skip
    assert set(value["target"]) >= {"output", "index", "label", "score", "top"}
    assert set(value["coverage"]) >= {"channels", "layers", "operators_unknown"}
    for layer in value["layers"]:
        assert set(layer) >= {
            "name", "op", "weight", "nodes", "kernels", "channels", "groups", "kernel_shape", "depth",
            "relevance",
        }  # fmt: skip
        assert len(layer["relevance"]) == layer["kernels"]
    assert [x["name"] for x in value["layers"]] == ["conv1", "conv2", "head"]
    assert [level["depth"] for level in value["levels"]] == [1, 2]
    for edge in value["edges"]:
        for channel in edge["channels"]:
            assert sum(s["share"] for s in channel["sources"]) == pytest.approx(1)
    head = [e for e in value["edges"] if e["layer"] == "head"]
    assert [e["kernel"] for e in head] == [value["target"]["index"]]


def test_inspect_json_has_the_promised_keys(call, tiny):
    code, out, err = call("inspect", tiny, "--json", "-")
    assert (code, err) == (0, "")
    value = strict(out)
    assert (value["schema"], value["schema_version"]) == ("cfp-onnx/topology", 1)
    assert set(value) >= {"model", "coverage", "layers", "wires", "branches", "shortcuts", "gates", "fibers"}
    assert value["fibers"] == [{"layer": "conv2", "groups": 2, "split": False}]


def test_inspect_writes_its_files_and_a_tree(call, tiny, tmp_path):
    code, out, _ = call("inspect", tiny, "--json", tmp_path / "t.json", "--graphml", tmp_path / "t.graphml")
    assert code == 0
    assert "conv2" in out
    assert strict((tmp_path / "t.json").read_text("utf-8"))["schema"] == "cfp-onnx/topology"
    assert "<graphml" in (tmp_path / "t.graphml").read_text("utf-8")


@pytest.mark.parametrize("rule", ["positional", "active", "published", "mean"])
def test_every_rule_runs(call, tiny, clip, rule):
    code, out, err = call("explain", tiny, clip, "--rule", rule, "--depth", "all", "--json", "-")
    assert (code, err) == (0, "")
    assert strict(out)["run"]["rule"] == rule


def test_options_reach_the_result(call, tiny, clip, tmp_path):
    (tmp_path / "labels.txt").write_text("run\nswim\nskate\nthrow\n")
    code, out, _ = call(
        "explain", tiny, clip, "--class", "swim", "--labels", tmp_path / "labels.txt", "--theta", "0.25",
        "--top-k", "2", "--depth", "1", "--class-step", "contribution", "--output", "y", "--device", "cpu",
        "--threads", "1", "--json", "-",
    )  # fmt: skip
    assert code == 0
    value = strict(out)
    assert (value["target"]["index"], value["target"]["label"]) == (1, "swim")
    assert (value["run"]["theta"], value["run"]["top_k"], value["run"]["depth"]) == (0.25, 2, 1)
    assert value["run"]["class_step"] == "contribution"
    assert max(len(level["kernels"]) for level in value["levels"]) <= 2


def test_the_default_is_the_top_class(call, tiny, clip):
    value = strict(call("explain", tiny, clip, "--json", "-")[1])
    assert value["target"]["index"] == value["target"]["top"][0][0]


def test_options_override_a_file_which_overrides_the_model(call, tmp_path, frames, rng):
    own = json.dumps({"mean": [0.5], "std": [0.5], "size": [8, 8]})
    model = save(tmp_path / "own.onnx", TINY, tiny_weights(rng), metadata={"cfp_onnx.preprocess": own})
    (tmp_path / "pre.json").write_text(json.dumps({"mean": [0.1], "std": [0.3]}))

    def scores(*more):
        code, out, err = call("explain", model, frames, "--class", "0", *more, "--json", "-")
        assert code == 0, err
        return strict(out)["target"]["score"]

    by_hand = scores("--mean", "0.5", "--std", "0.5,0.5,0.5")
    assert scores() == pytest.approx(by_hand)
    of_file = scores("--preprocess", tmp_path / "pre.json")
    assert of_file != pytest.approx(by_hand)
    assert scores("--preprocess", tmp_path / "pre.json", "--mean", "0.5", "--std", "0.5") == pytest.approx(by_hand)
    assert scores("--mean", "0.1", "--std", "0.3") == pytest.approx(of_file)
    assert scores("--preset", "i3d") == pytest.approx(by_hand, rel=0.9)


def test_open_sizes_are_given_with_or_without_a_name(call, tmp_path, rng):
    open_model = save(tmp_path / "open.onnx", TINY, tiny_weights(rng), shape=("n", 3, "t", "h", "w"))
    for given in ("clip=1,3,5,9,9", "1,3,5,9,9"):
        assert call("inspect", open_model, "--input-shape", given, "--json", "-")[0] == 0


def test_the_demo_prints_where_its_result_is(call, tmp_path):
    code, out, err = call("demo", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    folder = tmp_path / "out"
    assert out.splitlines()[-1] == str(folder / "report.html")
    assert {f.name for f in folder.iterdir()} == {"report.html", "pyramid.json", "tubes.npz", "tubes"}
    value = strict((folder / "pyramid.json").read_text("utf-8"))
    assert value["run"]["depth"] == "all"
    assert value["coverage"]["channels"] == 1


def test_doctor_answers(call):
    code, out, _ = call("doctor")
    assert code in (0, 3)
    assert "onnxruntime" in out
    assert (code == 0) == ("no problems found" in out)
