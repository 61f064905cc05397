"""The folder that an explanation leaves, for inputs of every form and from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pyramids import picture

import cfp_onnx as cfp
from cfp_onnx.cli import main as cli
from cfp_onnx.errors import OutputError, UsageError


def _weighted_chain(path, shape, weights, *, pool=True):
    """Convolutions (or, without a pool, dense layers) with ReLU and a head."""
    nodes, here = [], "x"
    for i in range(len(weights) - 1):
        op = "Conv" if pool else "MatMul"
        more = {"pads": [1] * (2 * (len(shape) - 2))} if pool else {}
        nodes += [
            helper.make_node(op, [here, f"w{i}"], [f"c{i}"], name=f"layer{i}", **more),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}"),
        ]
        here = f"r{i}"
    if pool:
        nodes += [
            helper.make_node("GlobalAveragePool", [here], ["g"], name="pool"),
            helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        ]
        here = "f"
    nodes.append(helper.make_node("MatMul", [here, f"w{len(weights) - 1}"], ["y"], name="head"))
    graph = helper.make_graph(
        nodes, "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w.astype(np.float32), f"w{i}") for i, w in enumerate(weights)],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_an_unknown_animation_is_named_before_anything_is_written(shallow, tmp_path):
    with pytest.raises(UsageError, match="unknown animation 'avi'; choose one of mp4, gif, none"):
        shallow.save(tmp_path / "out", animation="avi")
    assert not (tmp_path / "out").exists()


def test_by_default_the_class_and_the_strongest_kernel_of_each_depth_are_drawn(shallow, tmp_path):
    told = []
    shallow.save(tmp_path, animation="none", progress=lambda *a: told.append(a))
    stems = {f.stem for f in (tmp_path / "tubes").glob("*.npz")}
    expected = {"class_evidence"}
    for depth in (1, 2):
        k = shallow.kernels(depth)[0]
        expected.add(f"depth{depth}_{k.layer}_kernel{k.kernel}_activation")
    assert stems == expected
    assert told == [("drawing tubes", n, 3) for n in range(3)]
    picture(tmp_path / "tubes" / "class.png")


def test_pictures_of_a_picture(tmp_path, rng):
    weights = [rng.standard_normal((5, 3, 3, 3)), rng.standard_normal((4, 5, 3, 3)), rng.standard_normal((4, 3))]
    model = _weighted_chain(tmp_path / "flat.onnx", (1, 3, 24, 24), weights)
    found = cfp.explain(model, rng.standard_normal((1, 3, 24, 24)).astype(np.float32), device="cpu")
    found.save(tmp_path / "out")
    suffixes = sorted("".join(f.suffixes) for f in (tmp_path / "out" / "tubes").iterdir() if f.name != "class.png")
    assert set(suffixes) == {".npz", ".png"}
    assert not list((tmp_path / "out").rglob("*_stack*"))
    for file in (tmp_path / "out" / "tubes").glob("*.npz"):
        assert np.load(file)["tube"].shape == (1, 24, 24)
        picture(file.with_suffix(".png"))
    picture(tmp_path / "out" / "tubes" / "class.png")
    assert "data:image/png" in found._repr_html_()
    assert cfp.load_pyramid(tmp_path / "out").media.kind == "image"


def test_pictures_of_a_signal(tmp_path, rng):
    weights = [rng.standard_normal((5, 2, 3)), rng.standard_normal((4, 5, 3)), rng.standard_normal((4, 3))]
    model = _weighted_chain(tmp_path / "wave.onnx", (1, 2, 64), weights)
    signal = rng.standard_normal((1, 2, 64)).astype(np.float32)
    found = cfp.explain(model, signal, device="cpu")
    found.save(tmp_path / "out")
    names = sorted(f.name for f in (tmp_path / "out" / "tubes").iterdir())
    assert {Path(n).suffix for n in names} == {".npz", ".png"}
    assert len(names) % 2 == 0
    for file in (tmp_path / "out" / "tubes").glob("*.npz"):
        assert np.load(file)["tube"].shape == (1, 1, 64)
        picture(file.with_suffix(".png"))
    np.testing.assert_array_equal(cfp.load_pyramid(tmp_path / "out").media.curve, signal[0])
    assert "<img" not in found._repr_html_()


def test_without_space_there_are_report_and_numbers_only(tmp_path, rng):
    model = _weighted_chain(
        tmp_path / "dense.onnx", (1, 6), [rng.standard_normal((6, 5)), rng.standard_normal((5, 3))], pool=False
    )
    features = rng.standard_normal((1, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", features)
    found = cfp.explain(model, features, device="cpu")
    assert found.tubes is None
    found.save(tmp_path / "out")
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"report.html", "pyramid.json"}
    arguments = ["explain", str(model), str(tmp_path / "x.npy"), "-o", str(tmp_path / "asked"), "--tube", "activation"]
    assert cli.main(arguments) == 2
    assert not (tmp_path / "asked").exists()


def test_a_folder_that_cannot_be_made_gets_nothing(shallow, tmp_path):
    (tmp_path / "file").write_text("here first")
    with pytest.raises(OutputError, match=r"cannot write .*report\.html"):
        shallow.save(tmp_path / "file" / "out", drawings=(), animation="none")
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def _explain(demo, out, *more):
    return cli.main(["explain", *demo, "-o", str(out), "--depth", "1", "--animation", "none", "--device", "cpu", *more])


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (("--tube", "activation", "--tube-top", "2"), {"kernel_activation": 2}),
        (("--tube", "relevance:kernel", "--tube-top", "1"), {"kernel_relevance": 1}),
        (("--tube", "relevance", "--tube", "activation:layer"), {"relevance": 1, "activation": 1}),
    ],
)
def test_tubes_asked_for_on_the_command_line(demo, tmp_path, capsys, options, kinds):
    assert _explain(demo, tmp_path, *options) == 0
    found: dict[str, int] = {}
    for file in (tmp_path / "tubes").glob("*.npz"):
        key = ("kernel_" if "_kernel" in file.stem else "") + file.stem.rsplit("_", 1)[1]
        found[key] = found.get(key, 0) + 1
    assert found == kinds
    assert str(tmp_path / "report.html") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tube", "heat"), "'heat' must be evidence, activation or relevance"),
        (("--tube", "activation:"), "'activation:' must be"),
        (("--tube", "relevance:pixel"), "must be evidence, activation or relevance"),
        (("--tube", "activation", "--tube-top", "0"), "not a whole number"),
        (("--animation", "avi"), "avi"),
    ],
)
def test_wrong_tubes_are_one_sentence_and_exit_2(demo, tmp_path, capsys, options, said):
    assert _explain(demo, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_tubes_need_a_folder(demo, capsys):
    assert cli.main(["explain", *demo, "--tube", "activation"]) == 2
    error = capsys.readouterr().err.strip()
    assert "--tube needs a folder" in error
    assert len(error.splitlines()) == 1
