"""The gate again: models, clips and limits of every shape that people have, and the verdicts they must get.

Each test is a case that once went wrong. Networks are small and random; what is the same and what is not follows from
how they were made.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import cfp_onnx as cfp
from cfp_onnx.checking.ci_files import junit, markdown
from cfp_onnx.checking.policy import Limits, Policy, read_policy
from cfp_onnx.checking.renew import renewed
from cfp_onnx.cli import main as cli
from cfp_onnx.clips.lists import clips_in
from cfp_onnx.errors import ModelError, UsageError
from cfp_onnx.report.check_page import render_check

Array = np.ndarray
FLOAT = onnx.TensorProto.FLOAT
SIDE = 12
Edit = Callable[[dict[str, Array]], None]


def network(
    file: Path,
    edit: Edit | None = None,
    *,
    kernels: tuple[int, ...] = (12, 16, 12),
    classes: int = 5,
    flat: tuple[int, int] = (0, -1),
    behind: str | None = None,
    opset: int = 17,
) -> Path:
    """Convolutions with Relus, a mean, and a classifier; always the same weights but for an edit.

    Args:
        file: Where it goes.
        edit: Changes the weights: ``w0``, ``b0``, ``w1`` ... and ``fc``.
        kernels: Of each convolution.
        classes: Scores.
        flat: What the means are reshaped to.
        behind: An operator behind the classifier.
        opset: Version of the operators.
    """
    rng = np.random.default_rng(7)
    values: dict[str, Array] = {}
    nodes, tensor, channels = [], "x", 3
    for i, count in enumerate(kernels):
        deviation = np.sqrt(2 / (9 * channels))
        values[f"w{i}"] = (rng.standard_normal((count, channels, 3, 3)) * deviation).astype(np.float32)
        values[f"b{i}"] = (rng.standard_normal(count) * 0.1).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [tensor, f"w{i}", f"b{i}"], [f"c{i}"], name=f"conv{i}", pads=[1] * 4),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}"),
        ]
        tensor, channels = f"r{i}", count
    values["fc"] = (rng.standard_normal((channels, classes)) / np.sqrt(channels)).astype(np.float32)
    values["shape"] = np.array(flat)
    last = "y" if behind is None else "l"
    nodes += [
        helper.make_node("GlobalAveragePool", [tensor], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], [last], name="head"),
    ]
    if behind is not None:
        nodes.append(helper.make_node(behind, [last], ["y"]))
    if edit is not None:
        edit(values)
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", classes])],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in values.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), file)
    return file


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three inputs of noise."""
    rng = np.random.default_rng(11)
    files = [tmp_path / f"clip{n}.npy" for n in range(3)]
    for file in files:
        np.save(file, rng.random((1, 3, SIDE, SIDE), np.float32))
    return files


# ------------------------------------------------------------------------------------- files that must be read


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_integers_are_read_under_every_opset(clips: list[Path], tmp_path: Path, opset: int) -> None:
    """The reference evaluator has DequantizeLinear from opset 19 on only; a file may be older."""
    made = cfp.baseline(network(tmp_path / "m.onnx", opset=opset), clips)

    def coarse(values: dict[str, Array]) -> None:
        scale = np.float32(np.abs(values["w1"]).max() / 127)
        values |= {"k": np.rint(values.pop("w1") / scale).astype(np.int8), "s": scale, "z": np.int8(0)}

    model = onnx.load(network(tmp_path / "q.onnx", coarse, opset=opset))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["k", "s", "z"], ["w1"]))
    onnx.save(model, tmp_path / "q.onnx")
    found = cfp.check(tmp_path / "q.onnx", made, folder=Path())
    assert found.ok, str(found)
    assert 0 < found.layers[1].weights < 0.02


@pytest.mark.parametrize("flat", [(1, -1), (1, 12)])
def test_an_open_batch_that_is_fixed_further_in_is_no_obstacle(
    clips: list[Path], tmp_path: Path, flat: tuple[int, int]
) -> None:
    """The noise of a batch of two is measured where the model takes one; a Reshape may not."""
    made = cfp.baseline(network(tmp_path / "m.onnx", flat=flat), clips)
    assert made.noise.variants == ("the same again", "1 thread", "no optimisation")
    assert cfp.check(tmp_path / "m.onnx", made, folder=Path()).ok
    assert "batch of 2" in cfp.baseline(network(tmp_path / "m.onnx"), clips).noise.variants


# ------------------------------------------------------------------------------------------------ verdicts


@pytest.mark.parametrize("behind", ["Sigmoid", None])
@pytest.mark.parametrize("labels", [None, ("fake",)])
def test_the_other_answer_of_a_single_score_is_another_prediction(
    clips: list[Path], tmp_path: Path, behind: str | None, labels: tuple[str, ...] | None
) -> None:
    def negative(values: dict[str, Array]) -> None:
        values["fc"] *= -1

    made = cfp.baseline(network(tmp_path / "m.onnx", classes=1, behind=behind), clips, labels=labels)
    same = cfp.check(network(tmp_path / "s.onnx", classes=1, behind="Sigmoid"), made, folder=Path())
    assert same.ok, str(same)
    found = cfp.check(network(tmp_path / "n.onnx", negative, classes=1, behind=behind), made, folder=Path())
    assert found.flips == len(clips)
    assert not found.same_predictions
    assert labels is None or "not fake" in str(found)


def test_classes_that_tie_are_no_other_prediction(clips: list[Path], tmp_path: Path) -> None:
    """Two classes with the same weights but for one rounding: which of them is ahead says nothing."""

    def tied(nudge: float) -> Edit:
        def edit(values: dict[str, Array]) -> None:
            values["fc"][:, 3] = values["fc"][:, 1] = np.abs(values["fc"][:, 1]) * 5
            values["fc"][:, 3] *= np.float32(1 + nudge)

        return edit

    made = cfp.baseline(network(tmp_path / "a.onnx", tied(1e-6)), clips)
    assert {c.top for c in made.clips} == {3}
    found = cfp.check(network(tmp_path / "b.onnx", tied(-1e-6)), made, folder=Path())
    assert found.ok, str(found)
    assert cfp.check(network(tmp_path / "c.onnx", tied(-1e-2)), made, folder=Path()).flips == len(clips)


@pytest.mark.parametrize("places", [(3, 7), (3, 7, 11)])
def test_a_few_kernels_that_changed_places_are_the_same_network(
    clips: list[Path], tmp_path: Path, places: tuple[int, ...]
) -> None:
    kernels = (12, 256, 12)

    def moved(values: dict[str, Array]) -> None:
        order = np.arange(kernels[1])
        order[list(places)] = np.roll(places, 1)
        values |= {"w1": values["w1"][order], "b1": values["b1"][order], "w2": values["w2"][:, order]}

    def scaled(values: dict[str, Array]) -> None:
        values["w1"][list(places)] *= 3

    made = cfp.baseline(network(tmp_path / "m.onnx", kernels=kernels), clips)
    found = cfp.check(network(tmp_path / "b.onnx", moved, kernels=kernels), made, folder=Path())
    assert found.ok, str(found)
    assert found.layers[1].reordered
    assert found.notes == ("kernels stand in another order in 1 layer, conv1 first",)
    wrong = cfp.check(network(tmp_path / "c.onnx", scaled, kernels=kernels), made, folder=Path())
    assert not wrong.ok
    assert wrong.first is not None
    assert wrong.first.kernels == places


def test_fewer_kernels_say_how_many_there_were(clips: list[Path], tmp_path: Path) -> None:
    made = cfp.baseline(network(tmp_path / "m.onnx"), clips)
    found = cfp.check(network(tmp_path / "b.onnx", kernels=(12, 14, 12)), made, folder=Path())
    assert (found.missing, found.added) == (("conv1", "conv2"), ("conv1", "conv2"))
    assert found.first is not None
    assert found.first.cause == "this layer (16 kernels) is not in the file; conv1 (14 kernels) is new"


def two_outputs(file: Path, names: tuple[str, str]) -> Path:
    """The network with a second classifier behind the same features."""
    model = onnx.load(network(file))
    rng = np.random.default_rng(3)
    model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal((12, 5), np.float32), "other"))
    model.graph.node.append(helper.make_node("MatMul", ["f", "other"], [names[1]], name="head2"))
    model.graph.node[-2].output[0] = names[0]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(n, FLOAT, ["n", 5]) for n in names)
    onnx.save(model, file)
    return file


def test_the_output_that_decides_is_found_under_another_name(clips: list[Path], tmp_path: Path) -> None:
    made = cfp.baseline(two_outputs(tmp_path / "m.onnx", ("a", "b")), clips, output="b")
    found = cfp.check(two_outputs(tmp_path / "n.onnx", ("one", "two")), made, folder=Path())
    assert found.ok, str(found)
    assert found.notes == ("there is no output 'b', 'two' is looked at in its place",)
    assert renewed(tmp_path / "n.onnx", made, folder=Path()).run["output"] == "two"
    model = onnx.load(tmp_path / "n.onnx")
    model.graph.node.append(helper.make_node("SequenceConstruct", ["c0", "one"], ["many"]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("many", FLOAT, None))
    onnx.save(model, tmp_path / "s.onnx")
    with pytest.raises(ModelError, match="operator SequenceConstruct"):
        cfp.check(tmp_path / "s.onnx", made, folder=Path())


# ----------------------------------------------------------------------------------------------------- limits


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


# ------------------------------------------------------------------------------------------------ clips, paths


def test_a_clip_named_twice_counts_once_and_keeps_all_its_classes(clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("clip0.npy,1\nclip0.npy,3\nclip1.npy,2\nclip1.npy,2\n")
    model, file = network(tmp_path / "m.onnx"), tmp_path / "b.json"
    assert cli.main(["baseline", str(model), str(tmp_path / "list.csv"), "-o", str(file), "-q"]) == 0
    found = cfp.check(model, file, [clips[0], clips[0], clips[1]])
    assert [(Path(c.file).name, c.index) for c in found.clips] == [
        ("clip0.npy", 1), ("clip0.npy", 3), ("clip1.npy", 2), ("clip1.npy", 2),
    ]  # fmt: skip
    names = [case.get("name") for case in ET.fromstring(junit(found)).iter("testcase")][-4:]
    assert names == ["clip0.npy (1)", "clip0.npy (3)", "clip1.npy (2)", "clip1.npy (2) #2"]
    before = file.read_bytes()
    assert cli.main(["check", str(model), str(tmp_path / "list.csv"), "--baseline", str(file), "--update", "-q"]) == 0
    assert file.read_bytes() == before


def test_an_update_loses_no_clip(
    clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    model, file = network(tmp_path / "m.onnx"), tmp_path / "b.json"
    cfp.baseline(model, clips, relative_to=tmp_path).save(file)
    before = file.read_bytes()
    assert cli.main(["check", str(model), str(clips[1]), "--baseline", str(file), "--update"]) == 2
    assert "1 of the baseline's 3 clips were named" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_an_update_keeps_classes_whose_labels_are_numbers(clips: list[Path], tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx")
    made = cfp.baseline(model, clips, target="1", labels=["4", "3", "2", "1", "0"])
    assert {c.index for c in made.clips} == {3}
    again = renewed(model, made, folder=Path())
    assert [(c.index, c.label) for c in again.clips] == [(3, "1")] * 3


def test_lists_as_people_have_them(tmp_path: Path) -> None:
    for name in ("two words.npy", "a,b.npy", "c1.npy", "c01.npy"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text("\ufefftwo words.npy\na,b.npy\ntwo words.npy 3\nc1.npy\n", encoding="utf-8")
    found = [(Path(x.file).name, x.target) for x in clips_in([tmp_path / "list.txt"])]
    assert found == [("two words.npy", None), ("a,b.npy", None), ("two words.npy", "3"), ("c1.npy", None)]
    assert [Path(x.file).name for x in clips_in([tmp_path])] == ["a,b.npy", "c01.npy", "c1.npy", "two words.npy"]


def test_a_layout_that_was_given_is_remembered(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = {"w": rng.standard_normal((72, 8)), "v": rng.standard_normal((8, 4))}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]), helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", FLOAT, ["n", 3, 8, 3])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 4])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    np.save(tmp_path / "c.npy", rng.integers(0, 255, (20, 30, 3), np.uint8))
    with pytest.raises(UsageError, match="ambiguous"):
        cfp.baseline(tmp_path / "m.onnx", tmp_path / "c.npy")
    for layout in ("NCHW", "NHWC"):
        made = cfp.baseline(tmp_path / "m.onnx", tmp_path / "c.npy", layout=layout)
        found = cfp.check(tmp_path / "m.onnx", made, folder=Path())
        assert found.ok, str(found)


def test_links_to_folders_and_files(clips: list[Path], tmp_path: Path) -> None:
    real, elsewhere = tmp_path / "real" / "deep", tmp_path / "elsewhere"
    (real / "clips").mkdir(parents=True)
    elsewhere.mkdir()
    for clip in clips:
        clip.rename(real / "clips" / clip.name)
    (elsewhere / "link").symlink_to(real)
    model = str(network(tmp_path / "m.onnx"))
    words = ["baseline", model, str(elsewhere / "link" / "clips"), "-q", "-o"]
    assert cli.main([*words, str(elsewhere / "link" / "b.json")]) == 0
    assert [c.file for c in cfp.load_baseline(real / "b.json").clips] == [f"clips/clip{n}.npy" for n in range(3)]
    (elsewhere / "b.json").symlink_to(real / "b.json")
    for file in (real / "b.json", elsewhere / "link" / "b.json", elsewhere / "b.json"):
        assert cli.main(["check", model, "--baseline", str(file), "-q"]) == 0
        assert cfp.check(model, file).ok
    before = (real / "b.json").stat().st_ino
    assert cli.main(["check", model, "--baseline", str(elsewhere / "b.json"), "--update", "-q"]) == 0
    assert (elsewhere / "b.json").is_symlink()
    assert (real / "b.json").stat().st_ino != before


# ------------------------------------------------------------------------------------------------- the command


def test_a_terminal_of_ascii_and_a_hostile_layer_name(clips: list[Path], tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "m.onnx"))
    model.graph.node[0].name = "ä\x1b[31m"
    onnx.save(model, tmp_path / "ü.onnx")

    def other(values: dict[str, Array]) -> None:
        values["w0"] *= 3

    network(tmp_path / "other.onnx", other)
    command = [sys.executable, "-m", "cfp_onnx"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(cfp.__file__).parents[1])}
    for words, code in (
        (["baseline", "ü.onnx", "clip0.npy", "-o", "ü.json"], 0),
        (["check", "ü.onnx", "--baseline", "ü.json", "--markdown", "-"], 0),
        (["check", "other.onnx", "--baseline", "ü.json", "-q"], 1),
    ):
        done = subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert done.returncode == code, done.stderr.decode()
        assert done.stderr == b""
        assert done.stdout.isascii()
        assert b"\x1b" not in done.stdout


def test_one_kernel_of_many_is_found(clips: list[Path], tmp_path: Path) -> None:
    """In a wide layer a single kernel is a small part of all weights; it counts all the same."""
    kernels = (12, 512, 12)

    def half(values: dict[str, Array]) -> None:
        values["w1"][300] *= 1.6

    made = cfp.baseline(network(tmp_path / "m.onnx", kernels=kernels), clips)
    found = cfp.check(network(tmp_path / "b.onnx", half, kernels=kernels), made, folder=Path())
    assert not found.same_reasons
    assert found.first is not None
    assert (found.first.layer, found.first.kernels) == ("conv1", (300,))
    assert found.layers[1].kernels == (300,)


def test_a_constant_that_is_not_finite_is_refused(clips: list[Path], tmp_path: Path) -> None:
    """It silences a kernel, so that no output shows it, and no JSON can hold it."""

    def silent(values: dict[str, Array]) -> None:
        values["b1"][3] = -np.inf

    def far(values: dict[str, Array]) -> None:
        values["w1"] *= np.float32(1e30)

    made = cfp.baseline(network(tmp_path / "m.onnx"), clips)
    for use in (lambda m: cfp.baseline(m, clips), lambda m: cfp.check(m, made, folder=Path())):
        with pytest.raises(ModelError, match="constants of layer 'conv1' hold NaN, infinity"):
            use(network(tmp_path / "b.onnx", silent))
    assert cfp.check(network(tmp_path / "c.onnx", far), cfp.baseline(tmp_path / "c.onnx", clips), folder=Path()).ok


def shared_weights(file: Path, order: tuple[int, int] = (0, 1), redrawn: int | None = None) -> Path:
    """Two inputs through one convolution, then two more that share their weights, one behind the other; no names.

    Args:
        file: Where it goes.
        order: Which input's convolution stands first in the file.
        redrawn: The one of the latter two that has weights of its own.
    """
    rng = np.random.default_rng(5)
    values = {"a": rng.standard_normal((8, 3, 3, 3)) / 4, "b": rng.standard_normal((8, 8, 3, 3)) / 8,
              "c": rng.standard_normal((8, 8, 3, 3)) / 8, "d": rng.standard_normal((8, 4))}  # fmt: skip
    nodes = []
    for n in order:
        nodes.append(helper.make_node("Conv", [f"x{n}", "a"], [f"s{n}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"s{n}"], [f"t{n}"]))
    nodes.append(helper.make_node("Sub", ["t0", "t1"], ["h0"]))
    for n in range(2):
        nodes += [
            helper.make_node("Conv", [f"h{n}", "c" if n == redrawn else "b"], [f"u{n}"], pads=[1] * 4),
            helper.make_node("Relu", [f"u{n}"], [f"v{n}"]), helper.make_node("Add", [f"v{n}", f"h{n}"], [f"h{n + 1}"]),
        ]  # fmt: skip
    nodes.append(helper.make_node("ReduceMean", ["h2"], ["f"], axes=[2, 3], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["f", "d"], ["y"]))
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info(f"x{n}", FLOAT, ["n", 3, SIDE, SIDE]) for n in range(2)],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 4])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def test_layers_that_share_their_weights_are_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for n in range(2):
        np.savez(tmp_path / f"c{n}.npz", **{f"x{i}": rng.random((1, 3, SIDE, SIDE), np.float32) ** 3 for i in range(2)})
    clips = [tmp_path / f"c{n}.npz" for n in range(2)]
    made = cfp.baseline(shared_weights(tmp_path / "m.onnx"), clips, depth="all")
    found = cfp.check(shared_weights(tmp_path / "b.onnx", (1, 0)), made, folder=Path())
    assert found.ok, "only activity tells which input's is which\n" + str(found)
    for n in range(2):
        found = cfp.check(shared_weights(tmp_path / "c.onnx", redrawn=n), made, folder=Path())
        assert found.first is not None
        assert found.first.layer == f"u{n}", str(found)


def test_weights_that_nothing_uses_are_no_obstacle(clips: list[Path], tmp_path: Path) -> None:
    def more(values: dict[str, Array]) -> None:
        values["left over"] = np.ones((64, 64), np.float32)

    made = cfp.baseline(network(tmp_path / "m.onnx"), clips)
    found = cfp.check(network(tmp_path / "b.onnx", more), made, folder=Path())
    assert found.ok, str(found)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--html", ""], "the name of the output folder is empty"),
        (["--json", "one", "--junit", "one"], "cannot go to one file"),
        (["--max-flips", "-1"], "at least 0"),
    ],
)
def test_results_that_have_no_place_are_refused(
    tmp_path: Path, words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "m.onnx", "--baseline", "b.json", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
