"""What the reader refuses, and what it makes of names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest
from text_net import engine_of, network, saved

from cfp_onnx.errors import ModelError
from cfp_onnx.model import Port, load


def test_a_function_in_a_standard_domain_is_refused(tmp_path: Path) -> None:
    extra = '<domain: "", opset_import: ["" : 21]> Relu (x) => (y) { y = Neg (x) }'
    model = network("a = Conv (x, w)\nr = Relu (a)\ny = Flatten (r)", {"w": (4, 3, 1, 1)}, extra=extra)
    with pytest.raises(ModelError, match="standard domain"):
        load(saved(model, tmp_path))


def test_names_carry_call_paths_and_repeats(tmp_path: Path) -> None:
    extra = '<domain: "local", opset_import: ["" : 21]> Block (x, w) => (y) { a = Conv (x, w)\n y = Relu (a) }'
    model = network(
        """a = local.Block (x, w)
        b = local.Block (a, v)
        c = local.Block (b, v)
        g = GlobalAveragePool (c)
        f = Flatten (g)
        y = Gemm (f, u)""",
        {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "u": (4, 5)},
        extra=extra,
    )
    for node, name in zip(model.graph.node, ("first", "second", "second", "pool", "flat", "first"), strict=True):
        node.name = name
    model.functions[0].node[0].name = "conv"
    engine = engine_of(model, tmp_path)
    assert [layer.name for layer in engine.topology.layers] == [
        "first/conv",
        "second/conv",
        "second/conv#2",
        "first",
    ]
    assert [layer.weight for layer in engine.topology.layers] == ["w", "v", "v", "u"]
    assert len({node.name for node in engine.program.nodes}) == len(engine.program.nodes)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"\x00\x00\x00\x00ORTM" + b"\x00" * 20, "onnxruntime's own format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(64)), "ONNX"),
    ],
)
def test_a_file_that_is_no_model_is_refused(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=says):
        load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="not a regular file"):
        load(tmp_path)


SMALL = ("a = Conv (x, w)\ng = GlobalAveragePool (a)\ny = Flatten (g)", {"w": (4, 3, 1, 1)})


def test_what_the_file_says_of_itself_is_kept(tmp_path: Path) -> None:
    proto = network(*SMALL, inputs='float["N",3,"0","8"] x')
    proto.producer_name, proto.producer_version = "writer", "2"
    onnx.helper.set_model_props(proto, {"cfp_onnx.labels": '["a", "b"]', "cfp_onnx.preprocess": '{"layout": "NCHW"}'})
    path = saved(proto, tmp_path)
    model = load(path)
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (model.producer, model.opset) == ("writer 2", 21)
    assert model.inputs == (Port("x", (None, 3, None, 8), "float32"),)
    assert model.labels == ("a", "b")
    assert model.preprocess == {"layout": "NCHW"}


@pytest.mark.parametrize("text", ["[1, 2]", "{}", "no JSON"])
def test_labels_that_are_no_list_of_strings_are_refused(text: str, tmp_path: Path) -> None:
    proto = network(*SMALL)
    onnx.helper.set_model_props(proto, {"cfp_onnx.labels": text})
    with pytest.raises(ModelError, match=r"cfp_onnx\.labels"):
        load(saved(proto, tmp_path)).labels  # noqa: B018 - the property raises


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "missing.bin"])
def test_weights_are_read_from_the_models_folder_only(location: str, tmp_path: Path) -> None:
    proto = network(*SMALL)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(48))
    path = folder / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=str(folder)):
        load(path)
