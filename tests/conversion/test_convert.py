"""The core's half of a conversion: a stand-in for a framework's converter, and a judge that believes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_converter import CLASSES, SHAPE, make, network, refused
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx
from cfp_onnx.cli import main as cli
from cfp_onnx.conversion import call as conversion
from cfp_onnx.conversion import environments, file_kinds, keep
from cfp_onnx.errors import DeviceError, LimitError, OutputError, UsageError
from cfp_onnx.explanation.labels import read_labels
from cfp_onnx.model import load


def test_a_conversion_is_kept_with_what_is_known_about_it(order, tmp_path):
    source = order()
    labels = [f"class {k}" for k in range(CLASSES)]
    preprocess = cfp_onnx.PRESETS["i3d"]
    done = make(source, tmp_path / "new" / "m.onnx", labels=labels, preprocess=preprocess, layout="NCTHW")
    assert (done.framework, done.exporter, done.kind, done.opset) == ("fake 1.0", "by hand", "order", 17)
    assert done.notes == ("nothing was repaired",)
    assert (done.clips, done.layers, done.coverage) == (3, 2, 1.0)
    assert 0 <= done.difference < 1e-4
    model = load(done.path)
    assert model.labels == tuple(labels)
    assert model.preprocess == {
        **preprocess.to_json(), "frames": 4, "size": [8, 8], "short_side": 9, "layout": "NCTHW"
    }  # fmt: skip
    own = json.loads(model.metadata["cfp_onnx.source"])
    digest = subprocess.run(["sha256sum", source], capture_output=True, text=True, check=True).stdout.split()[0]
    assert own == {"sha256": digest, "framework": "fake 1.0", "exporter": "by hand", "kind": "order"}
    assert str(tmp_path).encode() not in done.path.read_bytes()
    assert list((tmp_path / "new").iterdir()) == [done.path]


def test_the_file_explains_itself(order, tmp_path, rng):
    done = make(order(), tmp_path / "m.onnx", labels=list("abcde"), preprocess=cfp_onnx.Preprocess(mean=(0.5,) * 3))
    pyramid = cfp_onnx.explain(done.path, rng.integers(0, 256, (6, 10, 12, 3)).astype(np.uint8), target="c")
    assert (pyramid.target["index"], pyramid.target["label"]) == (2, "c")


def test_without_knowledge_no_metadata_but_the_source(order, tmp_path):
    assert set(load(make(order(), tmp_path / "m.onnx").path).metadata) == {"cfp_onnx.source"}


def test_the_request_keeps_the_contract(order, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("source.net" if order() else "", tmp_path / "m.onnx", batch=1, opset=18, seed=7, labels=list("abcde"))
    said = json.loads((tmp_path / "said" / "log.json").read_text("utf-8"))
    assert Path(said["python"]) == Path(sys.executable)
    assert said["request"] == {
        "format": 1, "source": str(tmp_path / "source.net"), "weights": None, "arch": None, "classes": None,
        "frames": None, "size": None, "input_shape": list(SHAPE), "layout": None, "batch": 1, "opset": 18,
        "allow_pickle": False, "labels": list("abcde"), "preprocess": None, "seed": 7, "cwd": str(tmp_path),
    }  # fmt: skip


def test_weights_beside_the_model_stay_beside_it(order, tmp_path):
    source = order(save={"save_as_external_data": True, "location": "w.bin", "size_threshold": 0})
    out = tmp_path / "big" / "m.onnx"
    make(source, out)
    assert sorted(f.name for f in out.parent.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert cfp_onnx.topology(out).coverage.channels == 1.0


def test_old_weights_beside_a_model_survive_a_full_disk(order, tmp_path, monkeypatch):
    source = order(save={"save_as_external_data": True, "location": "w.bin", "size_threshold": 0})
    out = tmp_path / "big" / "m.onnx"
    make(source, out)
    before = {f.name: f.read_bytes() for f in out.parent.iterdir()}

    def full(path, data):
        raise OutputError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(keep, "write_bytes", full)
    (out.parent / "m.onnx.data").write_bytes(b"old")
    refused(source, out, "No space left", OutputError)
    assert {f.name: f.read_bytes() for f in out.parent.iterdir()} == {**before, "m.onnx.data": b"old"}


def test_the_hash_of_a_folder_is_over_names_and_bytes(tmp_path):
    from cfp_onnx.conversion.keep import _digest

    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"1")
    first = _digest(tmp_path / "a")
    (tmp_path / "a" / "b" / "x").rename(tmp_path / "a" / "b" / "y")
    assert _digest(tmp_path / "a") != first


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


def test_the_old_file_survives_a_refusal(order, tmp_path):
    out = tmp_path / "o" / "m.onnx"
    make(order(), out)
    before = out.read_bytes()
    refused(order(add={"0": 1}), out, "not the same network")
    assert out.read_bytes() == before


def test_a_crash_is_one_sentence_and_the_rest_for_debug(order, tmp_path):
    error = refused(order(crash=True), tmp_path / "m.onnx", "the torch converter failed: KeyError: 'something deep")
    assert "Traceback" in str(error.__cause__)


def test_a_refusal_is_passed_on(order, tmp_path):
    error = refused(order(refuse="net.pt: no network; give another"), tmp_path / "m.onnx", "net.pt: no network")
    assert str(error) == "net.pt: no network; give another"


def test_an_environment_that_lacks_its_framework_is_named(order, tmp_path):
    error = refused(order(**{"import": "cfp_no_such_framework"}), tmp_path / "m.onnx", "lacks cfp_no", DeviceError)
    assert f"{sys.executable} -m pip install -r" in str(error)
    assert error.exit_code == 3


def test_a_killed_converter_is_a_limit(order, tmp_path):
    assert refused(order(signal=9), tmp_path / "m.onnx", "ended by signal 9", LimitError).exit_code == 4


@pytest.mark.parametrize("file", ["model.onnx", "probe.npz", "report.json"])
def test_each_result_is_needed(order, tmp_path, file):
    refused(order(remove=[file]), tmp_path / "m.onnx", "left no usable result")


def test_a_program_that_writes_nothing_is_named(order, tmp_path):
    refused(order(remove=["report.json"]), tmp_path / "m.onnx", "no usable result: it ended without a report")


def test_a_full_disk_is_named(order, tmp_path):
    refused(order(full=True), tmp_path / "m.onnx", "no space is left in", OutputError)


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "ended by SIGTERM"), ("SIGHUP", 129, "ended by SIGHUP")],
)
def test_an_interrupted_converter_leaves_nothing(order, tmp_path, monkeypatch, capsys, name, code, says):
    import signal
    import tempfile
    import threading
    import time

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    started = tmp_path / "started"
    number = signal.Signals[name]
    usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    before = signal.signal(number, usual)  # a run in the background may ignore it, as the program then does too

    def interrupt():
        while not (started.is_file() and started.read_text().endswith("\n")):
            time.sleep(0.01)
        os.kill(os.getpid(), number)  # to the process: the main thread wakes up

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    call = ["convert", "torch", order(sleep=str(started)), "-o", tmp_path / "m.onnx", "--input-shape", "1,3,4,8,8",
            "--python", sys.executable]  # fmt: skip
    try:
        assert cli.main([str(a) for a in call]) == code
        waiting.join()
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == f"cfp-onnx: error: {says}\n"
    for child in started.read_text().split():
        stat = Path(f"/proc/{child}/stat")
        for _ in range(1000):  # killed at once; the system may need a moment to clear it away
            try:
                if ") Z " in stat.read_text():
                    break
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.01)
        else:
            pytest.fail("it still runs")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "m.onnx").exists()


def test_an_unknown_report_is_refused(order, tmp_path):
    refused(order(report={"format": 2}), tmp_path / "m.onnx", "left no usable result")


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
    model.graph.node.append(helper.make_node("ArgMax", ["scores"], ["logits"], name="choice", axis=1))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
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


def test_labels_of_another_form_get_a_sentence(tmp_path):
    (tmp_path / "latin.txt").write_bytes("caf\u00e9\nbar\n".encode("latin-1"))
    (tmp_path / "table.json").write_text('{"cafe": 0, "bar": 1}', "utf-8")
    with pytest.raises(UsageError, match="save it as text in UTF-8"):
        read_labels(tmp_path / "latin.txt")
    with pytest.raises(UsageError, match="is not a JSON list of strings"):
        read_labels(tmp_path / "table.json")


def test_labels_are_counted(order, tmp_path):
    refused(order(), tmp_path / "m.onnx", "2 labels but the network has 5 classes", UsageError, labels=["a", "b"])


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


def test_a_converter_without_memory_is_a_limit(order, tmp_path):
    refused(order(memory=True), tmp_path / "m.onnx", "give a smaller --input-shape", LimitError)


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


def test_the_weights_beside_are_asked_for_and_hashed(order, tmp_path):
    source = order()
    graph = source.rename(tmp_path / "net.json")
    (tmp_path / "net.pdiparams").write_bytes(b"weights")
    done = conversion.convert("paddle", tmp_path / "net", tmp_path / "m.onnx", input_shape=SHAPE, python=sys.executable)
    said = json.loads((tmp_path / "said" / "log.json").read_text("utf-8"))["request"]
    assert (said["source"], said["weights"]) == (str(graph), str(tmp_path / "net.pdiparams"))
    own = json.loads(load(done.path).metadata["cfp_onnx.source"])
    assert own["sha256"] == hashlib.sha256(graph.read_bytes()).hexdigest()
    assert own["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()


def test_a_made_environment_converts(order, tmp_path, monkeypatch):
    """The whole way without --python, with an installation that links the running interpreter."""

    def install(command):
        if "venv" in command:
            place = Path(command[-1])
            (place / "bin").mkdir(parents=True, exist_ok=True)
            script = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
            (place / "bin" / "python").write_text(script)
            (place / "bin" / "python").chmod(0o755)

    monkeypatch.setattr(environments, "_run_install", install)
    assert make(order(), tmp_path / "m.onnx", python=None).layers == 2


@pytest.fixture
def call(capsys):
    def run(*argv):
        code = cli.main([str(a) for a in argv])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_the_command(call, order, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abcde"))
    code, out, err = call(
        "convert", "torch", order(), "-o", tmp_path / "m.onnx", "--input-shape", "1,3,4,8,8", "--python",
        sys.executable, "--labels", labels, "--mean", "0.5", "--std", "0.25", "--size", "8", "--frames", "4",
        "--layout", "NCTHW",
    )  # fmt: skip
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(tmp_path / "m.onnx")
    assert lines[1] == "fake 1.0, order, written by by hand, opset 17"
    assert lines[2].startswith("2 layers, 100% of their channels traced; outputs of 3 random clips differ")
    assert lines[3] == "note: nothing was repaired"
    model = load(tmp_path / "m.onnx")
    assert model.labels == tuple("abcde")
    assert model.preprocess["mean"] == [0.5]
    assert model.preprocess["std"] == [0.25]
    assert model.preprocess["layout"] == "NCTHW"


def test_a_preset_is_fitted_and_its_parts_give_way(call, order, tmp_path):
    code, _, err = call(
        "convert", "torch", order(), "-o", tmp_path / "m.onnx", "--input-shape", "1,3,4,8,8", "--python",
        sys.executable, "--preset", "mfnet", "--std", "1,1,0.5",
    )  # fmt: skip
    assert (code, err) == (0, "")
    value = load(tmp_path / "m.onnx").preprocess
    assert (value["size"], value["frames"], value["std"]) == ([8, 8], 4, [1.0, 1.0, 0.5])
    assert value["mean"] == list(cfp_onnx.PRESETS["mfnet"].mean)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (
            ["keras3", "x", "-o", "m.onnx"],
            "there is no converter for framework 'keras3'; choose one of torch, keras, tensorflow, tflite, jax,",
        ),
        (["torch", "x.pt", "-o", "-"], "-o needs the name of a file"),
        (["torch", "x.pt"], "-o/--out"),
        (["torch", "x.pt", "-o", "m.onnx", "--batch", "few"], "--batch"),
        (["torch", "x.pt", "-o", "m.onnx", "--input-shape", "1,3", "--input-shape", "1,4"], "a name for each"),
        (["torch", "x.pt", "-o", "m.onnx", "--preset", "no"], "preset 'no' is unknown"),
        (["torch", "x.pt", "-o", "m.onnx", "--input-shape", "1,3,4,8,8"], "x.pt: no such file"),
        (["torch", "x.pt", "-o", "m.onnx"], "--input-shape 1,3,16,112,112"),
    ],
)
def test_wrong_usage_is_one_line(call, tmp_path, monkeypatch, argv, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("convert", *argv)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert list(tmp_path.iterdir()) == []


def test_the_source_is_never_overwritten(call, order, tmp_path):
    source = order()
    code, _, err = call("convert", "torch", source, "-o", source, "--input-shape", "1,3,4,8,8")
    assert code == 2
    assert "is an input of this command" in err


def test_debug_shows_all_that_the_converter_said(call, order, tmp_path):
    code, _, err = call(
        "convert", "torch", order(crash=True), "-o", tmp_path / "m.onnx", "--input-shape", "1,3,4,8,8", "--python",
        sys.executable, "--debug",
    )  # fmt: skip
    assert code == 2
    assert 'raise KeyError("something deep inside")' in err


@pytest.mark.parametrize(
    ("arch", "preset"),
    [
        ("resnet50-3d", "resnet3d"), ("resnet18-3d-a", "resnet3d"), ("resnext101-3d", "resnext101-3d"),
        ("mfnet", "mfnet"), ("i3d", "i3d"), ("nobody", None), (None, None),
    ],
)  # fmt: skip
def test_built_in_networks_bring_their_preprocessing(arch, preset):
    assert keep.preset_of(arch) == (None if preset is None else cfp_onnx.PRESETS[preset])
