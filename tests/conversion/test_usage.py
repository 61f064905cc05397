"""Arguments that contradict each other or the network, and places that cannot be written to."""

from __future__ import annotations

import numpy as np
import pytest
from fake_converter import SHAPE, make, refused

import cfp_onnx
from cfp_onnx.conversion import call as conversion
from cfp_onnx.conversion import file_kinds
from cfp_onnx.errors import OutputError, UsageError


def test_labels_are_counted(order, tmp_path):
    refused(order(), tmp_path / "m.onnx", "has 5 classes; it is made for another model", UsageError, labels=["a", "b"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frames": 8}, "8 frames contradict the network, which takes 4"),
        ({"size": 9}, "9x9 pixels contradict"),
        ({"preprocess": cfp_onnx.Preprocess(size=(8, 9))}, "8x9 pixels contradict"),
        ({"layout": "NTHWC"}, "NTHWC"),
        ({"layout": "NCTHX"}, "layout 'NCTHX' is unknown"),
    ],
)
def test_what_contradicts_the_network_is_refused(order, tmp_path, options, says):
    refused(order(), tmp_path / "m.onnx", says, UsageError, **options)


def test_a_place_that_cannot_be_written_is_refused(order, tmp_path):
    (tmp_path / "file").write_text("")
    refused(order(), tmp_path / "file" / "m.onnx", "cannot write", OutputError)


def test_places_are_looked_at_before_anything_is_run(fake, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for out, says in (("folder", "it is a folder"), ("file/m.onnx", "it is no folder"), ("file/a/m.onnx", "no folder")):
        with pytest.raises(OutputError, match=says):
            make("x.pt", tmp_path / out, python=tmp_path / "never looked at")


def test_archives_of_numpy_hold_weights_only(fake, tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    refused(tmp_path / "w.npz", tmp_path / "m.onnx", "a bare state_dict", python="never")
    file_kinds.refuse_unsupported(tmp_path / "w.npz", only_weights=True)


def test_a_folder_is_no_file_of_torch(fake, tmp_path):
    (tmp_path / "folder").mkdir()
    says = "give the file that holds the weights"
    refused("net:make", tmp_path / "m.onnx", says, UsageError, weights=tmp_path / "folder", python="never")
    refused(tmp_path / "folder", tmp_path / "m.onnx", "PyTorch's files are single", UsageError, python="never")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": None}, "give a SOURCE"),
        ({"source": None, "arch": "mfnet", "framework": "keras"}, "leave it out for keras"),
        ({"source": "x.pt", "classes": 7}, "--classes belongs to --arch"),
        ({"source": "x.pt", "arch": "mfnet"}, "--arch brings its own code"),
        ({"source": "x.pt", "input_shape": None}, "--input-shape 1,3,16,112,112"),
        ({"source": "x.pt", "weights": "w.pth"}, "--weights belongs to"),
        (
            {"source": "x.keras", "weights": "w.h5", "framework": "keras"},
            "bring their own weights; leave --weights out",
        ),
        (
            {"source": "x.msgpack", "framework": "jax"},
            "x.msgpack: JAX has no file that holds a network without its code",
        ),
    ],
)
def test_arguments_that_contradict_each_other(fake, tmp_path, options, says):
    call = {"framework": "torch", "input_shape": SHAPE, **options}
    framework, source = call.pop("framework"), call.pop("source")
    with pytest.raises(UsageError, match=says):
        conversion.convert(framework, source, tmp_path / "m.onnx", **call)
