"""Limits from a file, for layers and classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from check_net import SIDE, network
from onnx import helper, numpy_helper

import cfp_onnx as cfp
from benchmarks.demo_model import edited, times, weights
from cfp_onnx.checking.ci_files import markdown
from cfp_onnx.checking.policy import Limits, Policy, read_policy
from cfp_onnx.errors import UsageError
from cfp_onnx.report.check_page import render_check


def test_limits_from_toml_reach_layers_and_classes(home: Path, tmp_path: Path) -> None:
    model = edited(tmp_path / "edited.onnx", weights("mix.0", times(1.06)))
    plain = cfp.check(model, home / "baseline.json")
    assert [x.weight for x in plain.broken] == ["mix.0.weight"]
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[tool.other]\nx = 1\n[tool.cfp_onnx]\nmax-flips = 2\n[tool.cfp_onnx.layers."mix.*"]\nmax-weights = 0.1'
    )
    policy = read_policy(file)
    assert policy.max_flips == 2
    assert cfp.check(model, home / "baseline.json", policy=policy).ok
    label = cfp.load_baseline(home / "baseline.json").clips[0].label
    limits = tmp_path / "limits.toml"
    limits.write_text(
        f'max-weights = 0.1\n[classes.{label}]\nmax-activity = 0.001\n[classes."no such"]\nmin-rank = 1.0'
    )
    found = cfp.check(model, home / "baseline.json", policy=read_policy(limits))
    assert not found.same_reasons
    assert {b.label for x in found.broken for b in x.breaches} == {label}
    assert found.layers[0].breaches == (), "layers above the change are as they were"


BAD_LIMITS = {
    "max-drift = 2": "from 0 to 1",
    "max-drift = true": "must be a number",
    "max-drift = nan": "must be a number",
    "max-dirft = 0.1": "'max-dirft' is unknown",
    "layers = 3": "table",
    "[layers.a]\nmin-rank = 'x'": "must be a number",
    "[layers]\na = 1": "table",
    "max-flips = 0.5": "whole number",
    "max-drift = ": "cannot read limits",
}


@pytest.mark.parametrize("text", BAD_LIMITS)
def test_bad_limits_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(UsageError, match=r".") as caught:
        read_policy(tmp_path / "limits.toml")
    assert BAD_LIMITS[text] in str(caught.value)


def test_limits_that_concern_nothing_are_named(clips: list[Path], tmp_path: Path) -> None:
    made = cfp.baseline(network(tmp_path / "m.onnx"), clips, target=2, labels=["a", "b", "c", "d", "e"])
    policy = Policy(layers={"stem*": {"max_drift": 0.1}, "conv*": {"max_drift": 0.1}},
                    classes={"c": {"max_drift": 0.1}, "2": {"max_drift": 0.1}, "z": {"max_drift": 0.1}})  # fmt: skip
    found = cfp.check(tmp_path / "m.onnx", made, policy=policy, folder=Path())
    assert found.ok
    assert found.notes == (
        "no layer is called 'stem*', its limits say nothing", "no clip is of class 'z', its limits say nothing",
    )  # fmt: skip


def test_a_layer_is_meant_by_its_name_whatever_the_name_is(clips: list[Path], tmp_path: Path) -> None:
    assert Policy(layers={"/body/[0]/Conv": {"max_drift": 0.5}}).of("/body/[0]/Conv").max_drift == 0.5
    assert Policy(layers={"*/[0]/Conv": {"max_drift": 0.5}}).of("/body/[1]/Conv") == Limits()


def test_wide_noise_is_said(clips: list[Path], tmp_path: Path) -> None:
    made = cfp.baseline(network(tmp_path / "m.onnx"), clips)
    shaky = replace(made.noise.layers[1], activity=0.4)
    noise = replace(made.noise, layers=(made.noise.layers[0], shaky, *made.noise.layers[2:]))
    found = cfp.check(tmp_path / "m.onnx", replace(made, noise=noise), folder=Path())
    assert found.notes == ("the machine's own noise widens the limits of 1 layer, conv1 first",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max-activity = inf", "from 0 to 1e+09"),
        ("[classes.c]\nmax-weights = 0.1", "weights are the same for every class"),
    ],
)
def test_limits_that_cannot_be_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_policy(tmp_path / "limits.toml")
    assert words in str(caught.value)
    (tmp_path / "pyproject.toml").write_text("tool = 3")
    with pytest.raises(UsageError, match="'tool' must be a table"):
        read_policy(tmp_path / "pyproject.toml")


def test_a_limit_of_one_class_says_so_where_it_breaks(clips: list[Path], tmp_path: Path) -> None:
    """The class's clip acts otherwise, the mean of all clips does not."""
    quiet = [tmp_path / f"quiet{n}.npy" for n in range(7)]
    for file in quiet:
        np.save(file, np.zeros((1, 3, SIDE, SIDE), np.float32))
    (tmp_path / "list.csv").write_text("clip0.npy,1\n" + "".join(f"{f.name},2\n" for f in quiet))
    made = cfp.baseline(network(tmp_path / "m.onnx"), tmp_path / "list.csv")
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.9, np.float32), "dim"))
    model.graph.node.insert(0, helper.make_node("Mul", ["x", "dim"], ["darker"]))
    model.graph.node[1].input[0] = "darker"
    onnx.save(model, tmp_path / "b.onnx")
    assert cfp.check(tmp_path / "b.onnx", made, folder=Path()).ok
    policy = Policy(classes={"1": {"max_activity": 0.05}})
    found = cfp.check(tmp_path / "b.onnx", made, policy=policy, folder=Path())
    assert found.first is not None
    assert found.first.layer == "conv0"
    assert "on class '1', most in kernels" in found.first.cause
    page = render_check(found.to_json())
    assert "on class 1, at most 0.05 allowed" in page
    assert "meter bad" not in page, "all clips together are within the limit"
    for text in (str(found), markdown(found)):
        assert "on class '1', allowed at most 0.05" in " ".join(text.split())
