"""The core's half of a conversion: a stand-in for a framework's converter, and a judge that believes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx
from cfp_onnx import cli
from cfp_onnx.conversion import call as conversion
from cfp_onnx.conversion import environments, file_kinds, keep
from cfp_onnx.errors import CfpError, DeviceError, LimitError, ModelError, OutputError, UsageError
from cfp_onnx.explanation.labels import read_labels
from cfp_onnx.model import load

CONVERTERS = Path(__file__).resolve().parents[2] / "converters"
SHAPE = (1, 3, 4, 8, 8)
CLASSES = 5

CONVERTER = """
import json, os, sys
from pathlib import Path
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

request, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
order = json.loads(Path(request["source"]).read_text())
assert Path.cwd() == out.resolve()
if order.get("crash"):
    print("half a result")
    (out / "model.onnx").write_bytes(b"half")
    raise KeyError("something deep inside")
if order.get("refuse"):
    print("a warning that nobody needs", file=sys.stderr)
    print(order["refuse"], file=sys.stderr)
    sys.exit(2)
if order.get("memory"):
    raise MemoryError("Unable to allocate 1.75 PiB")
if order.get("full"):
    raise OSError(28, "No space left on device")
if order.get("sleep"):
    child = __import__("subprocess").Popen(["sleep", "60"])
    Path(order["sleep"]).write_text(f"{os.getpid()} {child.pid}\\n")
    __import__("time").sleep(60)
if order.get("import"):
    __import__(order["import"])
if order.get("signal"):
    os.kill(os.getpid(), order["signal"])
model = onnx.load(order["model"])
onnx.save(onnx.load(order.get("written", order["model"])), out / "model.onnx", **order.get("save", {}))
run, rng, arrays = ReferenceEvaluator(model), np.random.default_rng(request["seed"]), {}
name, result = model.graph.input[0].name, model.graph.output[0].name
for k in range(order.get("clips", 3)):
    batch = order.get("batch", 2) if k == 2 else 1
    x = rng.standard_normal((batch, *order.get("shape", request["input_shape"])[1:])).astype(np.float32)
    y = run.run(None, {name: x})[0] + np.float32(order.get("add", {}).get(str(k), 0))
    arrays[f"input_{k}_{name}"], arrays[f"output_{k}_{result}"] = x, y
np.savez(out / "probe.npz", **arrays)
report = {"format": 1, "framework": "fake 1.0", "exporter": "by hand", "source_kind": "order", "opset": 17,
          "notes": ["nothing was repaired"]}
(out / "report.json").write_text(json.dumps({**report, **order.get("report", {})}))
for file in order.get("remove", []):
    (out / file).unlink()
(Path(order["log"]).write_text(json.dumps({"request": request, "python": sys.executable})))
"""


def network(path, rng, *, batch="batch", op="Relu", domain=""):
    weights = {
        "w": rng.standard_normal((6, 3, 3, 3, 3)).astype(np.float32),
        "fc": rng.standard_normal((6, CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["clip", "w"], ["a"], name="conv", pads=[1] * 6),
        helper.make_node(op, ["a"], ["b"], name="middle", domain=domain),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Flatten", ["c"], ["d"], name="flat"),
        helper.make_node("MatMul", ["d", "fc"], ["logits"], name="head"),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, [batch, *SHAPE[1:]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A converter in a folder of its own, as the one of torch."""
    folder = tmp_path / "converters" / "torch"
    folder.mkdir(parents=True)
    (folder / "convert.py").write_text(CONVERTER, "utf-8")
    (folder / "requirements.txt").write_text("fake==1.0\n", "utf-8")
    monkeypatch.setattr(conversion, "converter", lambda framework: folder)
    monkeypatch.setenv("CFP_ONNX_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def order(tmp_path, rng, fake):
    """Writes what the stand-in shall do, as the source to convert."""
    (tmp_path / "said").mkdir()
    model = network(tmp_path / "net.onnx", rng)

    def write(**options):
        source = tmp_path / "source.net"
        log = tmp_path / "said" / "log.json"
        source.write_text(json.dumps({"model": str(model), "log": str(log), **options}), "utf-8")
        return source

    return write


def make(source, out, **options):
    return conversion.convert("torch", source, out, **{"input_shape": SHAPE, "python": sys.executable, **options})


def _kept(out):
    """What stands where the model would be written, but for what the stand-in itself notes."""
    return sorted(f for f in out.parent.iterdir() if f.name != "log.json") if out.parent.is_dir() else []


def refused(source, out, says, kind=ModelError, **options):
    """Nothing may be left, and what stood there before must still stand."""
    before = sorted(out.parent.glob("*"))
    with pytest.raises(CfpError) as caught:
        make(source, out, **options)
    assert type(caught.value) is kind, caught.value
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(out.parent.glob("*")) == before
    return caught.value


# ------------------------------------------------------------------------------------------------- what is kept


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


# ---------------------------------------------------------------------------------------------- what is refused


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


# ------------------------------------------------------------------------------------- files without a converter


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


# -------------------------------------------------------------------------------------------------- environments


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CFP_ONNX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "requirements.txt").write_text("a==1\n", "utf-8")
    return tmp_path


def installer(log, *, fails=None):
    """Records commands; the first makes an interpreter."""

    def run(command):
        log.append(list(command))
        if fails == len(log):
            raise subprocess.CalledProcessError(1, command, stderr="noise\nERROR: no matching version\n")
        if "venv" in command:
            target = Path(command[-1])
            (target / "bin").mkdir(parents=True, exist_ok=True)
            (target / "bin" / "python").write_text("#!/bin/sh\n")

    return run


@pytest.mark.parametrize("uv", [None, "/somewhere/uv"])
def test_an_environment_is_made_once_and_reused(folder, monkeypatch, uv):
    monkeypatch.setattr(environments.shutil, "which", lambda name: uv)
    log, said = [], []
    first = environments.environment(
        "torch", folder, run=installer(log), progress=lambda what, done, of: said.append(what)
    )
    assert first.is_file()
    assert first.parents[1].parent == folder / "cache" / "envs"
    assert first.parents[1].name.startswith("torch-")
    assert len(log) == len(said) == 2
    assert [words[0] == (uv or sys.executable) for words in log] == [True, uv is not None]
    assert log[1][-2:] == ["-r", str(folder / "requirements.txt")]
    assert environments.environment("torch", folder, run=installer(log)) == first
    assert len(log) == 2
    assert list((folder / "cache" / "envs").iterdir()) == [first.parents[1]]


def test_other_pins_are_another_environment(folder):
    first = environments.environment("torch", folder, run=installer([]))
    (folder / "requirements.txt").write_text("a==2\n", "utf-8")
    assert environments.environment("torch", folder, run=installer([])) != first


@pytest.mark.parametrize("step", [1, 2])
def test_a_failed_installation_leaves_nothing_and_says_what_to_type(folder, step):
    with pytest.raises(DeviceError) as caught:
        environments.environment("torch", folder, run=installer([], fails=step))
    assert caught.value.exit_code == 3
    assert "could not be made (ERROR: no matching version); type: " in str(caught.value)
    assert f"-r {folder / 'requirements.txt'}" in str(caught.value)
    assert "--python" in str(caught.value)
    assert list((folder / "cache" / "envs").iterdir()) == []


def test_an_interrupted_installation_leaves_nothing(folder):
    def interrupted(command):
        installer([])(command)
        if "install" in command:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.environment("torch", folder, run=interrupted)
    assert list((folder / "cache" / "envs").iterdir()) == []


def test_the_faster_of_two_processes_wins(folder):
    log = []

    def run(command):
        installer(log)(command)
        if "install" in command:
            environments.environment("torch", folder, run=installer([]))

    assert environments.environment("torch", folder, run=run).is_file()
    assert len(list((folder / "cache" / "envs").iterdir())) == 1


def limited(folder, monkeypatch, own, found):
    """Requirements for Python 3.10 and 3.11, a core that runs `own`, and programs on PATH."""
    (folder / "requirements.txt").write_text("# requires-python: >=3.10,<3.12\na==1\n", "utf-8")
    monkeypatch.setattr(environments.platform, "python_version", lambda: f"{own}.0")
    monkeypatch.setattr(environments.platform, "python_version_tuple", lambda: (*own.split("."), "0"))
    monkeypatch.setattr(environments.shutil, "which", lambda name: f"/somewhere/{name}" if name in found else None)


@pytest.mark.parametrize(
    ("own", "found", "base"),
    [
        ("3.11", ["python3.11", "python3.10"], sys.executable),
        ("3.11", ["uv"], sys.executable),
        ("3.10", [], sys.executable),
        ("3.12", ["uv", "python3.11"], ">=3.10,<3.12"),
        ("3.9", ["uv"], ">=3.10,<3.12"),
        ("3.12", ["python3.12", "python3.11", "python3.10"], "/somewhere/python3.11"),
        ("3.14", ["python3.10"], "/somewhere/python3.10"),
    ],
)
def test_an_environment_gets_a_python_that_its_pins_work_with(folder, monkeypatch, own, found, base):
    limited(folder, monkeypatch, own, found)
    log = []
    environments.environment("mxnet", folder, run=installer(log))
    make = next(words for words in log if "venv" in words)
    assert base in make
    assert make[0] == ("/somewhere/uv" if "uv" in found else base)


def test_a_python_on_the_path_that_does_not_run_is_passed_over(folder, monkeypatch):
    limited(folder, monkeypatch, "3.13", ["python3.11", "python3.10"])
    log = []

    def run(command):
        if command[0] == "/somewhere/python3.11":
            raise subprocess.CalledProcessError(127, command, stderr="command not found\n")
        installer(log)(command)

    environments.environment("mxnet", folder, run=run)
    assert log[0][:2] == ["/somewhere/python3.10", "-c"]
    assert log[1][:3] == ["/somewhere/python3.10", "-m", "venv"]


@pytest.mark.parametrize("found", [[], ["python3.12"], ["python3.11"]])
def test_without_a_python_that_fits_the_sentence_says_which(folder, monkeypatch, found):
    limited(folder, monkeypatch, "3.13", found)

    def run(command):
        raise OSError(2, "No such file or directory", command[0])

    with pytest.raises(DeviceError) as caught:
        environments.environment("mxnet", folder, run=run)
    assert str(caught.value) == (
        "mxnet needs Python 3.10 or newer, below 3.12, and this is 3.13; install one so that PATH has python3.11 or "
        "python3.10, or name an environment with --python"
    )
    assert not (folder / "cache").exists()


def test_what_is_to_be_typed_names_the_python_that_fits(folder, monkeypatch):
    limited(folder, monkeypatch, "3.13", ["python3.11"])

    def run(command):
        if "install" in command:
            raise subprocess.CalledProcessError(1, command, stderr="ERROR: no\n")
        installer([])(command)

    with pytest.raises(DeviceError, match=r"type: /somewhere/python3\.11 -m venv"):
        environments.environment("mxnet", folder, run=run)


@pytest.mark.parametrize("file", sorted(CONVERTERS.glob("*/requirements.txt")), ids=lambda file: file.parent.name)
def test_requirements_that_speak_of_python_are_understood(file):
    lines = [line for line in file.read_text("utf-8").splitlines() if "requires-python" in line]
    lowest, end = environments.python_limits(file)
    assert (lowest < end < (sys.maxsize,)) if lines else lowest == (0, 0)
    assert len(lines) <= 1


def test_an_environment_of_ones_own(tmp_path, folder):
    assert environments.environment("torch", folder, python=sys.executable) == Path(sys.executable)
    prefix = Path(sys.executable).parents[1]
    assert environments.environment("torch", folder, python=prefix).parents[1] == prefix
    with pytest.raises(UsageError, match="neither a Python interpreter nor the folder of an environment"):
        environments.environment("torch", folder, python=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("#!/bin/sh\nexit 0\n", "is no Python interpreter"),
        ("#!/bin/sh\necho ready\n", "is no Python interpreter"),
        ("#!/no/such/shell\n", "cannot be run"),
    ],
)
def test_other_programs_are_no_interpreter(tmp_path, folder, script, says):
    program = tmp_path / "program"
    program.write_text(script)
    with pytest.raises(UsageError, match="cannot be run"):
        environments.environment("torch", folder, python=program)
    program.chmod(0o755)
    with pytest.raises(UsageError, match=says):
        environments.environment("torch", folder, python=program)


def test_an_installation_that_fills_the_disk_says_so(folder, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(environments.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(DeviceError, match="no space is left in"):
        environments.environment("torch", folder, run=installer([], fails=2))


def test_a_cache_that_cannot_be_made_is_named_with_what_to_set(folder, monkeypatch):
    (folder / "cache").write_text("a file", "utf-8")
    with pytest.raises(DeviceError, match=r"can be made in .*envs \(Not a directory\); set CFP_ONNX_CACHE to a folder"):
        environments.environment("torch", folder, run=pytest.fail)


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("CFP_ONNX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environments.cache_folder() == tmp_path / "cfp_onnx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environments.cache_folder() == tmp_path / ".cache" / "cfp_onnx"


def test_an_installation_really_runs_commands():
    environments._run_install([sys.executable, "-c", "pass"])
    with pytest.raises(subprocess.CalledProcessError):
        environments._run_install([sys.executable, "-c", "raise SystemExit(3)"])


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


# -------------------------------------------------------------------------------------------------- command line


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
