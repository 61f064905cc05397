"""The names that people are shown: a module's in place of an exporter's number."""

from __future__ import annotations

import re

_GENERIC = frozenset(
    {"node", "conv", "convtranspose", "convinteger", "convolution", "fusedconv", "qlinearconv", "gemm", "matmul",
     "einsum", "linear", "dense", "op", "d", "t", "x", "n", "w", "weight", "weights", "kernel", "quantized", "merged",
     "input", "output", "read", "readvariableop", "variableop", "constant", "const", "initializer", "param", "val",
     "tensor", "onnx", "cast", "transpose", "reshape", "value"}
)  # fmt: skip
"""Words that say nothing of which layer it is."""


_AROUND = re.compile(
    r"^(?:Stateful)?PartitionedCall/|(?:[./](?:weights?|kernel|w|merged_input|read|readvariableop)(?:_\d+)?(?::\d+)?)+$",
    re.IGNORECASE,
)


def module_of(name: str, weight: str) -> str:
    """The module that a layer's weights belong to, where its name is but a number of the exporter's; else nothing.

    Args:
        name: The layer's name, as ``node_Conv_196``.
        weight: Its weights', as ``stem.conv.weight``: the module is ``stem.conv``.
    """
    module = _AROUND.sub("", weight)
    return module if module != weight and _telling(module) and not _telling(name) else ""


def _telling(text: str) -> bool:
    """Whether there is a word in it that not every layer has."""
    return not _GENERIC.issuperset(re.findall(r"[a-z]+", text.lower()))


__all__ = ["module_of"]
