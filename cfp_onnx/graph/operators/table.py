"""What becomes of every operator: traced, held, a barrier or refused, as the table of the documentation says it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from cfp_onnx.graph.operators.choice import STEPS
from cfp_onnx.graph.operators.registry import OPERATORS
from cfp_onnx.model import EXPANSIONS

State = Literal["traced", "held", "barrier", "refused"]

JUMPS = "a small change of what it reads never reaches its output"

_NO_NUMBERS = "its values are texts, or no numbers"
_NO_TENSOR = "its values are no single tensors"
_TRAINING = "a loss of training"
_TIMES = "which elements it takes, or how many, depends on the clip"
_TURNS = "written out for the number of times that it runs on the clip"
_LISTS = "its tensors are followed one by one"

_SPECIAL: dict[str, tuple[State, str]] = {
    "AffineGrid": ("held", "the grid of a GridSample keeps its recorded value"),
    "GridSample": ("traced", "a product with a matrix of at most 2^25 elements; its grid is held"),
    "DeformConv": ("traced", "as GridSample, then a convolution; its offsets are held, its mask is a gate"),
    "Conv": ("traced", "weights from the clip: where they are mixed from a bank of constants, for one item"),
    "DFT": ("traced", "a product with a matrix of at most 2^25 elements"),
    "Col2Im": ("traced", "a product with a matrix of at most 2^25 elements"),
    **dict.fromkeys(
        ("Constant", "BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"), ("traced", "a constant")
    ),
    "If": ("traced", "the branch that the clip takes stands in its place"),
    **dict.fromkeys(("Loop", "Scan"), ("traced", _TURNS)),
    **dict.fromkeys(
        (
            "SequenceAt",
            "SequenceConstruct",
            "SequenceEmpty",
            "SequenceErase",
            "SequenceInsert",
            "SequenceLength",
            "SplitToSequence",
            "ConcatFromSequence",
        ),
        ("traced", _LISTS),
    ),
}

_NOT_FOLLOWED: dict[str, tuple[State, str]] = {
    **dict.fromkeys(("StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer",
                     "ImageDecoder"), ("refused", _NO_NUMBERS)),
    **dict.fromkeys(("SequenceMap", "Optional", "OptionalGetElement", "OptionalHasElement"), ("barrier", _NO_TENSOR)),
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), ("barrier", _TRAINING)),
    **dict.fromkeys(("Compress", "Unique", "RoiAlign", "MaxRoiPool", "MaxUnpool", "TensorScatter"),
                    ("barrier", _TIMES)),
    **dict.fromkeys(("RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"), ("barrier", "it is random")),
}  # fmt: skip

NO_HANDLER = "no handler yet"


def state_of(op: str) -> tuple[State, str]:
    """What becomes of an operator, and why.

    Args:
        op: Its name, with its domain in front where that is not ONNX's own.

    Returns:
        The state, and a remark; empty where there is nothing to say.
    """
    if op in _SPECIAL:
        return _SPECIAL[op]
    if op in STEPS:
        return "held", JUMPS
    if op in EXPANSIONS:
        return "traced", "taken apart into ordinary nodes"
    if op in OPERATORS:
        return "traced", ""
    return _NOT_FOLLOWED.get(op, ("barrier", NO_HANDLER))


def operator_table(names: Iterable[str]) -> str:
    """The table as Markdown.

    Args:
        names: Operators; those of other domains that are known come with them.
    """
    known = [op for op in (*OPERATORS, *EXPANSIONS) if "::" in op]
    rows = [(op, *state_of(op)) for op in sorted({*names, *known}, key=lambda op: ("::" in op, op))]
    counts = ", ".join(f"{sum(r[1] == s for r in rows)} {s}" for s in ("traced", "held", "barrier", "refused"))
    lines = [f"| `{op}` | {state} | {why} |" for op, state, why in rows]
    return "\n".join(
        [HEAD, f"{len(rows)} operators: {counts}.", "", "| operator | state | remark |", "|---|---|---|", *lines, ""]
    )


HEAD = """# Operators

What becomes of each operator of ONNX's newest set, and of those of onnxruntime's own that are known.

- **traced**: channels are followed through it, and relevance is handed down. A form of it that is not handled (an axis
  that depends on the clip, say) counts as a barrier.
- **held**: it carries no channel; its output keeps its recorded value, as a mask or a shape does.
- **barrier**: it is not followed. A file with one on a channel path is refused with its name, or, with
  `--allow-barriers`, explained down to it; what lies behind is unknown. Before the first layer it needs no flag.
- **refused**: a file in which it lies on a path to the scores is not explained.

This file is written by `python -m benchmarks.operator_table` from the registry.
"""

__all__ = ["JUMPS", "NO_HANDLER", "operator_table", "state_of"]
