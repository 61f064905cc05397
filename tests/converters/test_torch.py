"""PyTorch's files in every form, and the paper's networks against the expected results of the authors' code.

Needs an environment with PyTorch: ``$CFP_TORCH_PYTHON``, or ``.venvs/torch`` beside this folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import blocks
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import cfp_onnx as cfp
from cfp_onnx.clips.presets import PRESETS
from cfp_onnx.conversion import keep
from cfp_onnx.errors import ModelError
from cfp_onnx.pyramid.topology_json import topology_json

TESTS = Path(__file__).resolve().parents[1] / "helpers"
PYTHON = Path(os.environ.get("CFP_TORCH_PYTHON") or TESTS.parents[1] / ".venvs" / "torch" / "bin" / "python")
SHAPE = (1, 3, 4, 16, 16)
FAMILIES = Counter(plain=4, pointwise=4, dense=3, factorised=2, grouped=1, depthwise=1)

pytestmark = [
    pytest.mark.converters,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment with PyTorch; set CFP_TORCH_PYTHON"),
]


@pytest.fixture(scope="module")
def weights():
    return blocks.weights()


@pytest.fixture(scope="module")
def files(tmp_path_factory, weights):
    """The small network as PyTorch saves it, in each form."""
    folder = tmp_path_factory.mktemp("sources")
    np.savez(folder / "weights.npz", **weights)
    command = [PYTHON, "-B", "-W", "ignore", TESTS / "blocks_torch.py", folder / "weights.npz", folder]
    subprocess.run(command, check=True, capture_output=True, cwd=TESTS)
    return folder


@pytest.fixture
def make(files, tmp_path, monkeypatch):
    """Converts one of those files, or code of `blocks_torch`, called from the folder where that lies."""
    monkeypatch.chdir(TESTS)

    def converted(source, **options):
        if source is not None and ":" not in source:
            source = files / source
        return cfp.convert("torch", source, tmp_path / "m.onnx", **{"input_shape": SHAPE, "python": PYTHON, **options})

    return converted


@pytest.fixture
def refuses(make, tmp_path):
    def refused(source, says, **options):
        with pytest.raises(ModelError) as caught:
            make(source, **options)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "failed:" not in str(caught.value), "a crash is no refusal"
        assert not (tmp_path / "m.onnx").exists()

    return refused


def outputs(file, clip):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: clip})[0]


# --------------------------------------------------------------------------------------------- every kind of source


@pytest.mark.parametrize(
    ("source", "options", "kind"),
    [
        ("blocks.pt2", {}, "exported program (.pt2)"),
        ("fixed.pt2", {}, "exported program (.pt2)"),
        ("traced.pt", {}, "TorchScript"),
        ("traced.pt", {"opset": 17, "batch": 1}, "TorchScript"),
        ("scripted.bin", {}, "TorchScript"),
        ("frozen.pth", {}, "TorchScript (frozen)"),
        ("trained_script.pt", {}, "TorchScript"),
        ("pickled.pt", {"allow_pickle": True}, "pickled nn.Module"),
        ("blocks_torch:blocks", {"weights": "state.pth"}, "nn.Module from code"),
        ("blocks_torch.py:blocks", {"weights": "checkpoint.pth", "opset": 18, "batch": 2}, "nn.Module from code"),
        ("blocks_torch:blocks", {"weights": "options.pth", "allow_pickle": True}, "nn.Module from code"),
        ("blocks_torch:blocks", {"weights": "weights.safetensors"}, "nn.Module from code"),
    ],
)
def test_one_network_comes_out_of_every_form(make, files, weights, source, options, kind):
    options = {key: files / value if key == "weights" else value for key, value in options.items()}
    done = make(source, **options)
    assert done.kind == kind
    assert done.opset == options.get("opset", 20)
    clip = weights["clip"]
    expected = blocks.logits(weights, clip)
    batch = 1 if source == "fixed.pt2" else options.get("batch")
    got = [outputs(done.path, part) for part in (np.split(clip, 2) if batch == 1 else [clip])]
    assert np.abs(np.concatenate(got) - expected).max() < 1e-4
    engine = cfp.topology(done.path)
    assert engine.coverage.channels == engine.coverage.layers == 1.0
    value = topology_json(engine)
    assert Counter(layer["family"] for layer in value["layers"]) == FAMILIES
    assert len(engine.topology.layers) == sum(blocks.LAYERS.values())


def test_nothing_of_this_machine_is_written(make, files):
    for source, options in (("blocks_torch:blocks", {"weights": files / "state.pth"}), ("traced.pt", {})):
        data = make(source, **options).path.read_bytes()
        for word in (str(TESTS), str(files), "site-packages", str(Path.home()) + os.sep, "Traceback", 'File "'):
            assert word.encode() not in data
        model = onnx.load_from_string(data)
        assert {p.key for p in model.metadata_props} == {"cfp_onnx.source"}
        assert not any(n.metadata_props or n.doc_string for n in model.graph.node)


def test_notes_say_what_was_changed(make, files):
    prefix = make("blocks_torch:blocks", weights=files / "checkpoint.pth").notes
    assert prefix == ("the prefix 'module.' was taken off the names of the weights",)
    assert "put in evaluation mode" in make("trained_script.pt").notes[0]
    assert "the batch is fixed at 1, as it is in the source" in make("fixed.pt2").notes
    assert "does not take two clips at once" in make("one_clip.pt").notes[0]
    assert "does not take two clips at once" in make("blocks_torch:one_clip").notes[0]
    assert make("blocks_torch:halves").notes == ("half-precision weights were widened to float32",)


@pytest.mark.parametrize(
    ("file", "note"),
    [
        ("deep.pth", "the weights were taken from 'ema.module' in the file"),
        ("wrapped.pth", "the prefix 'module._orig_mod.' was taken off the names of the weights"),
    ],
)
def test_weights_are_found_where_others_put_them(make, files, file, note):
    assert make("blocks_torch:blocks", weights=files / file).notes == (note,)


def test_two_sets_of_weights_are_no_choice(refuses, files):
    refuses("blocks_torch:blocks", "several sets of weights (student, teacher)", weights=files / "two.pth")


@pytest.mark.parametrize("source", ["sized.pt", "blocks_torch:counts"])
def test_what_cannot_be_exported_for_any_batch_is_for_one(make, source):
    notes = make(source).notes
    assert notes == ("the batch is fixed at 1: the exporter does not get through the network where it may vary",)


def test_a_module_is_taken_out_of_what_it_was_put_in(make):
    notes = make("blocks_torch:compiled").notes
    assert notes == tuple(f"the module was taken out of {name}" for name in ("DataParallel", "OptimizedModule"))


def test_several_inputs_as_one_list_or_each_for_itself(make):
    shapes = {"slow": (1, 3, 2, 16, 16), "fast": SHAPE}
    done = make("blocks_torch:paths", input_shape=shapes)
    assert done.notes == ("the network takes its inputs as one list, in the order of --input-shape",)
    assert [port.name for port in cfp.load(done.path).inputs] == ["slow", "fast"]
    assert make("blocks_torch:several", input_shape=shapes).notes == ()
    assert make("blocks_torch:several").notes == ()


def test_outputs_of_integers_stand_behind_the_logits(make):
    done = make("blocks_torch:chooses")
    assert [port.dtype for port in cfp.load(done.path).outputs] == ["float32", "int64"]


def test_an_input_without_a_batch_keeps_its_first_size(make):
    done = make("blocks_torch:frames", input_shape=(4, 16, 16, 3), layout="THWC")
    assert cfp.load(done.path).inputs[0].shape == (4, 16, 16, 3)


def test_a_file_inside_a_package_and_one_that_is_called_as_a_library(make, tmp_path, monkeypatch):
    package = tmp_path / "zoo"
    package.mkdir()
    for name in ("__init__", "parts", "net", "types"):
        (package / f"{name}.py").write_text("", "utf-8")
    (package / "parts.py").write_text("from blocks_torch import lazy\n", "utf-8")
    (package / "net.py").write_text("from .parts import lazy\n", "utf-8")
    assert make(f"{package / 'net.py'}:lazy").difference < 1e-4
    (tmp_path / "types.py").write_text("from blocks_torch import lazy\n", "utf-8")
    assert make(f"{tmp_path / 'types.py'}:lazy").difference < 1e-4


# --------------------------------------------------------------------------------------------------- silent faults


@pytest.mark.parametrize("source", ["trained_trace.pt", "trained.pt2"])
def test_training_mode_that_is_baked_in_is_refused(refuses, source):
    refuses(source, "in training mode (")


def test_batch_statistics_whatever_the_mode_are_refused(refuses):
    refuses("blocks_torch:always", "change with the clip beside it")
    refuses("blocks_torch:always", "training mode", batch=1)


def test_outputs_that_differ_from_run_to_run_are_refused(refuses):
    refuses("blocks_torch:random", "other outputs when it is run again")


def test_an_older_operator_set_is_refused_and_not_raised_in_silence(refuses):
    refuses("blocks.pt2", "--opset 17: this exporter writes 18 to", opset=17)


def test_code_that_depends_on_the_values_is_refused(refuses):
    refuses("blocks_torch:decides", "blocks_torch.py, line ", batch=1)
    refuses("blocks_torch:decides", "the code decides by the values of a clip", batch=1)


@pytest.mark.parametrize("source", ["decides.pt", "blocks_torch:detached", "detached.pt"])
def test_what_exporters_freeze_in_silence_is_right_or_refused(make, source):
    try:
        done = make(source, batch=2)
    except ModelError as error:
        said = str(error)
    else:
        said = ""
        assert done.difference < 1e-4
    assert "failed:" not in said


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("pickled.pt", {}, "--allow-pickle"),
        ("state.pth", {}, "a bare state_dict"),
        ("checkpoint.pth", {"allow_pickle": True}, "a bare state_dict"),
        ("options.pth", {"allow_pickle": True}, "a bare state_dict"),
        ("fixed.pt2", {"batch": 2}, "bound to a batch of 1"),
        ("fixed.pt2", {"input_shape": (1, 3, 8, 16, 16)}, "was exported for input 1,3,4,16,16"),
        ("traced.pt", {"input_shape": (1, 4, 4, 16, 16)}, "does not take an input of (1, 4, 4, 16, 16)"),
        ("blocks_torch:Unwritten", {}, "no signature found"),
        ("blocks_torch:leaves", {}, "cannot be made (SystemExit: set DATA first)"),
        ("blocks_torch:casts", {}, "it computes in another float than float32 by itself"),
        ("blocks_torch:meta", {}, "on the meta device"),
        ("blocks_torch:integers", {}, "has quantised layers (torch.ao.nn.quantized.dynamic"),
        ("blocks_torch:blocks", {"input_shape": {"a": SHAPE, "b": SHAPE}}, "takes no list of 2 inputs"),
        ("blocks_torch:nothing", {}, "gives a dict, not a torch.nn.Module"),
        ("blocks_torch:broken", {}, "LookupError: no such configuration"),
        ("blocks_torch:nowhere", {}, "has no attribute 'nowhere'"),
        ("no_such_module:net", {}, "No module named 'no_such_module'"),
        (None, {"arch": "resnet51-3d", "input_shape": None}, "--arch resnet51-3d: unknown; choose one of"),
        (None, {"arch": "mfnet", "input_shape": (1, 3, 8, 16)}, "contradicts --arch mfnet"),
        (None, {"arch": "mfnet", "frames": 16, "input_shape": (1, 3, 8, 64, 64)}, "contradicts --arch mfnet"),
    ],
)
def test_what_cannot_be_used_gets_a_sentence(refuses, source, options, says):
    refuses(source, says, **options)


def test_keys_that_do_not_fit_are_listed(refuses, files):
    says = "missing dw.conv.weight, left over head.weight, fc.bias is (7,), not (10,)"
    refuses("blocks_torch:blocks", says, weights=files / "wrong.pth")


@pytest.mark.parametrize("keep", [0.5, 0.99])
@pytest.mark.parametrize("source", ["blocks.pt2", "traced.pt", "pickled.pt"])
def test_damaged_files_are_refused(refuses, files, tmp_path, source, keep):
    data = (files / source).read_bytes()
    (tmp_path / "cut").mkdir()
    cut = tmp_path / "cut" / source
    cut.write_bytes(data[: int(len(data) * keep)])
    refuses(str(cut), str(cut), allow_pickle=True)


@pytest.mark.parametrize("source", ["blocks.pt2", "traced.pt", "state.pth"])
def test_rotten_weights_are_refused_which_torch_itself_reads(refuses, files, tmp_path, source):
    data = bytearray((files / source).read_bytes())
    with zipfile.ZipFile(files / source) as archive:
        largest = max((m for m in archive.infolist() if "/data/" in m.filename), key=lambda m: m.file_size)
    start = largest.header_offset + 30 + sum(data[largest.header_offset + k] for k in (26, 28)) + 256 * sum(
        data[largest.header_offset + k] for k in (27, 29)
    )  # fmt: skip
    data[start + 2] ^= 0x3F
    (tmp_path / "rotten").mkdir()
    rotten = tmp_path / "rotten" / source
    rotten.write_bytes(data)
    if source == "state.pth":
        refuses("blocks_torch:blocks", "cut off or damaged (Bad CRC-32", weights=rotten)
    else:
        refuses(str(rotten), "cut off or damaged (Bad CRC-32")


def test_archives_of_something_else_are_refused(refuses, tmp_path):
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("word/document.xml", "text")
    refuses(str(tmp_path / "other.pt"), "an archive, but none of torch.save")
    refuses(str(tmp_path / "other.pt"), "an archive, but none of torch.save", allow_pickle=True)


# ---------------------------------------------------------------------------------------------- the paper's networks

NETWORKS = {
    "mfnet": ("mfnet", 224),
    "i3d": ("x_i3d_pool", 112),
    "resnet50-3d": ("resnet50", 112),
    "resnet101-3d": ("resnet101", 112),
    "resnet152-3d": ("resnet152", 112),
    "resnext101-3d": ("resnext101", 112),
    "resnet10-3d-a": ("x_resnet10_a", 112),
}
"""Name of ``--arch``: its skeleton in the reference folder, and the size of its frames."""

SAVE = """
import sys, numpy, torch
with numpy.load(sys.argv[1]) as archive:
    state = {name: torch.from_numpy(archive[name]) for name in archive.files}
torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 1}, sys.argv[2])
"""


def state_of(skeleton):
    """A network's weights under their names in PyTorch; statistics that an exporter shared are given to both owners."""
    graph = onnx.load(skeleton).graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    state = {name.removeprefix("net."): a for name, a in arrays.items() if name.startswith("net.")}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
        elif node.op_type == "BatchNormalization":
            owner = node.input[1].removeprefix("net.").removesuffix(".weight")
            state[f"{owner}.running_mean"], state[f"{owner}.running_var"] = (arrays[n] for n in node.input[3:5])
    return state


def reference_clip(shared_dir, size):
    with np.load(shared_dir / "oracle" / "goldens" / "clip_frames_112.npz") as archive:
        frames = archive[archive.files[0]].astype(np.float32)
    preset = PRESETS["mfnet" if size == 224 else "resnet3d"]
    mean = np.array(preset.mean, np.float32)
    std = np.array((0.229, 0.224, 0.225), np.float32)  # the goldens' own, for MF-Net too
    x = ((frames / np.float32(255) - mean) / std).transpose(3, 0, 1, 2)[None]
    return np.ascontiguousarray(x.repeat(size // 112, axis=3).repeat(size // 112, axis=4))


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("arch", NETWORKS)
def test_the_papers_networks_give_the_expected_logits(shared_dir, tmp_path, arch):
    name, size = NETWORKS[arch]
    oracle, filled = shared_dir / "oracle", tmp_path / "filled.onnx"
    fill = [sys.executable, oracle / "fill_skeleton.py", oracle / "skeletons" / f"{name}.onnx", filled]
    subprocess.run(fill, check=True, capture_output=True)
    np.savez(tmp_path / "state.npz", **state_of(filled))
    subprocess.run([PYTHON, "-c", SAVE, tmp_path / "state.npz", tmp_path / "ckpt.pth"], check=True, capture_output=True)
    (tmp_path / "state.npz").unlink()
    done = cfp.convert(
        "torch", None, tmp_path / "m.onnx", arch=arch, weights=tmp_path / "ckpt.pth", classes=400, frames=16, size=size,
        python=PYTHON,
    )  # fmt: skip
    clip = reference_clip(shared_dir, size)
    assert np.abs(outputs(done.path, clip) - outputs(filled, clip)).max() < 1e-3
    model = cfp.load(done.path)
    assert model.preprocess["size"] == [size, size]
    assert model.preprocess["mean"] == list(keep.preset_of(arch).mean)
    assert json.loads(model.metadata["cfp_onnx.source"])["arch"] == arch
    pyramid = cfp.explain(model, clip, depth=3)
    assert pyramid.coverage == {"channels": 1.0, "layers": 1.0, "operators_unknown": []}
    assert max(max(layer.relevance) for layer in pyramid.layers if layer.depth == 1) > 0


def test_a_built_in_network_without_weights_is_seeded_and_says_so(make):
    options = {"arch": "resnet10-3d", "classes": 7, "frames": 4, "size": 32, "input_shape": None}
    done = make(None, **options)
    assert done.notes == ("no --weights were given: they are random, of seed 0",)
    first = outputs(done.path, np.ones((1, 3, 4, 32, 32), np.float32))
    assert first.shape == (1, 7)
    again = outputs(make(None, **options).path, np.ones((1, 3, 4, 32, 32), np.float32))
    other = outputs(make(None, **options, seed=1).path, np.ones((1, 3, 4, 32, 32), np.float32))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
