"""The demonstration model and its clip: where they are, and the model with a change or in a form that is deployed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from benchmarks.motion.clips import Frames

Array = NDArray[Any]
Edit = Callable[[onnx.ModelProto], None]

DATA: Final = Path(__file__).parents[1] / "cfp_onnx" / "data"
DEMO: Final = DATA / "demo.onnx"
DEMO_CLIP: Final = DATA / "demo_clip.npz"
MEAN, STD = 0.5, 0.25
"""Normalisation of the motion clips, as in ``benchmarks.motion.train``."""


def normalised(frames: Frames) -> Array:
    """Frames as the network takes them: ``(1, 3, T, H, W) float32``."""
    return np.ascontiguousarray(((frames.astype(np.float32) / 255 - MEAN) / STD).transpose(3, 0, 1, 2)[None])


# -------------------------------------------------------------------------------------------- changes


def edited(path: Path, change: Edit) -> Path:
    """Write the demonstration model with a change.

    Args:
        path: Where it goes.
        change: Changes the model in place.

    Returns:
        The path.

    Raises:
        onnx.checker.ValidationError: If the change leaves an invalid model.
    """
    model = onnx.load(DEMO)
    change(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def initializer(model: onnx.ModelProto, name: str) -> Array:
    """A copy of an initializer's value."""
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name)).copy()


def set_initializer(model: onnx.ModelProto, name: str, value: Array) -> None:
    """Give an initializer another value, of any shape."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))


def weights(layer: str, edit: Callable[[Array], Array]) -> Edit:
    """Other weights of one layer."""

    def change(model: onnx.ModelProto) -> None:
        name = f"{layer}.weight"
        set_initializer(model, name, np.asarray(edit(initializer(model, name)), np.float32))

    return change


def times(factor: float) -> Callable[[Array], Array]:
    """All weights times a factor."""
    return lambda value: value * np.float32(factor)


def pruned(value: Array) -> Array:
    """The smallest 30 % of the weights set to zero."""
    return np.where(np.abs(value) <= np.quantile(np.abs(value), 0.3), 0, value)


def drawn(value: Array) -> Array:
    """Weights of the same spread, drawn anew."""
    return np.random.default_rng(0).standard_normal(value.shape) * value.std()


def in_front(*nodes: onnx.NodeProto, **constants: Any) -> Edit:
    """Nodes between the input and what read it; the last one writes ``fed``."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["fed" if name == "clip" else name for name in node.input]
        kept = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *kept])
        for name, value in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    return change


WRONG_INPUT: Final[dict[str, Edit]] = {
    "BGR instead of RGB": in_front(helper.make_node("Gather", ["clip", "order"], ["fed"], axis=1), order=[2, 1, 0]),
    "not normalised": in_front(
        helper.make_node("Mul", ["clip", "std__in"], ["scaled__in"]),
        helper.make_node("Add", ["scaled__in", "mean__in"], ["fed"]),
        std__in=np.float32(STD), mean__in=np.float32(MEAN),
    ),
    "frames reversed": in_front(
        helper.make_node("Slice", ["clip", "from", "to", "axis", "step"], ["fed"]),
        **{"from": [-1], "to": [-1000], "axis": [2], "step": [-1]},
    ),
}  # fmt: skip
"""What a wrong preprocessing does, put into the file."""


# ---------------------------------------------------------------------------------- forms of deployment


def optimised(path: Path, level: str) -> Path:
    """Write what the runtime makes of the model before it runs it.

    Args:
        path: Where it goes.
        level: ``BASIC``, ``EXTENDED`` or ``ALL``.

    Returns:
        The path.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(DEMO, options, providers=["CPUExecutionProvider"])
    return path


def half(path: Path) -> Path:
    """Weights and arithmetic in float16."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(DEMO), keep_io_types=True), path)
    return path


def eight_bits(path: Path, frames: Sequence[Frames], **options: Any) -> Path:
    """Static quantisation by the runtime's own tool.

    Args:
        path: Where it goes.
        frames: Clips to calibrate on.
        **options: ``form``, QDQ or QOperator, and options of ``quantize_static``.

    Returns:
        The path.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Frames] = iter(frames)

        def get_next(self) -> dict[str, Array] | None:
            found = next(self.left, None)
            return None if found is None else {"clip": normalised(found)}

    form = getattr(quantization.QuantFormat, options.pop("form"))
    quantization.quantize_static(DEMO, path, Reader(), quant_format=form, **options)
    return path
