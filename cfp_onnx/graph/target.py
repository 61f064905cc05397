"""What leads from the logits to the output: the final Softmax or Sigmoid, and moves."""

from __future__ import annotations

from cfp_onnx.errors import TargetError
from cfp_onnx.graph.topology import Topology


def target_tensor(topology: Topology, output: str) -> str:
    """The value before a final Softmax or Sigmoid; moves behind it are followed back.

    Raises:
        TargetError: If no layer made the output.
    """
    tensor = output
    name = output
    while (made := topology.program.producers.get(name)) is not None:
        op = made.op.rpartition("::")[2]
        if op in {"Softmax", "LogSoftmax", "Sigmoid", "QLinearSigmoid", "QLinearSoftmax"}:
            tensor = name = made.inputs[0]
            continue
        if op in {
            "Identity",
            "Cast",
            "Reshape",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "DequantizeLinear",
            "QuantizeLinear",
            "Dropout",
        }:
            name = made.inputs[0]
            continue
        break
    if not topology.heads(tensor):
        raise TargetError(
            f"output {output!r} of {topology.program.model.path} is not made of kernels of any layer that can be "
            "followed; choose another with --output"
        )
    return tensor
