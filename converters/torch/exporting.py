"""PyTorch's two exporters: the one that traces with ``torch.export``, and the older one, which takes TorchScript."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from contract import Refusal, Request, first_cause
from torch import Tensor, nn

OPSET = 20

SINGLE_FILE = 2**31 - 2**22
"""Bytes of weights from which on they go into a file beside the model."""

BY_VALUES = (
    "the code decides by the values of a clip (an if, .item(), a size), and a file has one course only; write that "
    "with tensors, as torch.where does"
)
CAUSES = {
    r"GuardOnDataDependentSymNode(?s:.*)File \"([^\"]+)\", line (\d+)": f"{{0}}, line {{1}}: {BY_VALUES}",
    r"GuardOnDataDependentSymNode": BY_VALUES,
    r"No ONNX function found for <OpOverload\(op='([\w.]+)'": "ONNX has no operator for {0} as it is used there; write "
    "that part with other layers",
    r"numpy\(\) is not supported for tensor subclasses": "the code makes a tensor of a clip's sizes by "
    "torch.Tensor(..), which cannot be traced; write torch.zeros(..) or x.new_zeros(..)",
}
"""What an exporter's errors mean, by a pattern of their text."""


class Unexported(Refusal):
    """The exporter failed."""


@dataclass(frozen=True)
class Order:
    """What an exporter shall write.

    Attributes:
        clips: An example of each input.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        fixed: The batch that the graph is written for, or None where it may vary.
        request: What the core asks for.
    """

    clips: tuple[Tensor, ...]
    inputs: list[str]
    outputs: list[str]
    fixed: int | None
    request: Request

    @property
    def file(self) -> Path:
        """Where the model goes, and the weights of a large one beside it."""
        return self.request.out / "model.onnx"


def export_module(network: nn.Module, order: Order) -> None:
    """Through ``torch.export``."""
    batch: Any = {0: torch.export.Dim("batch", min=1)}
    count = len(order.clips)
    sizes = nested(network, [batch] * count)
    dynamic = {} if order.fixed else {"dynamic_shapes": sizes if sizes is not None else ([batch] * count,)}
    write_program(network, (list(order.clips),) if sizes is None else order.clips, order, dynamic)


def nested(network: nn.Module, values: list[Any]) -> tuple[Any, ...] | None:
    """One value per input, those of ``*clips`` in a tuple, as parameters have them; None where they are one list."""
    try:
        places = [p.kind for p in inspect.signature(network.forward).parameters.values()]
    except (TypeError, ValueError):  # a function that Python did not write says nothing
        return tuple(values)
    star = places.index(inspect.Parameter.VAR_POSITIONAL) if inspect.Parameter.VAR_POSITIONAL in places else len(values)
    if len(places) == 1 < len(values) and star:
        return None
    return (*values[:star], *([tuple(values[star:])] if star < len(values) else []))


def export_program(program: torch.export.ExportedProgram, order: Order) -> None:
    """A program that was exported before; its dynamic sizes are its own."""
    write_program(program, order.clips, order, {})


def write_program(network: Any, clips: tuple[Any, ...], order: Order, dynamic: Mapping[str, Any]) -> None:
    """Writes with the exporter of today, which would silently turn an older operator set into 18."""
    opset = order.request.opset_between(18, 23, default=OPSET)
    beside = weight_bytes(network) > SINGLE_FILE
    with exporting("the network"):
        program = torch.onnx.export(
            network, clips, dynamo=True, opset_version=opset, input_names=order.inputs, output_names=order.outputs,
            external_data=False, verbose=False, **dynamic,
        )  # fmt: skip
        program.save(str(order.file), external_data=beside)


def weight_bytes(network: Any) -> int:
    """Bytes of a network's weights."""
    state = network.state_dict  # a method of a module, a value of an exported program
    tensors = (state if isinstance(state, Mapping) else state()).values()
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))


def export_script(network: torch.jit.ScriptModule, order: Order) -> None:
    """Through the older exporter, the only one that takes TorchScript."""
    opset = order.request.opset_between(9, OPSET, default=OPSET)
    dynamic = None if order.fixed else {name: {0: "batch"} for name in (*order.inputs, *order.outputs)}
    with exporting("the TorchScript"):
        torch.onnx.export(
            network, order.clips, str(order.file), dynamo=False, opset_version=opset, input_names=order.inputs,
            output_names=order.outputs, dynamic_axes=dynamic,
        )  # fmt: skip


@contextlib.contextmanager
def exporting(what: str) -> Iterator[None]:
    """The exporter's prints go nowhere, and its failure becomes one sentence."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except Exception as error:  # exporters raise anything
        raise Unexported(f"{what} cannot be exported: {meaning(error)}") from error


def meaning(error: BaseException) -> str:
    """The first words of the error that started it, or what it means where it is known."""
    error = first_cause(error)
    said = str(error)
    for pattern, sentence in CAUSES.items():
        if found := re.search(pattern, f"{type(error).__name__}: {said}"):
            return sentence.format(*found.groups())
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:400]
