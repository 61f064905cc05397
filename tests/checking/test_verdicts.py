"""Small networks of every shape that people have, and the verdicts that they must get.

Each test is a case that once went wrong. What is the same and what is not follows from how a network was made.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from check_net import FLOAT, SIDE, Array, Edit, network
from onnx import helper, numpy_helper

import cfp_onnx as cfp
from cfp_onnx.checking.renew import renewed
from cfp_onnx.errors import ModelError


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
    assert cfp.check(tmp_path / "s.onnx", made, folder=Path()).notes == found.notes
    with pytest.raises(ModelError, match="operator SequenceConstruct"):
        cfp.explain(tmp_path / "s.onnx", clips[0], output="many")


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
