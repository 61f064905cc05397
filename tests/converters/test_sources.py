"""One network with the same weights as everywhere, in the own files of frameworks other than PyTorch: a row for each.

A framework's tests run where its environment is: ``$CFP_<FRAMEWORK>_PYTHON``, or ``.venvs/<framework>`` beside this
folder. The authority for the logits is
the same network written as an ONNX graph by hand, run without any fusion.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blocks_frameworks as blocks
import converter_runs
import numpy as np
import onnx
import pytest
from converter_runs import (
    FAMILIES,
    FIRST,
    LAST,
    assert_logits,
    assert_no_paths,
    interpreter,
    run_converter,
    run_probe,
    source_of,
)

from cfp_onnx.explanation.call import topology

OTHERS = ("keras", "tensorflow", "tflite", "jax", "paddle", "mxnet")

# One row per form of source: framework, file, input shape, what is asked for besides, words of the notes.
SOURCES: list[tuple[str, str, tuple[int, ...], dict[str, Any], str]] = [
    ("keras", "blocks.keras", LAST, {}, ""),
    ("keras", "blocks.h5", LAST, {}, ""),
    ("keras", "fixed.keras", LAST, {}, ""),
    ("keras", "blocks.keras", LAST, {"batch": 1, "opset": 18}, ""),
    ("keras", "sequence.keras", LAST, {}, ""),
    ("paddle", "blocks.json", FIRST, {}, ""),
    ("paddle", "blocks", FIRST, {"batch": 1, "opset": 13}, ""),
    ("paddle", "folder", FIRST, {"opset": 21}, ""),
    ("paddle", "fixed.json", FIRST, {}, ""),
    ("paddle", "free.json", FIRST, {}, ""),
    ("paddle", "old.pdmodel", FIRST, {}, ""),
    ("paddle", "old", FIRST, {"batch": 1, "opset": 11}, ""),
    ("paddle", "apart.json", FIRST, {"weights": "blocks.pdiparams"}, ""),
    ("paddle", "apart.pdmodel", FIRST, {"weights": "old.pdiparams"}, ""),
    ("mxnet", "blocks-symbol.json", FIRST, {}, "66 weights that were graph inputs"),
    ("mxnet", "blocks", FIRST, {"batch": 1, "opset": 12}, ""),
    ("mxnet", "codes-symbol.json", FIRST, {}, "reshapes with codes"),
    ("mxnet", "fixed-symbol.json", FIRST, {}, ""),
    ("mxnet", "apart-symbol.json", FIRST, {"weights": "blocks-0000.params"}, ""),
    ("jax", "blocks_jax.py:of_nnx", LAST, {}, ""),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "nnx.npz", "opset": 18}, ""),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "slashes.npz", "batch": 1}, ""),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "nnx.safetensors", "batch": 2}, ""),
    ("jax", "blocks_jax.py:empty_nnx", LAST, {"weights": "nnx.msgpack", "opset": 23}, ""),
    ("jax", "blocks_jax.py:of_bfloat16", LAST, {}, "weights of bfloat16 became float32"),
    ("jax", "blocks_jax.py:of_linen", LAST, {}, ""),
    ("jax", "blocks_jax.py:bare_linen", LAST, {"weights": "linen.msgpack"}, ""),
    ("jax", "blocks_jax.py:of_function", FIRST, {}, ""),
    ("jax", "blocks_jax.py:of_closure", FIRST, {"batch": 1, "opset": 18}, ""),
    ("jax", "blocks_jax.py:of_doubles", FIRST, {}, "jax_enable_x64 was switched off"),
    ("jax", "blocks_jax.py:one_by_one", FIRST, {}, "the batch is fixed at 1: the code cannot be traced"),
    ("tensorflow", "blocks", LAST, {}, "groups of convolutions were lost"),
    ("tensorflow", "blocks", LAST, {"batch": 1, "opset": 13}, "that XLA must compile"),
    ("tensorflow", "split", LAST, {}, ""),
    ("tensorflow", "plain", LAST, {}, "XLA computed the outputs"),
    ("tensorflow", "compiled", LAST, {"opset": 18}, "that XLA must compile"),
    ("tensorflow", "fixed", LAST, {}, "groups of convolutions were lost"),
    ("tensorflow", "tf1", LAST, {}, ""),
    ("tensorflow", "frozen.pb", LAST, {}, ""),
    ("tflite", "alone.tflite", LAST, {}, ""),
    ("tflite", "blocks.tflite", LAST, {}, "no kernel here for FlexMaxPool3D, CONV_3D in groups"),
    ("tflite", "blocks.tflite", LAST, {"batch": 1, "opset": 13}, "groups of convolutions were lost"),
    ("tflite", "float16.tflite", LAST, {"opset": 18}, ""),
    ("tflite", "dynamic_range.tflite", LAST, {}, "2 weights of 8 bits"),
    ("tflite", "alone_dynamic_range.tflite", LAST, {}, "it rounds activations too"),
    ("tflite", "fixed.tflite", LAST, {}, "no kernel here for FlexMaxPool3D, FlexConv3D"),
]

# One row per fault of an exporter that is mended: framework, file, words of the notes, operators that must be there.
MENDED: list[tuple[str, str, str, set[str]]] = [
    ("mxnet", "gamma-symbol.json", "fix_gamma", {"BatchNormalization"}),
    ("mxnet", "minus-symbol.json", "", {"Sub"}),
    ("mxnet", "over-symbol.json", "", {"Div"}),
    ("mxnet", "axes-symbol.json", "", {"ReduceMean"}),
    ("mxnet", "two-symbol.json", "", {"Gemm"}),
    ("mxnet", "loss-symbol.json", "", {"Softmax"}),
    ("mxnet", "flat-symbol.json", "", {"Flatten"}),
]


@pytest.mark.converters
@pytest.mark.parametrize(
    ("framework", "name", "shape", "asked", "words"),
    SOURCES,
    ids=[f"{r[0]}-{r[1]}-{'-'.join(map(str, r[3].values()))}" for r in SOURCES],
)
def test_the_same_network_comes_out(
    saved: Callable[[str], Path],
    weights: dict[str, np.ndarray],
    logits: np.ndarray,
    tmp_path: Path,
    framework: str,
    name: str,
    shape: tuple[int, ...],
    asked: dict[str, Any],
    words: str,
) -> None:
    folder = saved(framework)
    asked = {k: str(folder / v) if k == "weights" else v for k, v in asked.items()}
    done = run_converter(framework, source_of(folder, name), shape, tmp_path, **asked)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["format"] == 1
    assert report["framework"]
    assert report["exporter"]
    assert report["source_kind"]
    assert words in " ".join(report["notes"])
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model)
    assert report["opset"] == asked.get("opset", report["opset"]) == model.opset_import[0].version
    assert_no_paths((tmp_path / "model.onnx").read_bytes(), folder)
    assert not [n.name for n in model.graph.node if n.op_type == "Conv" and n.name.startswith("Conv__")]
    worst = run_probe(tmp_path)
    assert worst <= 1e-4
    if "float16" not in name and "dynamic_range" not in name:
        assert_logits(tmp_path / "model.onnx", weights["clip"], shape, logits)
    sizes = {model.graph.input[0].name: shape}
    if (batch := model.graph.input[0].type.tensor_type.shape.dim[0].dim_value) > 0:
        sizes = {n: (batch, *s[1:]) for n, s in sizes.items()}
    engine = topology(tmp_path / "model.onnx", input_shape=sizes)
    assert Counter(str(layer.family) for layer in engine.topology.layers) == FAMILIES
    assert engine.coverage.channels == 1.0


@pytest.mark.converters
@pytest.mark.parametrize(("framework", "name", "words", "operators"), MENDED, ids=[f"{r[0]}-{r[1]}" for r in MENDED])
def test_what_an_exporter_gets_wrong_is_mended(
    saved: Callable[[str], Path], tmp_path: Path, framework: str, name: str, words: str, operators: set[str]
) -> None:
    done = run_converter(framework, source_of(saved(framework), name), FIRST, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert words in " ".join(json.loads((tmp_path / "report.json").read_text())["notes"])
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model)
    assert {node.op_type for node in model.graph.node} >= operators
    assert run_probe(tmp_path) <= 1e-4
    engine = topology(tmp_path / "model.onnx", input_shape={model.graph.input[0].name: FIRST})
    assert engine.coverage.channels == 1.0


@pytest.mark.converters
@pytest.mark.parametrize(
    ("framework", "name", "layers"),
    [("paddle", "blocks.json", {"conv3d_0", "conv3d_11", "linear_2"}), ("mxnet", "blocks", {"stem_conv", "fc"})],
)
def test_layers_keep_the_names_that_the_framework_knows(
    saved: Callable[[str], Path], tmp_path: Path, framework: str, name: str, layers: set[str]
) -> None:
    done = run_converter(framework, source_of(saved(framework), name), FIRST, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {node.name for node in onnx.load(tmp_path / "model.onnx").graph.node} >= layers


@pytest.mark.converters
@pytest.mark.parametrize("framework", OTHERS)
def test_the_command_keeps_a_verified_file(saved: Callable[[str], Path], tmp_path: Path, framework: str) -> None:
    convert = pytest.importorskip("cfp_onnx.conversion.call")
    folder = saved(framework)
    _, name, shape, asked, _ = next(row for row in SOURCES if row[0] == framework)
    extra = {"weights": folder / asked["weights"]} if "weights" in asked else {}
    made = convert.convert(
        framework, source_of(folder, name), tmp_path / "kept.onnx", input_shape=shape,
        labels=[f"class {k}" for k in range(10)], python=interpreter(framework), **extra,
    )  # fmt: skip
    assert made.difference <= 1e-4
    assert made.layers == 15
    assert made.coverage == 1.0
    kept = onnx.load(tmp_path / "kept.onnx")
    assert {p.key for p in kept.metadata_props} >= {"cfp_onnx.labels", "cfp_onnx.source"}
    assert [p.name for p in tmp_path.iterdir()] == ["kept.onnx"]


@pytest.mark.converters
@pytest.mark.parametrize(("name", "shape"), [("windows", LAST), ("numbered", FIRST)])
@pytest.mark.parametrize("asked", [{}, {"batch": 2, "opset": 18}], ids=["", "batch"])
def test_jax_windows_come_out_in_every_form(
    saved: Callable[[str], Path], tmp_path: Path, name: str, shape: tuple[int, ...], asked: dict[str, Any]
) -> None:
    done = run_converter("jax", f"{saved('jax') / 'blocks_jax.py'}:{name}", shape, tmp_path, **asked)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "report.json").read_text())["notes"] == []
    assert run_probe(tmp_path) <= 1e-4


@pytest.mark.converters
def test_jax_products_with_weights_are_layers(saved: Callable[[str], Path], tmp_path: Path) -> None:
    done = run_converter("jax", f"{saved('jax') / 'blocks_jax.py'}:products", LAST, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert run_probe(tmp_path) <= 1e-4
    engine = topology(tmp_path / "model.onnx", input_shape={"clip": LAST})
    assert [layer.name for layer in engine.topology.layers] == ["pointwise", "spread", "summed", "last"]
    assert engine.coverage.channels == 1.0


@pytest.mark.converters
def test_jax_code_is_found_in_the_current_folder_and_names_its_layers(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    done = run_converter("jax", "blocks_jax:of_nnx", LAST, tmp_path, cwd=str(saved("jax")))
    assert done.returncode == 0, done.stderr[-3000:]
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    layers = {node.name for node in nodes if node.op_type in {"Conv", "Gemm", "MatMul"}}
    names = {f"{n.replace('.', '_')}_conv" for n in blocks.CONVS} | {n.replace(".", "_") for n in blocks.DENSE}
    assert layers == names


SPY = """
import os, sys
log = open(os.environ["CFP_SPY"], "a", buffering=1)
def spy(event, args):
    if event in {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "import"}:
        log.write(f"{event} {args[0]} {args[1] if event == 'subprocess.Popen' else ''}\\n")
sys.addaudithook(spy)
"""


@pytest.mark.converters
def test_the_exporter_of_paddle_installs_nothing(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left alone it runs pip against a foreign index while it converts; every process of the converter is watched."""
    folder = saved("paddle")
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)
    own = {"CFP_SPY": str(tmp_path / "log"), "PYTHONPATH": str(tmp_path / "spy"), "PIP_INDEX_URL": "http://127.0.0.1:9"}
    monkeypatch.setattr(converter_runs, "quiet", lambda: {**os.environ, **own})
    done = run_converter("paddle", str(folder / "blocks.json"), FIRST, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = (tmp_path / "log").read_text().splitlines()
    started = [line for line in seen if not line.startswith("import ")]
    assert len([line for line in started if "export.py" in line]) == 1
    assert "import paddle2onnx " in seen
    assert not [line for line in started if "pip" in line or line.startswith("socket.connect")]
    assert not [line for line in seen if line.startswith(("import pip ", "import polygraphy"))]
