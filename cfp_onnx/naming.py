"""Names for people: a module's name where a layer only has an exporter's number."""

from __future__ import annotations

import re

_GENERIC = frozenset(
    {"node", "conv", "convtranspose", "convinteger", "convolution", "fusedconv", "qlinearconv", "gemm", "matmul",
     "einsum", "linear", "dense", "op", "d", "t", "x", "n", "w", "weight", "weights", "kernel", "quantized", "merged",
     "input", "output", "read", "readvariableop", "variableop", "constant", "const", "initializer", "param", "val",
     "tensor", "onnx", "cast", "transpose", "reshape", "value"}
)  # fmt: skip
"""Words that do not tell one layer from another."""

_AROUND = re.compile(
    r"^(?:Stateful)?PartitionedCall/|(?:[./](?:weights?|kernel|w|merged_input|read|readvariableop)(?:_\d+)?(?::\d+)?)+$",
    re.IGNORECASE,
)
"""What exporters put around a module's name."""


def module_of(name: str, weight: str) -> str:
    """The module that a layer's weights belong to, if the layer's own name is only a number; else an empty text.

    Args:
        name: The layer's name, as ``node_Conv_196``.
        weight: The name of its weights, as ``stem.conv.weight``: the module is ``stem.conv``.
    """
    module = _AROUND.sub("", weight)
    return module if module != weight and _is_distinctive(module) and not _is_distinctive(name) else ""


def _is_distinctive(text: str) -> bool:
    """Whether a name has a word that tells its layer from others."""
    return not _GENERIC.issuperset(re.findall(r"[a-z]+", text.lower()))


__all__ = ["module_of"]
