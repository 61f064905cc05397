"""MXNet's exported networks without their source: NAME-symbol.json with NAME-0000.params.

The symbol is spelled out first, in forms that the exporter writes rightly; the framework's own outputs come from the
symbol as it was.
"""

from __future__ import annotations

import json
import logging
import operator
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of contract.py
from contract import Array, Converted, Refusal, Request, listed, main

sys.path.pop(0)  # else a library that asks for JAX or TensorFlow takes the folder of that name for it

os.environ["MXNET_MKLDNN_ENABLED"] = "0"  # it fuses operators; the plain ones are the authority
os.environ["MXNET_STORAGE_FALLBACK_LOG_VERBOSE"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import mxnet as mx
import numpy as np
import onnx
from mxnet.onnx.mx2onnx._export_onnx import MXNetGraph

LOWEST, HIGHEST = 12, 13
LABELLED = {"SoftmaxOutput", "Softmax", "LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput"}
WEIGHTED = {"Convolution", "Deconvolution", "FullyConnected", "BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm",
            "LeakyReLU", "Embedding", "RNN"}  # fmt: skip
DEFAULTS = {"FullyConnected": {"flatten": "True"}}
"""What MXNet assumes where a file says nothing, and its exporter does not."""


def convert(request: Request) -> Converted:
    """The graph that mx2onnx writes of a symbol.

    Raises:
        Refusal: If the files cannot be read, do not belong together, or cannot be exported.
    """
    opset = request.opset_between(LOWEST, HIGHEST, default=HIGHEST)
    file = symbol_file(Path(request.source))
    symbol = read_symbol(file)
    weights = weights_file(file, request.weights)
    arrays = read_weights(weights)
    ports = inputs(symbol, arrays, file, weights)
    shapes, fixed = request.shapes_and_batch(ports)
    check_fit(symbol, arrays, shapes, file, weights)
    plain, notes = spelled_out(symbol, shapes, fixed, file)
    if gammas := [name for name in fixed_gammas(symbol) if (arrays[name].asnumpy() != 1).any()]:
        notes.append(f"scales that fix_gamma holds at 1 were written as 1: {listed(gammas)}")
    written = {**arrays, **{name: mx.nd.ones_like(arrays[name]) for name in gammas}}
    model = export(plain, written, shapes, fixed, opset, file)
    names = [re.sub(r"_output(\d?)$", r"\1", name) for name in plain.list_outputs()]
    if sorted(names) != sorted(port.name for port in model.graph.output):
        raise Refusal(f"{file}: the exporter lost outputs of this network; save it with one output")
    executors: dict[int, Any] = {}

    def run(clip: Mapping[str, Array]) -> dict[str, Array]:
        batch = len(next(iter(clip.values())))
        if batch not in executors:
            executors[batch] = bind(symbol, {n: a.shape for n, a in clip.items()}, arrays, file)
        try:
            results = executors[batch].forward(is_train=False, **{n: mx.nd.array(a) for n, a in clip.items()})
            arrays_out = [result.asnumpy() for result in results]
        except Exception as error:  # MXNet raises anything, and only when its outputs are read
            given = ", ".join("x".join(map(str, a.shape)) for a in clip.values())
            raise Refusal(
                f"{file}: MXNet itself cannot run this network on {given} ({reason(error)}); try --batch 1, or give "
                "the sizes that it was made for with --input-shape"
            ) from error
        return dict(zip(names, arrays_out, strict=True))

    return Converted(
        model=model,
        run=run,
        shapes=shapes,
        fixed=fixed,
        framework=f"mxnet {mx.__version__}",
        exporter=f"mx2onnx of mxnet {mx.__version__}, onnx {onnx.__version__}",
        kind="mxnet symbol",
        notes=notes,
    )


# --------------------------------------------------------------------------------------------------------- files


def symbol_file(source: Path) -> Path:
    """The file of the symbol that a source names: itself, or NAME-symbol.json for the prefix NAME.

    Raises:
        Refusal: If there is none.
    """
    prefixed = source.with_name(f"{source.name}-symbol.json")
    if source.suffix == ".params":
        raise Refusal(f"{source} holds weights only; give the -symbol.json that was saved with it")
    if source.is_file():
        return source
    if not prefixed.is_file():
        raise Refusal(f"{source} is no symbol of MXNet; save the network with net.export('net'), give net-symbol.json")
    return prefixed


def weights_file(symbol: Path, given: str | None) -> Path:
    """The file of weights: the one named, or the only one beside the symbol.

    Raises:
        Refusal: If there is none or more than one.
    """
    if given is not None:
        if not Path(given).is_file():
            raise Refusal(f"{given}: no such file; give the .params with --weights")
        return Path(given)
    prefix = symbol.name.removesuffix(".json").removesuffix("-symbol")
    pattern = re.compile(rf"{re.escape(prefix)}(-\d{{4}})?\.params")
    found = sorted(file for file in symbol.parent.iterdir() if pattern.fullmatch(file.name))
    if not found:
        raise Refusal(f"{symbol} has no weights beside it, {prefix}-0000.params; name their file with --weights")
    if len(found) > 1:
        raise Refusal(
            f"{symbol} has {len(found)} files of weights, {listed(f.name for f in found)}; choose with --weights"
        )
    return found[0]


def read_symbol(file: Path) -> Any:
    """The symbol in a file.

    Raises:
        Refusal: If it is none.
    """
    try:
        graph = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ValueError) as error:
        raise Refusal(f"{file} is no symbol of MXNet or is cut off ({error}); give the -symbol.json") from error
    if not isinstance(graph, dict) or not {"nodes", "arg_nodes", "heads"} <= set(graph):
        raise Refusal(f"{file} is JSON but no symbol of MXNet; save the network with net.export('net')")
    try:
        return mx.sym.load(str(file))
    except Exception as error:  # MXNet raises anything
        raise Refusal(
            f"{file}: MXNet {mx.__version__} cannot read it ({reason(error)}); only its own operators can be read"
        ) from error


def read_weights(file: Path) -> dict[str, Any]:
    """Arrays by their names in the symbol.

    Raises:
        Refusal: If they cannot be read.
    """
    try:
        arrays = mx.nd.load(str(file))
    except Exception as error:  # MXNet raises anything
        raise Refusal(f"{file} cannot be read as weights of MXNet ({reason(error)}); save them again") from error
    if not isinstance(arrays, dict):
        raise Refusal(f"{file} holds arrays without names; save the weights with net.export('net')")
    return {name.removeprefix("arg:").removeprefix("aux:"): array for name, array in arrays.items()}


# ------------------------------------------------------------------------------------------------------- reading


def inputs(symbol: Any, arrays: Mapping[str, Any], file: Path, weights: Path) -> dict[str, list[int | None] | None]:
    """Declared sizes of each input; None where the symbol does not say.

    Raises:
        Refusal: If weights are missing, or an input is not float32.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    labels, missing = set(), set(symbol.list_auxiliary_states()) - set(arrays)
    for node in nodes:
        read = [nodes[k]["name"] for k, *_ in node["inputs"][1:]]
        if node["op"] in LABELLED:
            labels |= set(read) - set(arrays)
        elif node["op"] in WEIGHTED:
            missing |= set(read) & (set(symbol.list_arguments()) - set(arrays))
    if missing:
        raise Refusal(f"{weights} lacks {listed(sorted(missing))} of {file.name}; give the weights that belong to it")
    found: dict[str, list[int | None] | None] = {}
    for node in nodes:
        if node["op"] != "null" or node["name"] in arrays or node["name"] in labels:
            continue
        said = node.get("attrs", {})
        if said.get("__dtype__", "0") not in {"0", "-1"}:
            raise Refusal(f"{file}: input {node['name']!r} is not float32; save the network with float32 inputs")
        sizes = [int(s) for s in re.findall(r"-?\d+", said.get("__shape__", ""))]
        found[node["name"]] = [s if s > 0 else None for s in sizes] or None
    for name, array in arrays.items():
        if array.dtype != np.float32:
            kind = np.dtype(array.dtype).name
            raise Refusal(f"{weights}: {name} is {kind}; save the network with net.cast('float32')")
    return found


def check_fit(symbol: Any, arrays: Mapping[str, Any], shapes: Mapping[str, Any], file: Path, weights: Path) -> None:
    """Refuses inputs that the network does not take, and weights of other sizes than it has.

    Raises:
        Refusal: With the first that does not fit.
    """
    try:
        wanted, _, states = symbol.infer_shape_partial(**{name: tuple(sizes) for name, sizes in shapes.items()})
    except Exception as error:  # MXNet raises anything
        given = "; ".join(",".join(map(str, sizes)) for sizes in shapes.values())
        raise Refusal(
            f"{file}: MXNet cannot run this network on {given} ({reason(error)}); give the sizes that it was made for "
            "with --input-shape"
        ) from error
    named = zip([*symbol.list_arguments(), *symbol.list_auxiliary_states()], [*wanted, *states], strict=True)
    for name, sizes in named:
        own = tuple(arrays[name].shape) if name in arrays else sizes
        if sizes and 0 not in sizes and tuple(sizes) != own:
            raise Refusal(
                f"{file}: on this input {name} is {list(sizes)}, but {weights.name} holds {list(own)}; give the size "
                "of the input with --input-shape, or the weights that belong to the network"
            )


def bind(symbol: Any, shapes: Mapping[str, Any], arrays: Mapping[str, Any], file: Path) -> Any:
    """The framework's own network for one size of batch."""
    try:
        executor = symbol.simple_bind(mx.cpu(), grad_req="null", **shapes)
    except Exception as error:  # MXNet raises anything
        raise Refusal(f"{file}: MXNet itself cannot run this network ({reason(error)}); try --batch 1") from error
    states = {name: arrays[name] for name in symbol.list_auxiliary_states()}
    own = {name: arrays[name] for name in symbol.list_arguments() if name in arrays}
    executor.copy_params_from(own, states)
    return executor


# -------------------------------------------------------------------------------------- what the exporter gets


def fixed_gammas(symbol: Any) -> list[str]:
    """Scales of batch normalisations that MXNet takes as 1 whatever the file holds, which the exporter overlooks."""
    nodes = json.loads(symbol.tojson())["nodes"]
    held = [n for n in nodes if n["op"] == "BatchNorm" and truth(n.get("attrs", {}).get("fix_gamma", "True")) == "True"]
    return [nodes[node["inputs"][1][0]]["name"] for node in held]


def spelled_out(symbol: Any, shapes: Mapping[str, Any], fixed: int | None, file: Path) -> tuple[Any, list[str]]:
    """The same network with what the exporter refuses or mistakes in other words.

    Defaults are written down; reshapes get their sizes, which codes may stand for; swapped axes become a transpose; a
    head that computes a loss in training becomes the softmax that it is in use; and a scalar's place in a difference
    or quotient is said in the operator's name, where the exporter looks for it.

    Returns:
        The symbol, and what was reworded; one sentence each.

    Raises:
        Refusal: If the batch may not vary.
    """
    graph = json.loads(symbol.tojson())
    nodes, coded = graph["nodes"], []
    names = [node["name"] for node in nodes]
    sizes = [sizes_of(symbol, shapes, batch, file) for batch in ((fixed, fixed) if fixed else (2, 3))]
    for node, name in zip(nodes, names, strict=True):
        kind = node["op"]
        if kind == "null":
            continue
        own = node["attrs"] = {**DEFAULTS.get(kind, {}), **{k: truth(v) for k, v in node.get("attrs", {}).items()}}
        into = sizes[0].get((names[node["inputs"][0][0]], node["inputs"][0][1]), ()) if node["inputs"] else ()
        out = [known.get((name, 0), ()) for known in sizes]
        if kind in {"Reshape", "reshape"} and min(out[0], default=0) > 0 and sum(map(operator.ne, *out)) <= 1:
            if re.search(r"-[234]", own.get("shape", "")) or own.get("reverse") == "True":
                coded.append(name)
            target = [size if size == other else -1 for size, other in zip(*out, strict=True)]
            node["attrs"] = {"shape": str(tuple(target)), "reverse": "False"}
        elif kind == "SwapAxis" and into:
            order = list(range(len(into)))
            one, two = (int(own.get(key, 0)) for key in ("dim1", "dim2"))
            order[one], order[two] = order[two], order[one]
            node["op"], node["attrs"] = "transpose", {"axes": str(tuple(order))}
        elif kind == "SoftmaxOutput" and len(into) == 2:
            node["op"], node["attrs"], node["inputs"] = "softmax", {"axis": "-1"}, node["inputs"][:1]
        elif kind in {"_rminus_scalar", "_rdiv_scalar"}:
            node["name"] += kind.replace("_scalar", "scalar")
    notes = [f"reshapes with codes were written with their sizes: {listed(coded)}"] if coded else []
    return mx.sym.load_json(json.dumps(graph)), notes


def sizes_of(symbol: Any, shapes: Mapping[str, Any], batch: int, file: Path) -> dict[tuple[str, int], tuple[int, ...]]:
    """Sizes of each node's outputs at a batch."""
    inner, seen = symbol.get_internals(), Counter()
    try:
        _, sizes, _ = inner.infer_shape_partial(**{name: (batch, *own[1:]) for name, own in shapes.items()})
    except Exception as error:  # MXNet raises anything
        raise Refusal(f"{file}: the network takes no batch of {batch} ({reason(error)}); try --batch 1") from error
    found = {}
    for value, own in zip(inner, sizes, strict=True):
        found[value.name, seen[value.name]] = tuple(own or ())
        seen[value.name] += 1
    return found


def truth(value: str) -> str:
    """True and False as the exporter spells them."""
    return {"true": "True", "false": "False"}.get(value, value)


# -------------------------------------------------------------------------------------------------------- export


def export(
    symbol: Any, arrays: Mapping[str, Any], shapes: Mapping[str, Any], fixed: int | None, opset: int, file: Path
) -> onnx.ModelProto:
    """What the exporter writes, checked and stamped as the version that its operators are of.

    The exporter itself stamps the newest version that its onnx knows, whose operators it does not write.

    Raises:
        Refusal: With what it said, where it cannot.
    """
    onnx.checker.DEFAULT_CONTEXT.opset_imports = {"": opset}
    logging.disable(logging.CRITICAL)
    known = set(symbol.list_inputs())
    used = {name: array for name, array in arrays.items() if name in known}
    try:
        graph = MXNetGraph().create_onnx_graph_proto(
            symbol, used, [tuple(sizes) for sizes in shapes.values()],
            [onnx.TensorProto.FLOAT] * len(shapes), opset_version=opset, dynamic=True,
            dynamic_input_shapes=[(fixed, *sizes[1:]) for sizes in shapes.values()],
        )  # fmt: skip
    except Exception as error:  # the exporter raises anything
        raise Refusal(
            f"{file}: MXNet's exporter cannot write this network ({reason(error)}); write that part with other layers"
        ) from error
    for node in graph.node:
        node.name = node.name or node.output[0]
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=7, producer_name="mx2onnx"
    )


def reason(error: BaseException) -> str:
    """The sentence of a message that has stack traces around it, without the places of MXNet's own source."""
    said = re.sub(r"^\s*(Stack trace|Traceback|\[bt\]|File ).*|^\s*MXNetError: ", "", str(error), flags=re.MULTILINE)
    said = re.sub(r"\[[\d:]+\]|(Error in operator \S+: )?\S+/\S+\.(cc|h)\S*:\d+:?", "", said)
    text = " ".join(said.split()) or type(error).__name__
    return text[:200].rstrip(".:, ")


if __name__ == "__main__":
    sys.exit(main(convert))
