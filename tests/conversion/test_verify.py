"""A converted file is believed only where it says what the framework said, at every batch size that it takes."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from fake_converter import SHAPE, make, network, refused
from onnx import TensorProto, helper, numpy_helper

from cfp_onnx.cli import main as cli
from cfp_onnx.errors import UsageError


@pytest.mark.parametrize("clip", [0, 1, 2])
def test_a_difference_on_any_clip_is_refused_with_its_figure(order, tmp_path, clip):
    error = refused(order(add={str(clip): 0.25}), tmp_path / "o" / "m.onnx", f"on random clip {clip}")
    assert "differs from the framework's by 0.25, more than" in str(error)
    assert str(error).endswith("; --batch 1 may do, for one clip at a time")
    assert error.exit_code == 2


def test_the_tolerance_is_relative_to_the_largest_output(order, tmp_path):
    make(order(add={"0": 5e-5}), tmp_path / "m.onnx")
    refused(order(add={"0": 1e-2}), tmp_path / "n.onnx", "not the same network")


def test_small_outputs_are_not_equal_because_they_are_small(order, tmp_path, rng):
    model = onnx.load(network(tmp_path / "small.onnx", rng))
    for tensor in model.graph.initializer:
        if tensor.name == "fc":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e-6), "fc"))
    onnx.save(model, tmp_path / "small.onnx")
    make(order(model=str(tmp_path / "small.onnx")), tmp_path / "m.onnx")
    refused(order(model=str(tmp_path / "small.onnx"), add={"0": 1e-6}), tmp_path / "n.onnx", "not the same network")


def test_outputs_that_are_no_numbers_are_refused(order, tmp_path):
    refused(order(add={"1": float("nan")}), tmp_path / "m.onnx", "is not finite")


def test_too_few_clips_are_refused(order, tmp_path):
    refused(order(clips=2), tmp_path / "m.onnx", "has 2 clips")


def test_a_dynamic_batch_is_run_at_two_sizes(order, tmp_path):
    refused(order(batch=1), tmp_path / "m.onnx", "one batch size only")


def test_a_fixed_batch_needs_one_size(order, tmp_path, rng):
    network(tmp_path / "net.onnx", rng, batch=1)
    make(order(batch=1), tmp_path / "m.onnx", batch=1)


def test_another_input_is_refused(order, tmp_path):
    says = "the conversion's input 'clip' is (1, 3, 4, 8, 8), not the (1, 3, 16, 8, 8) asked for"
    refused(order(shape=SHAPE), tmp_path / "m.onnx", says, input_shape=(1, 3, 16, 8, 8))


def test_a_shape_that_the_graph_does_not_take_is_refused(order, tmp_path):
    refused(order(), tmp_path / "m.onnx", "onnxruntime failed on this input", input_shape=(1, 3, 4, 9, 9))


def test_an_operator_that_the_runtime_lacks_is_refused(order, tmp_path, rng):
    written = network(tmp_path / "strange.onnx", rng, op="Strange", domain="nobody")
    refused(order(written=str(written)), tmp_path / "m.onnx", "onnxruntime cannot run this model: ")


def test_an_operator_that_channels_cannot_be_followed_through_is_told_with_what_to_type(order, tmp_path, rng, capsys):
    model = network(tmp_path / "asinh.onnx", rng, op="Asinh")
    done = make(order(model=str(model)), tmp_path / "m.onnx")
    assert done.coverage < 1
    says = "channels cannot be followed through Asinh, and what lies before is not explained; inspect and explain want"
    assert done.notes == ("nothing was repaired", f"{says} --allow-barriers")
    assert cli.main(["inspect", str(done.path)]) == 2
    assert cli.main(["inspect", str(done.path), "--allow-barriers"]) == 0
    assert "Asinh" in capsys.readouterr().out


def test_an_output_that_is_made_of_no_kernels_is_refused_without_a_path_of_this_run(order, tmp_path, rng):
    model = onnx.load(network(tmp_path / "integer.onnx", rng))
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Shape", ["scores"], ["logits"], name="sizes"))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 2
    onnx.save(model, tmp_path / "integer.onnx")
    source = order(model=str(tmp_path / "integer.onnx"))
    error = refused(
        source, tmp_path / "m.onnx", "agrees with the framework, but it cannot be analysed: output 'logits'"
    )
    assert "cfp-convert" not in str(error)


def test_bfloat16_is_named_where_the_runtime_lacks_it(order, tmp_path, rng):
    model = onnx.load(network(tmp_path / "bf16.onnx", rng))
    before, after = (helper.make_node("Cast", [a], [b], to=t) for a, b, t in (
        ("clip", "half", TensorProto.BFLOAT16), ("a16", "a", TensorProto.FLOAT)))  # fmt: skip
    weights = helper.make_node("Cast", ["w"], ["w16"], to=TensorProto.BFLOAT16)
    conv = model.graph.node[0]
    conv.input[0], conv.input[1], conv.output[0] = "half", "w16", "a16"
    nodes = [before, weights, *model.graph.node[:1], after, *model.graph.node[1:]]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    model.opset_import[0].version = 20
    model.ir_version = 10
    onnx.save(model, tmp_path / "bf16.onnx")
    written = order(written=str(tmp_path / "bf16.onnx"))
    refused(written, tmp_path / "m.onnx", "the conversion computes in bfloat16, for which onnxruntime lacks operators")


def test_an_axis_that_is_no_batch_keeps_its_size(order, tmp_path, rng):
    network(tmp_path / "net.onnx", rng, batch=1)
    make(order(batch=1), tmp_path / "m.onnx", input_shape=(1, 3, 4, 8, 8), layout="TCLHW")
    asked = json.loads((tmp_path / "said" / "log.json").read_text())["request"]
    assert asked["batch"] == 1
    says = "layout TCLHW has no batch in front"
    refused(order(), tmp_path / "n.onnx", says, UsageError, layout="TCLHW", batch=2)


def test_an_invalid_model_is_refused(order, tmp_path):
    model = onnx.load(tmp_path / "net.onnx")
    model.graph.node[1].input[0] = "nowhere"
    onnx.save(model, tmp_path / "bad.onnx")
    refused(order(written=str(tmp_path / "bad.onnx")), tmp_path / "m.onnx", "not a valid ONNX model")
