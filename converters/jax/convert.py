"""JAX code to ONNX: an nnx or Linen module, or a function, traced by JAX itself and written by jax2onnx."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of contract.py
from contract import (
    MIXING,
    Array,
    Clip,
    Converted,
    Refusal,
    Request,
    close,
    first_line,
    look_in,
    main,
    output_names,
    random_clip,
    same_beside,
)

sys.path.pop(0)  # else a library that asks for JAX or TensorFlow takes the folder of that name for it

os.environ["JAX_PLATFORMS"] = "cpu"

import flax
import folding
import jax
import jax2onnx
import numpy as np
import onnx
from flax_source import Network, network
from jax import export
from onnx import numpy_helper


def convert(request: Request) -> Converted:
    """The graph that jax2onnx writes of a network.

    Raises:
        Refusal: If the code makes no network, trains, draws random numbers, or cannot be traced or written.
    """
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    opset = request.opset_between(18, 23, default=20)
    look_in(request.cwd)
    shapes = request.shapes_of_code()
    found = network(request, shapes)
    folding.prepare()
    outputs, fixed = tried(found, request, shapes)
    model, fixed = written(found, request, shapes, outputs, fixed, opset)
    name_weights(model, found.weights)

    def run(clip: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(outputs, ran(found, request, [clip[n] for n in shapes]), strict=True))

    return Converted(
        model=model,
        run=run,
        shapes=shapes,
        fixed=fixed,
        framework=f"jax {jax.__version__}, flax {flax.__version__}",
        exporter=f"jax2onnx {version('jax2onnx')}",
        kind=found.kind,
        notes=found.notes,
    )


def ran(found: Network, request: Request, clip: Sequence[Array]) -> list[Array]:
    """The network's outputs on one clip, in JAX's order of leaves.

    Raises:
        Refusal: If it fails, or returns no float tensors.
    """
    try:
        leaves = jax.tree_util.tree_leaves(found.call(*map(jax.numpy.asarray, clip)))
        out = [np.asarray(leaf) for leaf in leaves]
    except Refusal:
        raise
    except flax.errors.ModifyScopeVariableError as error:
        raise Refusal(
            f"{request.source}: batch norm is in training mode; call it with use_running_average=True when it does "
            "not train (a parameter train or deterministic of __call__ is set for that)"
        ) from error
    except flax.errors.InvalidRngError as error:
        raise Refusal(
            f"{request.source}: the network wants random keys (dropout?); call it with deterministic=True when it does "
            "not train (a parameter train or deterministic of __call__ is set for that)"
        ) from error
    except Exception as error:  # it is the user's code
        sizes = ", ".join(str(array.shape) for array in clip)
        raise Refusal(
            f"{request.source}: the network does not take a float32 input of {sizes} "
            f"({type(error).__name__}: {first_line(error)}); check --input-shape"
        ) from error
    if not out or not all(array.dtype == np.float32 for array in out):
        kinds = ", ".join(str(array.dtype) for array in out) or "nothing"
        raise Refusal(f"{request.source}: the network returns {kinds}, not float32 tensors; return the logits alone")
    return out


def tried(found: Network, request: Request, shapes: Mapping[str, Sequence[int]]) -> tuple[list[str], int | None]:
    """Runs random clips, again and beside each other.

    Returns:
        Names of the outputs, and the batch where it cannot vary.

    Raises:
        Refusal: If outputs change from run to run or with the neighbour.
    """

    def answer(clip: Clip) -> list[Array]:
        return ran(found, request, [clip[name] for name in shapes])

    rng = np.random.default_rng(request.seed)
    batch = request.fixed or 1
    one, other = (random_clip(rng, shapes, batch, offset) for offset in (0.0, 0.5))
    first = answer(one)
    names = output_names(len(first))
    if not close(first, answer(one), MIXING):
        raise Refusal(
            f"{request.source}: the network gives other outputs when it is run again on the same clip (dropout, or a "
            "state that it keeps?); make it free of both"
        )
    traced(found.call, request, shapes, batch)
    if request.fixed:
        return names, request.fixed
    together = same_beside(answer, [one, other], [first, answer(other)])
    if together is None:
        found.notes.append("the batch is fixed at 1: the network does not take two clips at once")
        return names, 1
    if not together:
        raise Refusal(
            f"{request.source}: a clip's outputs change with the clip beside it: batch norm is in training mode, "
            "or clips are mixed; use running averages, or give --batch 1 if that is meant"
        )
    return names, None


def written(
    found: Network, request: Request, shapes: Mapping[str, Sequence[int]], outputs: Sequence[str], fixed: int | None,
    opset: int,
) -> tuple[onnx.ModelProto, int | None]:  # fmt: skip
    """The graph for any batch, or for one where that fails; and the batch it is for.

    Raises:
        Refusal: If it can be traced or written for none.
    """
    if fixed:
        return write(found.call, request, shapes, outputs, fixed, opset), fixed
    try:
        return write(found.call, request, shapes, outputs, None, opset), None
    except Refusal:
        model = write(found.call, request, shapes, outputs, 1, opset)
        found.notes.append("the batch is fixed at 1: the code cannot be traced or written for a batch of any size")
        return model, 1


def write(
    call: Callable[..., Any], request: Request, shapes: Mapping[str, Sequence[int]], outputs: Sequence[str],
    fixed: int | None, opset: int,
) -> onnx.ModelProto:  # fmt: skip
    """Traces and writes for one batch, or for any.

    Raises:
        Refusal: If it cannot be traced, or holds what cannot be written.
    """
    closed, ports = traced(call, request, shapes, fixed or export.symbolic_shape("batch")[0])
    try:
        return jax2onnx.to_onnx(
            folding.folded(closed), inputs=ports, opset=opset, return_mode="proto", input_names=list(shapes),
            output_names=list(outputs),
        )  # fmt: skip
    except Refusal as refusal:
        raise Refusal(f"{request.source}: {refusal}") from refusal
    except Exception as error:  # jax2onnx raises anything
        raise Refusal(
            f"{request.source}: jax2onnx cannot write this network ({type(error).__name__}: {first_line(error)}); "
            "write that part with other operations"
        ) from error


def traced(
    call: Callable[..., Any], request: Request, shapes: Mapping[str, Sequence[int]], batch: Any
) -> tuple[Any, list[Any]]:
    """The network as JAX's own primitives, and its inputs.

    Raises:
        Refusal: If the code looks at values, computes in other floats or at random.
    """
    ports = [jax.ShapeDtypeStruct((batch, *shape[1:]), np.float32) for shape in shapes.values()]
    try:
        closed = jax.make_jaxpr(lambda *clip: jax.tree_util.tree_leaves(call(*clip)))(*ports)
    except Refusal:
        raise
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise Refusal(
            f"{request.source}: its code looks at the values of a clip ({type(error).__name__}, {place(error)}), which "
            "a graph cannot; write the choice with jnp.where or jax.lax.cond, and jnp for np"
        ) from error
    except Exception as error:  # it is the user's code
        raise Refusal(
            f"{request.source}: cannot be traced by JAX ({type(error).__name__}: {first_line(error)}); try --batch 1"
        ) from error
    folding.check(closed, request.source)
    return closed, ports


def name_weights(model: onnx.ModelProto, weights: Mapping[str, Array]) -> None:
    """Gives layers the names that their weights have in the code, where just one weight has these values."""
    known: dict[bytes, set[str]] = {}
    for name, array in weights.items():
        if array.ndim < 2:
            continue
        for order in {tuple(range(array.ndim)), (*range(array.ndim)[:-3:-1], *range(array.ndim - 2))}:
            known.setdefault(_digest(array.transpose(order)), set()).add(name)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    taken = {node.name for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type not in {"Conv", "MatMul", "Gemm"} or node.input[1] not in stored:
            continue
        names = known.get(_digest(numpy_helper.to_array(stored[node.input[1]])), set())
        if len(names) == 1:
            (name,) = names
            layer = (name.rpartition(".")[0] or name).removeprefix("params.")
            if layer not in taken:
                node.name = layer
                taken.add(layer)


def _digest(array: Array) -> bytes:
    """Of the values in their order; the sizes may differ, since a matrix is made of several axes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()


def place(error: BaseException) -> str:
    """Line of the user's code in which an error arose."""
    trace, where = error.__traceback__, "somewhere"
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "site-packages" not in file and not file.startswith("<") and Path(__file__).parent != Path(file).parent:
            where = f"{Path(file).name} line {trace.tb_lineno}"
        trace = trace.tb_next
    return where


if __name__ == "__main__":
    sys.exit(main(convert))
