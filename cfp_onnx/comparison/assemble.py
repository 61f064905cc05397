"""The result of a comparison, from what the clips showed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cfp_onnx.comparison.judge import Case, Judge, results
from cfp_onnx.comparison.observed import ClipRequest, Observed
from cfp_onnx.comparison.result import Comparison
from cfp_onnx.comparison.side import Side
from cfp_onnx.comparison.values import ComparedClass, ComparedFile, Divergence, Outputs, Tolerance
from cfp_onnx.comparison.weight_differences import weight_difference
from cfp_onnx.matching.agreement import agreement
from cfp_onnx.values import Array


def assembled(
    a: Side, b: Side, found: Observed, wanted: ClipRequest, *, tolerance: float | None, theta: float
) -> Comparison:
    """The result.

    Args:
        a: The first file.
        b: The second.
        found: What the clips showed.
        wanted: What was looked at.
        tolerance: Largest difference that counts as the same; by the numbers that the files keep where None.
        theta: Threshold of chosen kernels.
    """
    judge = Judge.of(a.network, b.network, tolerance)
    limit = np.inf if judge.weights is None else judge.weights
    pairs = [p for p in found.alignment.pairs if p.a.scale is not None and p.b.scale is not None]
    weighed = {p.a.index: weight_difference(p, limit) for p in pairs}
    case = Case(a.network, b.network, found.alignment, found.seen, weighed, judge)
    outputs = _outputs(found.scores, found.index)
    first = case.first() if found.fed_alike else OTHER_INPUT
    if first is None and outputs.difference > judge.outputs:
        first = _after_classifier(a, b)
    names = wanted.labels or ()
    label = names[found.index] if found.index < len(names) else None
    depth = "all" if wanted.depth is None else wanted.depth
    return Comparison(
        models=(_file(a, judge), _file(b, judge)), clips=tuple(found.clips),
        target=ComparedClass(a.engine.output, found.index, label, depth),
        tolerance=Tolerance(judge.outputs, judge.weights, tolerance is not None, judge.precision),
        layers=results(case, theta), first=first, outputs=outputs,
        only_a=tuple(u.name for u in found.alignment.only_a), only_b=tuple(u.name for u in found.alignment.only_b),
        same=first is None, notes=tuple(_notes(a, b)),
    )  # fmt: skip


OTHER_INPUT = Divergence(
    "input", None, None, (), None,
    "the two files' own preprocessing makes different inputs of the clip; give one with --preprocess",
)  # fmt: skip


def _after_classifier(a: Side, b: Side) -> Divergence:
    """The difference behind the classifier, where every layer agrees and the answers do not."""
    head = max(a.network.heads)
    one, two = (", ".join(s.network.behind) or "nothing" for s in (a, b))
    cause = "every layer agrees, but what follows the classifier does not"
    if one != two:
        cause = f"the classifier is followed by {one} in A and by {two} in B"
    return Divergence("output", a.engine.topology.layers[head].name, None, (), None, cause)


def _file(side: Side, judge: Judge) -> ComparedFile:
    precision = side.network.precision
    if precision == "float32" and judge.precision == "float16" and side.network.rounded:
        precision = "float16"
    file = side.model
    return ComparedFile(
        str(file.path), file.sha256, file.producer, file.opset, precision, len(side.network.units)
    )  # fmt: skip


def _notes(a: Side, b: Side) -> Iterator[str]:
    for letter, side in (("A", a), ("B", b)):
        coverage = side.engine.coverage
        if not coverage.complete:
            yield f"{letter} could be followed in part only: {100 * coverage.channels:.1f} % of its channels"
        if others := len(side.model.outputs) - 1:
            yield f"{letter} has {others} more output{'s' * (others > 1)}, not compared"


def _outputs(scores: Sequence[tuple[Array, Array]], index: int) -> Outputs:
    found = [agreement(x[None], y[None]) for x, y in scores]
    first = scores[0]
    return Outputs(
        cosine=min(f.cosine for f in found),
        difference=max(f.difference for f in found),
        max_abs=max(f.max_abs for f in found),
        same_top=all(int(x.argmax()) == int(y.argmax()) for x, y in scores),
        scores=(float(first[0][index]), float(first[1][index])),
    )


__all__ = ["assembled"]
