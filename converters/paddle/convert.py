"""Paddle's inference files without their source: model.json of Paddle 3 and the .pdmodel of before, with .pdiparams.

The exporter runs in a process of its own and the framework's outputs come from Paddle's predictor, without any of
its rewriting passes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of contract.py
from contract import Array, Converted, Refusal, Request, main

sys.path.pop(0)  # else a library that asks for JAX or TensorFlow takes the folder of that name for it

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import onnx
import paddle
import paddle2onnx
from paddle import inference

GRAPHS = (".json", ".pdmodel")
LOWEST, HIGHEST, DEFAULT = 7, 21, 17


@dataclass(frozen=True)
class Program:
    """What a file says of itself.

    Attributes:
        declared: Sizes of each input; None where they are open.
        outputs: How many there are.
        kinds: Names of its operations.
    """

    declared: dict[str, tuple[int | None, ...]]
    outputs: int
    kinds: list[str]


def convert(request: Request) -> Converted:
    """The graph that paddle2onnx writes of an inference file.

    Raises:
        Refusal: If the files cannot be read, belong to training, or cannot be exported.
    """
    opset = request.opset_between(LOWEST, HIGHEST, default=DEFAULT)
    graph = graph_file(Path(request.source))
    weights = weights_file(graph, request.weights)
    with tempfile.TemporaryDirectory(prefix="cfp-paddle-") as folder:
        pair = Path(folder) / f"model{graph.suffix}", Path(folder) / "model.pdiparams"
        shutil.copyfile(graph, pair[0])
        shutil.copyfile(weights, pair[1])
        program = read(pair[0], graph, weights)
        shapes, fixed = request.shapes_and_batch(program.declared)
        model = export(pair, graph, opset, program.kinds)
        if request.opset is not None and model.opset_import[0].version != opset:
            lowest = model.opset_import[0].version
            raise Refusal(f"--opset {opset}: this network needs {lowest} at least; choose {lowest} to {HIGHEST}")
        predictor = load(pair, graph)
    named_by_weights(model)
    names = [port.name for port in model.graph.output]
    if len(names) != program.outputs or {port.name for port in model.graph.input} != set(shapes):
        raise Refusal(f"{graph}: the exporter lost inputs or outputs of this network; save it with other ones")

    def run(clip: Mapping[str, Array]) -> dict[str, Array]:
        for name in shapes:
            handle = predictor.get_input_handle(name)
            handle.reshape(clip[name].shape)
            handle.copy_from_cpu(np.ascontiguousarray(clip[name]))
        try:
            predictor.run()
        except Exception as error:  # Paddle raises anything
            raise Refusal(
                f"{graph}: Paddle itself cannot run this network on {shown(clip)} ({reason(error)}); "
                "try --batch 1, or give the sizes that it was made for with --input-shape"
            ) from error
        results = [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
        return dict(zip(names, results, strict=True))

    return Converted(
        model=model,
        run=run,
        shapes=shapes,
        fixed=fixed,
        framework=f"paddle {paddle.__version__}",
        exporter=f"paddle2onnx {paddle2onnx.__version__}",
        kind="paddle json" if graph.suffix == ".json" else "paddle pdmodel",
    )


# --------------------------------------------------------------------------------------------------------- files


def graph_file(source: Path) -> Path:
    """The file of the graph that a source names: itself, the only one of a folder, or one with a prefix.

    Raises:
        Refusal: If there is none or more than one.
    """
    if source.is_dir():
        found = [file for file in sorted(source.iterdir()) if file.suffix in GRAPHS and is_graph(file)]
    elif source.suffix == ".pdiparams":
        raise Refusal(f"{source} holds weights only; give the .json or .pdmodel that was saved beside it")
    elif source.is_file():
        found = [source] if is_graph(source) else []
    else:
        found = [file for file in (source.with_name(source.name + end) for end in GRAPHS) if file.is_file()]
        found = [file for file in found if is_graph(file)]
    if len(found) > 1:
        raise Refusal(f"{source} has {len(found)} networks, {', '.join(f.name for f in found[:4])}; name one of them")
    if not found:
        raise Refusal(
            f"{source} is no inference file of Paddle, a .json or .pdmodel; save the network with paddle.jit.save "
            "and an input_spec"
        )
    return found[0]


def is_graph(file: Path) -> bool:
    """Whether a file is a program of Paddle: the .json says so itself, the .pdmodel is protobuf that begins a block."""
    with file.open("rb") as stream:
        head = stream.read(200)
    if file.suffix == ".json":
        return re.match(rb'\s*\{\s*"base_code"\s*:\s*\{[^}]*"pir"', head) is not None
    return file.suffix == ".pdmodel" and head[:1] == b"\n"


def weights_file(graph: Path, given: str | None) -> Path:
    """The file of weights: the one named, or the one beside the graph.

    Raises:
        Refusal: If it is not there.
    """
    if given is not None:
        if not Path(given).is_file():
            raise Refusal(f"{given}: no such file; give the .pdiparams with --weights")
        return Path(given)
    beside = graph.with_suffix(".pdiparams")
    if not beside.is_file():
        raise Refusal(f"{graph} has no weights beside it, {beside.name}; name their file with --weights")
    return beside


# ------------------------------------------------------------------------------------------------------- reading


def read(file: Path, graph: Path, weights: Path) -> Program:
    """What the graph says of its inputs and outputs, once its weights are known to fit.

    Args:
        file: The graph with its weights beside it.
        graph: The user's own, for messages.
        weights: The user's own, for messages.

    Raises:
        Refusal: If either cannot be read, or the graph was saved while it trained.
    """
    paddle.enable_static()
    old = file.suffix == ".pdmodel"
    try:
        if old:
            with paddle.pir_utils.OldIrGuard():
                program, feeds, results = load_static(file)
        else:
            program, feeds, results = load_static(file)
    except Exception as error:  # Paddle raises anything
        said = reason(error)
        broken = f"{weights}: these are not the weights of {graph.name}, or not all of them"
        if not re.search(r"param|load_?combine|tensor|open file|model file is complete", said, re.IGNORECASE):
            broken = f"{graph}: Paddle {paddle.__version__} cannot read it"
        raise Refusal(f"{broken} ({said}); save both again with paddle.jit.save") from error
    block = program.global_block()
    if old:
        ports = {name: block.var(name) for name in feeds}
        sizes = {name: v.shape for name, v in block.vars.items() if v.persistable and name not in {"feed", "fetch"}}
        operations = [(op.type, {n: op.attr(n) for n in op.attr_names}) for op in block.ops]
    else:
        by_kind = [(op.name(), op.attrs(), op.results()) for op in block.ops]
        ports = {a["name"]: results[0] for kind, a, results in by_kind if kind == "pd_op.data"}
        ports = {name: ports[name] for name in feeds}
        sizes = {a["parameter_name"]: r[0].shape for kind, a, r in by_kind if kind == "builtin.parameter"}
        operations = [(kind.rpartition(".")[2], attributes) for kind, attributes, _ in by_kind]
    scope = paddle.static.global_scope()
    for name, own in sizes.items():
        loaded = list(scope.find_var(name).get_tensor().shape())
        if loaded != list(own):
            raise Refusal(
                f"{weights}: these are not the weights of {graph.name}: {name} is {loaded}, not {list(own)}; give the "
                "file that was saved with it"
            )
    if trained := [kind for kind, attributes in operations if trains(kind, attributes)]:
        raise Refusal(
            f"{graph}: {trained[0]} computes with statistics or chances of the moment, as in training; call eval(), "
            "set trainable_statistics to False, and save again"
        )
    for name, port in ports.items():
        if not str(port.dtype).upper().endswith(("FP32", "FLOAT32")):
            raise Refusal(f"{graph}: input {name!r} is {port.dtype}; save the network with float32 inputs")
    declared = {name: tuple(None if size < 0 else size for size in port.shape) for name, port in ports.items()}
    hidden = {"parameter", "data", "feed", "fetch", "full", "full_int_array", "combine"}
    return Program(declared, len(results), sorted({kind.rstrip("_") for kind, _ in operations} - hidden))


def load_static(file: Path) -> tuple[Any, list[str], list[Any]]:
    """The program, its inputs' names and its outputs."""
    return paddle.static.load_inference_model(str(file.with_suffix("")), paddle.static.Executor(paddle.CPUPlace()))


def trains(kind: str, attributes: Mapping[str, Any]) -> bool:
    """Whether an operation does something else in training, and is set to."""
    if kind in {"batch_norm", "batch_norm_", "sync_batch_norm", "sync_batch_norm_"}:
        batch = not attributes.get("is_test") and not attributes.get("use_global_stats")
        return bool(batch or attributes.get("trainable_statistics"))
    return kind.startswith("dropout") and not attributes.get("is_test", True)


# ------------------------------------------------------------------------------------------------ export and run


def export(pair: tuple[Path, Path], graph: Path, opset: int, kinds: list[str]) -> onnx.ModelProto:
    """What the exporter writes of a graph with operations of these kinds.

    Raises:
        Refusal: With what it said, where it wrote nothing.
    """
    out = pair[0].with_name("model.onnx")
    command = [sys.executable, "-B", str(Path(__file__).with_name("export.py")), *map(str, pair), str(opset), str(out)]
    done = subprocess.run(  # noqa: S603 - our own script
        command, capture_output=True, encoding="utf-8", errors="replace", check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    if done.returncode or not out.is_file():
        said = complaint(done)
        if "unsupported operators" in said:
            said = f"it does not know one of {', '.join(kinds)}"
        raise Refusal(
            f"{graph}: paddle2onnx {paddle2onnx.__version__} cannot write this network ({said}); write that part with "
            "other layers"
        )
    return onnx.load(str(out))


def named_by_weights(model: onnx.ModelProto) -> None:
    """Gives nodes the names of the layers whose weights they read: conv3d_0 for conv3d_0.w_0."""
    model.producer_name = model.producer_name or "paddle2onnx"
    taken = {node.name for node in model.graph.node}
    for node in model.graph.node:
        found = re.fullmatch(r"(.+)\.w_0", node.input[1]) if len(node.input) > 1 else None
        if found and found[1] not in taken:
            node.name = found[1]
            taken.add(found[1])


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What the exporter said before it gave up, without colours and the traces that follow."""
    said = re.sub(r"\x1b\[[\d;]*m|\[(Paddle2ONNX|ERROR|Info)\]", "", done.stderr + "\n" + done.stdout).partition(
        "\n-----"
    )[0]
    told = [line for line in said.splitlines() if re.search(r"support|fail|error|abort|require", line, re.IGNORECASE)]
    return " ".join(" ".join(told[:3]).split())[:300].rstrip(".: ") or f"it ended with {done.returncode}"


def load(pair: tuple[Path, Path], graph: Path) -> Any:
    """Paddle's predictor, as it was saved: nothing fused, nothing rewritten."""
    config = inference.Config(*map(str, pair))
    config.disable_gpu()
    config.disable_mkldnn()
    config.switch_ir_optim(x=False)
    config.disable_glog_info()
    try:
        return inference.create_predictor(config)
    except Exception as error:  # Paddle raises anything
        raise Refusal(f"{graph}: Paddle's predictor cannot load it ({reason(error)}); save it again") from error


def reason(error: BaseException) -> str:
    """The sentence of a message that has stack traces around it, without the places of Paddle's own source."""
    text = str(error)
    found = re.findall(r"^\s*(?:\w+Error: |\([A-Z]\w+\) )(.+)", text, re.MULTILINE)
    line = found[-1] if found else (text.strip().splitlines() or [type(error).__name__])[0]
    line = re.sub(r"\(at .*?\)|(?<=file )/\S+", "", line)
    return " ".join(line.split())[:200].rstrip(".:, ")


def shown(clip: Mapping[str, Array]) -> str:
    """Sizes of a clip's arrays."""
    return ", ".join("x".join(map(str, array.shape)) for array in clip.values())


if __name__ == "__main__":
    sys.exit(main(convert))
