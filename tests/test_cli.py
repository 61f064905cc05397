"""The command line: contract keys, exit codes, one line per failure, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cfp_onnx
from cfp_onnx import cli

CLIP = (1, 3, 4, 8, 8)


def save(path, nodes, weights, *, shape=CLIP, outputs=("y",), metadata=None, opset=17, domains=()):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(graph, opset_imports=imports, producer_name="tests", ir_version=9)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def tiny_weights(rng):
    return {
        "w1": rng.standard_normal((6, 3, 3, 3, 3)).astype(np.float32),
        "w2": rng.standard_normal((6, 3, 1, 1, 1)).astype(np.float32),
        "fc": rng.standard_normal((6, 4)).astype(np.float32),
    }


TINY = [
    helper.make_node("Conv", ["clip", "w1"], ["a"], name="conv1", pads=[1] * 6),
    helper.make_node("Relu", ["a"], ["b"], name="relu1"),
    helper.make_node("Conv", ["b", "w2"], ["c"], name="conv2", group=2),
    helper.make_node("Add", ["b", "c"], ["d"], name="add"),
    helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
    helper.make_node("Flatten", ["e"], ["f"], name="flat"),
    helper.make_node("MatMul", ["f", "fc"], ["y"], name="head"),
]


@pytest.fixture
def tiny(tmp_path, rng):
    return save(tmp_path / "tiny.onnx", TINY, tiny_weights(rng))


@pytest.fixture
def clip(tmp_path, rng):
    file = tmp_path / "clip.npy"
    np.save(file, rng.standard_normal(CLIP).astype(np.float32))
    return file


@pytest.fixture
def frames(tmp_path, rng):
    file = tmp_path / "frames.npy"
    np.save(file, rng.integers(0, 256, (6, 10, 12, 3)).astype(np.uint8))
    return file


@pytest.fixture
def call(capsys):
    """Runs a command in this process: exit code, stdout, stderr."""

    def run(*argv):
        code = cli.main([str(a) for a in argv])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture
def refuses(call):
    """A failure: exit code 2, one line on stderr that holds the words, nothing on stdout."""

    def run(*argv, says, code=2):
        got, out, err = call(*argv)
        assert got == code, err
        assert out == ""
        assert err.startswith("cfp-onnx: error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        assert "--debug" not in err, f"an unforeseen failure: {err}"
        assert says in err, err
        return err

    return run


def strict(text):
    def no(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=no)


# ------------------------------------------------------------------------------------------ what is promised


def test_explain_json_has_the_promised_keys(call, tiny, clip, tmp_path):
    code, out, err = call("explain", tiny, clip, "--json", tmp_path / "p.json", "-o", tmp_path / "new" / "out")
    assert (code, err) == (0, "")
    assert "conv1" in out
    assert "Ranks hold within a layer" in out
    value = strict((tmp_path / "p.json").read_text("utf-8"))
    assert value == strict((tmp_path / "new" / "out" / "pyramid.json").read_text("utf-8"))
    assert (value["schema"], value["schema_version"]) == ("cfp-onnx/pyramid", 1)
    assert set(value["model"]) >= {"file", "sha256", "producer", "opset"}
    assert set(value["input"]) >= {"file", "sha256", "shape", "layout"}
    assert set(value["run"]) >= {
        "rule", "class_step", "theta", "top_k", "depth", "provider", "onnxruntime", "output_difference",
        "undefined",
    }  # fmt: skip
    assert set(value["target"]) >= {"output", "index", "label", "score", "top"}
    assert set(value["coverage"]) >= {"channels", "layers", "operators_unknown"}
    for layer in value["layers"]:
        assert set(layer) >= {
            "name", "op", "weight", "nodes", "kernels", "channels", "groups", "kernel_shape", "depth",
            "relevance",
        }  # fmt: skip
        assert len(layer["relevance"]) == layer["kernels"]
    assert [x["name"] for x in value["layers"]] == ["conv1", "conv2", "head"]
    assert [level["depth"] for level in value["levels"]] == [1, 2]
    for edge in value["edges"]:
        for channel in edge["channels"]:
            assert sum(s["share"] for s in channel["sources"]) == pytest.approx(1)
    head = [e for e in value["edges"] if e["layer"] == "head"]
    assert [e["kernel"] for e in head] == [value["target"]["index"]]


def test_inspect_json_has_the_promised_keys(call, tiny):
    code, out, err = call("inspect", tiny, "--json", "-")
    assert (code, err) == (0, "")
    value = strict(out)
    assert (value["schema"], value["schema_version"]) == ("cfp-onnx/topology", 1)
    assert set(value) >= {"model", "coverage", "layers", "wires", "branches", "shortcuts", "gates", "fibers"}
    assert value["fibers"] == [{"layer": "conv2", "groups": 2, "split": False}]


def test_inspect_writes_its_files_and_a_tree(call, tiny, tmp_path):
    code, out, _ = call("inspect", tiny, "--json", tmp_path / "t.json", "--graphml", tmp_path / "t.graphml")
    assert code == 0
    assert "conv2" in out
    assert strict((tmp_path / "t.json").read_text("utf-8"))["schema"] == "cfp-onnx/topology"
    assert "<graphml" in (tmp_path / "t.graphml").read_text("utf-8")


@pytest.mark.parametrize("rule", ["positional", "active", "published", "mean"])
def test_every_rule_runs(call, tiny, clip, rule):
    code, out, err = call("explain", tiny, clip, "--rule", rule, "--depth", "all", "--json", "-")
    assert (code, err) == (0, "")
    assert strict(out)["run"]["rule"] == rule


def test_options_reach_the_result(call, tiny, clip, tmp_path):
    (tmp_path / "labels.txt").write_text("run\nswim\nskate\nthrow\n")
    code, out, _ = call(
        "explain", tiny, clip, "--class", "swim", "--labels", tmp_path / "labels.txt", "--theta", "0.25",
        "--top-k", "2", "--depth", "1", "--class-step", "contribution", "--output", "y", "--device", "cpu",
        "--threads", "1", "--json", "-",
    )  # fmt: skip
    assert code == 0
    value = strict(out)
    assert (value["target"]["index"], value["target"]["label"]) == (1, "swim")
    assert (value["run"]["theta"], value["run"]["top_k"], value["run"]["depth"]) == (0.25, 2, 1)
    assert value["run"]["class_step"] == "contribution"
    assert max(len(level["kernels"]) for level in value["levels"]) <= 2


def test_the_default_is_the_top_class(call, tiny, clip):
    value = strict(call("explain", tiny, clip, "--json", "-")[1])
    assert value["target"]["index"] == value["target"]["top"][0][0]


def test_options_override_a_file_which_overrides_the_model(call, tmp_path, frames, rng):
    own = json.dumps({"mean": [0.5], "std": [0.5], "size": [8, 8]})
    model = save(tmp_path / "own.onnx", TINY, tiny_weights(rng), metadata={"cfp_onnx.preprocess": own})
    (tmp_path / "pre.json").write_text(json.dumps({"mean": [0.1], "std": [0.3]}))

    def scores(*more):
        code, out, err = call("explain", model, frames, "--class", "0", *more, "--json", "-")
        assert code == 0, err
        return strict(out)["target"]["score"]

    by_hand = scores("--mean", "0.5", "--std", "0.5,0.5,0.5")
    assert scores() == pytest.approx(by_hand)
    of_file = scores("--preprocess", tmp_path / "pre.json")
    assert of_file != pytest.approx(by_hand)
    assert scores("--preprocess", tmp_path / "pre.json", "--mean", "0.5", "--std", "0.5") == pytest.approx(by_hand)
    assert scores("--mean", "0.1", "--std", "0.3") == pytest.approx(of_file)
    assert scores("--preset", "i3d") == pytest.approx(by_hand, rel=0.9)


def test_open_sizes_are_given_with_or_without_a_name(call, tmp_path, rng):
    open_model = save(tmp_path / "open.onnx", TINY, tiny_weights(rng), shape=("n", 3, "t", "h", "w"))
    for given in ("clip=1,3,5,9,9", "1,3,5,9,9"):
        assert call("inspect", open_model, "--input-shape", given, "--json", "-")[0] == 0


def test_the_demo_prints_where_its_result_is(call, tmp_path):
    code, out, err = call("demo", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    folder = tmp_path / "out"
    assert out.splitlines()[-1] == str(folder / "report.html")
    assert {f.name for f in folder.iterdir()} == {"report.html", "pyramid.json", "tubes.npz", "tubes"}
    value = strict((folder / "pyramid.json").read_text("utf-8"))
    assert value["run"]["depth"] == "all"
    assert value["coverage"]["channels"] == 1


def test_doctor_answers(call):
    code, out, _ = call("doctor")
    assert code in (0, 3)
    assert "onnxruntime" in out
    assert (code == 0) == ("no problems found" in out)


# -------------------------------------------------------------------------------------------------- refusals


def test_no_model(refuses, clip, tmp_path):
    refuses("explain", tmp_path / "none.onnx", clip, says="no such file")
    refuses("inspect", tmp_path / "none.onnx", says="no such file")
    refuses("inspect", tmp_path, says="not a regular file")


def test_not_onnx(refuses, clip, tmp_path):
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.onnx").write_text("this is a text\n")
    for name, says in [("noise", "not a"), ("empty", "empty"), ("text", "not a")]:
        refuses("inspect", tmp_path / f"{name}.onnx", says=says)
        refuses("explain", tmp_path / f"{name}.onnx", clip, says=says)


def test_a_damaged_file(refuses, tiny):
    tiny.write_bytes(tiny.read_bytes()[:-200])
    refuses("inspect", tiny, says="tiny.onnx")


def test_no_layer(refuses, clip, tmp_path):
    model = save(tmp_path / "relu.onnx", [helper.make_node("Relu", ["clip"], ["y"], name="r")], {})
    refuses("explain", model, clip, says="no convolution and no dense layer")
    refuses("inspect", model, says="no convolution and no dense layer")


def test_unknown_operator_is_named(refuses, call, clip, tmp_path, rng):
    nodes = [
        TINY[0],
        helper.make_node("Det", ["square"], ["det"], name="odd"),
        helper.make_node("Reshape", ["a", "to"], ["square"], name="shape"),
        helper.make_node("Flatten", ["det"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "head"], ["y"], name="head"),
    ]
    weights = {
        "w1": tiny_weights(rng)["w1"],
        "to": np.array([1, 6, 4, 8, 8], np.int64),
        "head": rng.standard_normal((24, 3)).astype(np.float32),
    }
    model = save(tmp_path / "det.onnx", [nodes[0], nodes[2], nodes[1], *nodes[3:]], weights)
    err = refuses("inspect", model, says="Det")
    assert "odd" in err
    assert "cfp_onnx/graph/operators/" in err
    refuses("explain", model, clip, says="Det")
    code, out, _ = call("inspect", model, "--allow-barriers")
    assert code == 0
    assert "INCOMPLETE" in out
    assert "Det" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--class", "4"], "out of range"),
        (["--class", "-1"], "out of range"),
        (["--class", "99999999999999999999"], "out of range"),
        (["--class", "archery"], "'archery' is unknown"),
        (["--output", "nothing"], "no output 'nothing'"),
        (["--rule", "zminus"], "zminus"),
        (["--rule", "magic"], "magic"),
        (["--class-step", "weights"], "weights"),
        (["--theta", "1.5"], "theta"),
        (["--theta", "nan"], "theta"),
        (["--theta", "x"], "--theta"),
        (["--top-k", "0"], "--top-k"),
        (["--depth", "0"], "depth"),
        (["--depth", "deep"], "depth"),
        (["--size", "112"], "--size"),
        (["--mean", "1,2"], "--mean"),
        (["--std", "0"], "std"),
        (["--frames", "-3"], "--frames"),
        (["--device", "tpu"], "tpu"),
        (["--preset", "vgg"], "vgg"),
        (["--preset", "i3d", "--preprocess", "x.json"], "not allowed with"),
        (["--preprocess", "none.json"], "none.json"),
        (["--labels", "none.txt"], "none.txt"),
        (["--layout", "NCHW"], "NCHW"),
        (["--json", ""], "empty"),
        (["--wrong"], "--wrong"),
        (["--the", "0.5"], "--the"),
    ],
)
def test_wrong_options(refuses, tiny, clip, options, says):
    refuses("explain", tiny, clip, *options, says=says)


@pytest.mark.parametrize("argv", [[], ["explain"], ["explain", "model.onnx"], ["compare", "a", "b"], ["--json", "-"]])
def test_wrong_usage(refuses, argv):
    refuses(*argv, says="see cfp-onnx")


@pytest.mark.parametrize("given", ["other=1,3,4,8,8", "1,3,4,8", "clip=1,3,5,8,8", "clip=1,3,a,8,8", "clip="])
def test_wrong_input_shapes(refuses, tiny, given):
    refuses("inspect", tiny, "--input-shape", given, says="")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((1, 3, 4, 8, 9), np.float32), "(1, 3, 4, 8, 9)"),
        (np.zeros((1, 4, 4, 8, 8), np.float32), "(1, 4, 4, 8, 8)"),
        (np.zeros((1, 3, 2, 8, 8), np.float32), "(1, 3, 2, 8, 8)"),
        (np.full(CLIP, np.nan, np.float32), "NaN"),
        (np.zeros((6, 10, 12, 4), np.uint8), ""),
    ],
)
def test_clips_that_do_not_fit(refuses, tiny, tmp_path, array, says):
    np.save(tmp_path / "bad.npy", array)
    refuses("explain", tiny, tmp_path / "bad.npy", says=says)


def test_clips_that_cannot_be_read(refuses, tiny, tmp_path):
    refuses("explain", tiny, tmp_path / "none.mp4", says="none.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    refuses("explain", tiny, tmp_path / "empty.mp4", says="empty")
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)))
    refuses("explain", tiny, tmp_path / "noise.mp4", says="noise.mp4")
    (tmp_path / "folder").mkdir()
    refuses("explain", tiny, tmp_path / "folder", says="no frames")


def test_a_clip_that_is_too_short(refuses, tiny, frames):
    refuses("explain", tiny, frames, "--stride", "3", says="6")


def test_nan_in_the_outputs(refuses, clip, tmp_path, rng):
    weights = tiny_weights(rng)
    weights["fc"][0, 0] = np.inf
    refuses("explain", save(tmp_path / "inf.onnx", TINY, weights), clip, says="NaN or infinity")


@pytest.mark.skipif(sys.platform == "darwin", reason="no CUDA there at all")
def test_a_device_that_is_not_there(refuses, tiny, clip, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    refuses("explain", tiny, clip, "--device", "cuda", says="cuda", code=3)


def test_a_device_without_hardware(tiny, clip, call):
    if Path("/dev/nvidia0").exists():
        pytest.skip("a GPU is there")
    code, out, err = call("explain", tiny, clip, "--device", "cuda")
    assert (code, out) == (3, ""), err
    assert err.count("\n") == 1


# --------------------------------------------------------------------------------------------------- outputs


def listing(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*"))


def test_occupied_outputs_are_refused_before_the_run(refuses, tiny, clip, tmp_path, monkeypatch):
    from cfp_onnx import model

    monkeypatch.setattr(model, "load", lambda _: pytest.fail("the run began"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder" / "pyramid.json").mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    before = listing(tmp_path)
    refuses("explain", tiny, clip, "-o", tmp_path / "file", says="not a folder")
    refuses("explain", tiny, clip, "-o", tmp_path / "file" / "below", says="not a folder")
    refuses("explain", tiny, clip, "-o", tmp_path / "folder", says="it is a folder")
    refuses("explain", tiny, clip, "--json", tmp_path / "folder", says="it is a folder")
    refuses("explain", tiny, clip, "--json", tmp_path / "file" / "x.json", says="not a folder")
    refuses("explain", tiny, clip, "--json", tiny, says="input of this command")
    refuses("explain", tiny, clip, "--json", clip, says="input of this command")
    refuses("explain", tiny, clip, "--json", "/dev/null", says="regular file")
    refuses("explain", tiny, clip, "-o", tmp_path / "loop", says="loop")
    refuses("explain", tiny, clip, "-o", "/proc/cfp", says="/proc")
    refuses("inspect", tiny, "--graphml", tmp_path / "folder", says="it is a folder")
    refuses("inspect", tiny, "--graphml", "-", says="--graphml")
    refuses("inspect", tiny, "--graphml", tmp_path / "x", "--json", tmp_path / "x", says="two files")
    refuses("demo", "-o", tmp_path / "file", says="not a folder")
    assert listing(tmp_path) == before


def test_a_failed_run_leaves_nothing(refuses, tiny, clip, tmp_path):
    before = listing(tmp_path)
    refuses(
        "explain",
        tiny,
        clip,
        "-o",
        tmp_path / "out",
        "--json",
        tmp_path / "x.json",
        "--class",
        "9",
        says="range",
    )
    assert listing(tmp_path) == before


def test_a_failed_write_keeps_the_old_file(refuses, tiny, clip, tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text("old")
    before = listing(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    refuses("explain", tiny, clip, "--json", tmp_path / "x.json", says="No space left")
    assert (tmp_path / "x.json").read_text() == "old"
    assert listing(tmp_path) == before


def test_odd_names_stay_on_one_line(refuses, tiny, tmp_path):
    refuses("explain", tiny, tmp_path / "a\nb\x1b[31m.mp4", says="\\x1b[31m")


def test_unforeseen_failures_say_so(call, tiny, monkeypatch):
    from cfp_onnx import model

    def broken(_):
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(model, "load", broken)
    code, out, err = call("inspect", tiny)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "ZeroDivisionError: two lines" in err
    assert "--debug" in err
    code, _, err = call("inspect", tiny, "--debug")
    assert code == 2
    assert "Traceback" in err


def test_memory_and_interrupts(call, tiny, monkeypatch):
    from cfp_onnx import model

    for failure, code in ((MemoryError(), 4), (KeyboardInterrupt(), 130)):

        def broken(_, failure=failure):
            raise failure

        monkeypatch.setattr(model, "load", broken)
        got, _, err = call("inspect", tiny)
        assert (got, err.count("\n")) == (code, 1)


def test_debug_shows_the_traceback(call, tmp_path):
    code, _, err = call("inspect", tmp_path / "none.onnx", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("cfp-onnx: error: ")


# -------------------------------------------------------------------------------------------- as a process


def process(*argv, **more):
    return subprocess.run(
        [sys.executable, "-m", "cfp_onnx", *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **more,
    )


def test_the_module_runs_and_stdout_is_pure_json(tiny, clip):
    done = process("explain", tiny, clip, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert strict(done.stdout)["schema"] == "cfp-onnx/pyramid"


def test_a_failing_process(tmp_path):
    done = process("inspect", tmp_path / "none.onnx")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("more", [["--json", "-"], []])
def test_a_reader_that_goes_away_is_no_error(tiny, more):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "cfp_onnx", "inspect", str(tiny), *more],
            stdout=stream, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_version_and_help(capsys):
    for argv, says in (
        (["--version"], cfp_onnx.__version__),
        (["--help"], "doctor"),
        (["explain", "--help"], "--theta"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(argv)
        assert end.value.code == 0
        assert says in capsys.readouterr().out
