"""Files that no converter takes, or only another one, get a sentence of advice."""

from __future__ import annotations

import pickle
import zipfile

import pytest
from fake_converter import SHAPE, refused

from cfp_onnx.conversion import call as conversion
from cfp_onnx.conversion import file_kinds
from cfp_onnx.errors import ModelError


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_pkl", ".pkl"), data)
    return path


class Weights:
    """Pickles under the names that torch gives to a tensor's parts."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return self.name


def torch_pickle(*names):
    """A pickle that names these globals; written by hand, because none of them need be importable."""
    body = b"".join(b"c" + name.replace(" ", "\n").encode() + b"\n0" for name in names)
    return b"\x80\x02" + body + b"}."


STATE = torch_pickle("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage")


MODULE = torch_pickle("collections OrderedDict", "torch.nn.modules.conv Conv3d", "torch FloatStorage")


OLD = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


FOREIGN = [
    ("m.ort", b"\x18\0\0\0ORTM" + b"\0" * 20, "format (.ort)"),
    ("hidden.bin", b"\x18\0\0\0ORTM" + b"\0" * 20, "format (.ort)"),
    ("m.onnx", b"\x08\x09", "an ONNX file already"),
    ("m.mlmodel", b"\x08\x04", "Core ML"),
    ("m.xml", b'<?xml version="1.0"?>\n<net name="m" version="11">', "OpenVINO"),
    ("m.prototxt", b'name: "net"', "Caffe"),
    ("m.caffemodel", b"\x0a\x03net", "Caffe"),
    ("m.cfg", b"[net]\nbatch=1\n", "Darknet"),
    ("m.weights", b"\0\0\0\0", "Darknet"),
    ("m.dnn", b"\x0a", "CNTK"),
    ("empty.pt", b"", "the file is empty"),
    ("pointer.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ("page.pt", b"<!DOCTYPE html><html lang='en'>", "the download went wrong"),
    ("net.py", b"import torch\n", "net.py:factory"),
    ("w.safetensors", (60).to_bytes(8, "little") + b'{"a":{}}'.ljust(60), "a bare state_dict"),
    ("old_state.pth", OLD + STATE, "a bare state_dict"),
    ("old_module.pth", OLD + MODULE, "--allow-pickle"),
    ("any.pkl", pickle.dumps({"a": 1}), "--allow-pickle"),
]


@pytest.mark.parametrize(("name", "data", "says"), FOREIGN, ids=[name for name, _, _ in FOREIGN])
def test_foreign_files_get_a_sentence_of_advice(fake, tmp_path, name, data, says):
    source = tmp_path / name
    source.write_bytes(data)
    error = refused(source, tmp_path / "o" / "m.onnx", says, python=tmp_path / "never looked at")
    assert str(source) in str(error)


@pytest.mark.parametrize(
    ("name", "data", "framework", "owner"),
    [
        ("m.pt", b"\x1c\0\0\0TFL3" + b"\0" * 20, "tensorflow", "tflite"),
        ("m.tflite", b"\x89HDF\r\n\x1a\n", "tflite", "keras"),
        ("m.h5", b"\x89HDF\r\n\x1a\n", "torch", "keras"),
    ],
)
def test_a_file_of_another_framework_is_sent_to_its_converter(tmp_path, name, data, framework, owner):
    (tmp_path / name).write_bytes(data)
    file_kinds.refuse_other(owner, tmp_path / name)
    with pytest.raises(ModelError, match=f"cfp-onnx convert {owner}"):
        conversion.convert(
            framework, tmp_path / name, tmp_path / "m.onnx", input_shape=SHAPE, python=tmp_path / "never looked at"
        )


def test_folders_and_archives_of_another_framework_are_told_by_their_content(tmp_path):
    (tmp_path / "saved").mkdir()
    file_kinds.refuse_other("keras", tmp_path / "saved")
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    file_kinds.refuse_other("tensorflow", tmp_path / "saved")
    with pytest.raises(ModelError, match="cfp-onnx convert tensorflow"):
        file_kinds.refuse_other("keras", tmp_path / "saved")
    zipped(tmp_path / "m.keras", **{"config.json": "{}", "metadata.json": "{}"})
    with pytest.raises(ModelError, match="cfp-onnx convert keras"):
        file_kinds.refuse_other("tensorflow", tmp_path / "m.keras")
    file_kinds.refuse_other("torch", "module:factory")
    file_kinds.refuse_other("torch", None)


def test_openvino_weights_are_told_by_their_neighbour(fake, tmp_path):
    (tmp_path / "m.xml").write_text("<net>")
    (tmp_path / "m.bin").write_bytes(b"1234")
    refused(tmp_path / "m.bin", tmp_path / "o.onnx", "OpenVINO")


def test_core_ml_packages_are_folders(fake, tmp_path):
    (tmp_path / "m.mlpackage").mkdir()
    refused(tmp_path / "m.mlpackage", tmp_path / "o.onnx", "Core ML")


@pytest.mark.parametrize(("data", "says"), [(STATE, "a bare state_dict"), (MODULE, "--allow-pickle")])
def test_torch_files_are_told_by_what_they_name(fake, tmp_path, data, says):
    source = zipped(tmp_path / "net.pt", archive__data_pkl=data, archive__version="3")
    refused(source, tmp_path / "m.onnx", says)


def test_a_sly_pickle_is_no_state_dict(fake, tmp_path):
    source = zipped(tmp_path / "net.pt", archive__data_pkl=torch_pickle("builtins eval"))
    refused(source, tmp_path / "m.onnx", "--allow-pickle")


PIR = b'{"base_code":{"magic":"pir","trainable":true,"version":4},"program":{"regions":[]}}'


SYMBOL = b'{\n  "nodes": [\n    {\n      "op": "null", \n      "name": "clip"}], "arg_nodes": [0], "heads": []}'


OTHERS = [
    ("net.json", PIR, "paddle"),
    ("net.pdmodel", b"\n\x08", "paddle"),
    ("net.pdiparams", b"\0\0\0\0", "paddle"),
    ("net-symbol.json", SYMBOL, "mxnet"),
    ("net-0000.params", (0x112).to_bytes(8, "little") + b"\0" * 8, "mxnet"),
]


@pytest.mark.parametrize(("name", "data", "owner"), OTHERS, ids=[name for name, _, _ in OTHERS])
def test_files_of_another_framework_name_its_converter(fake, tmp_path, name, data, owner):
    (tmp_path / name).write_bytes(data)
    says = f"type: cfp-onnx convert {owner} {tmp_path / name}"
    refused(tmp_path / name, tmp_path / "o" / "m.onnx", says, python=tmp_path / "never looked at")
    file_kinds.refuse_other(owner, tmp_path / name)


def test_a_folder_of_another_framework_names_its_converter(fake, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "inference.pdiparams").write_bytes(b"\0")
    refused(tmp_path / "net", tmp_path / "m.onnx", "convert paddle")


@pytest.mark.parametrize("name", ["plain.json", "other.params", "net.keras"])
def test_what_no_framework_surely_owns_passes(tmp_path, name):
    (tmp_path / name).write_bytes(b'{"nodes": 3, "heads": []}')
    for framework in conversion.FRAMEWORKS:
        file_kinds.refuse_other(framework, tmp_path / name)


@pytest.mark.parametrize(
    ("framework", "graph", "weights"),
    [
        ("paddle", "net.json", "net.pdiparams"),
        ("paddle", "net.pdmodel", "net.pdiparams"),
        ("mxnet", "net-symbol.json", "net-0000.params"),
        ("mxnet", "net-symbol.json", "net-0012.params"),
        ("mxnet", "net-symbol.json", "net.params"),
    ],
)
def test_a_prefix_names_a_pair_of_files(tmp_path, framework, graph, weights):
    (tmp_path / graph).write_bytes(b"{}")
    assert file_kinds.named(framework, tmp_path / "net") == tmp_path / graph
    assert file_kinds.named("torch", tmp_path / "net") == tmp_path / "net"
    assert file_kinds.weights_beside(framework, tmp_path / graph) is None
    (tmp_path / weights).write_bytes(b"w")
    (tmp_path / "another-0000.params").write_bytes(b"w")
    (tmp_path / "another.pdiparams").write_bytes(b"w")
    assert file_kinds.weights_beside(framework, tmp_path / graph) == tmp_path / weights
    assert file_kinds.weights_beside("torch", tmp_path / graph) is None


def test_two_files_that_could_be_meant_are_named(tmp_path):
    (tmp_path / "net.json").write_bytes(PIR)
    (tmp_path / "net.pdmodel").write_bytes(b"\n")
    with pytest.raises(ModelError, match=r"there are net\.json and net\.pdmodel; name one of them"):
        file_kinds.named("paddle", tmp_path / "net")
    (tmp_path / "net-symbol.json").write_bytes(SYMBOL)
    for epoch in ("0001", "0002"):
        (tmp_path / f"net-{epoch}.params").write_bytes(b"w")
    assert file_kinds.weights_beside("mxnet", tmp_path / "net-symbol.json") is None


def test_torchscript_and_weights_of_code_pass(tmp_path):
    script = zipped(tmp_path / "s.pt", s__data_pkl=MODULE, s__constants_pkl=b"x")
    file_kinds.refuse_unsupported(script)
    weights = zipped(tmp_path / "w.pth", archive__data_pkl=STATE)
    file_kinds.refuse_unsupported(weights, only_weights=True)
    file_kinds.refuse_unsupported("module:factory")
    file_kinds.refuse_unsupported(None)


def test_safetensors_are_no_pickle(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x0480)
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    assert (tmp_path / "w.safetensors").read_bytes()[:2] == b"\x80\x04"
    file_kinds.refuse_unsupported(tmp_path / "w.safetensors", only_weights=True)


def test_an_allowed_pickle_passes(tmp_path):
    file_kinds.refuse_unsupported(zipped(tmp_path / "w.pt", archive__data_pkl=MODULE), allow_pickle=True)


def test_a_missing_file(fake, tmp_path):
    refused(tmp_path / "no.pt", tmp_path / "m.onnx", "no.pt: no such file")
