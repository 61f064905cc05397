"""Einsum as transposes, sums and one product of matrices, in every form with one or two operands.

Letters are of four kinds: those that both operands and the result have (batch), those that both have and the result
lacks (summed), and those of one operand and the result. So each operand is turned into (batch, own, summed) or
(batch, summed, own), the two are multiplied, and the result is turned into what was asked for.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from cfp_onnx.model.batched import grouped
from cfp_onnx.model.writer import NotExpandableError, Writer


@dataclass(frozen=True)
class Term:
    """An operand with the letters of its axes, and the size of each."""

    value: ir.Value
    sizes: Mapping[str, int]

    @property
    def letters(self) -> str:
        """One letter for each axis."""
        return "".join(self.sizes)

    def count(self, letters: Iterable[str]) -> int:
        """Number of elements along some axes."""
        return prod(self.sizes[x] for x in letters)


def einsum(w: Writer) -> None:
    """ONNX `Einsum` (https://onnx.ai/onnx/operators/onnx__Einsum.html).

    Raises:
        NotExpandableError: If it has more than two operands, or a letter twice in one of them.
    """
    shapes = [w.shape(i) for i in range(len(w.node.inputs))]
    inputs, out = _equation(str(w.node.attributes["equation"]), [len(s) for s in shapes])
    if len(inputs) > 2:
        raise NotExpandableError("has more than two operands")
    if any(len(set(t)) != len(t) for t in (*inputs, out)):
        raise NotExpandableError("takes a diagonal")
    sizes: dict[str, int] = {}
    for letters, shape in zip(inputs, shapes, strict=True):
        for x, n in zip(letters, shape, strict=True):
            sizes[x] = max(n, sizes.get(x, 1))
    if any(n not in (1, sizes[x]) or (n == 1 < sizes[x] and x not in out)
           for t, s in zip(inputs, shapes, strict=True) for x, n in zip(t, s, strict=True)):  # fmt: skip
        raise NotExpandableError("broadcasts an axis that it adds up")
    terms = [
        _summed_alone(w, k, dict(zip(t, s, strict=True)), inputs, out)
        for k, (t, s) in enumerate(zip(inputs, shapes, strict=True))
    ]
    if len(terms) == 1:
        w.give(0, _turned(w, terms[0], out, "out").value)
        return
    held = next((k for k in (0, 1) if w.value(k) is not None and w.value(1 - k) is None), None)
    if held == 0:
        terms.reverse()  # weights stand on the right
    if held is not None and any(x in terms[0].sizes and x in out and terms[1].sizes[x] > 1 for x in terms[1].sizes):
        w.give(0, _turned(w, _batched(w, terms[0], terms[1], out), out, "out").value)
        return
    w.give(0, _turned(w, _product(w, terms[0], terms[1], out), out, "out").value)


def _equation(text: str, ranks: list[int]) -> tuple[list[str], str]:
    """Letters of each operand and of the result; an ellipsis is spelled out, a result that is not given is found."""
    left, arrow, out = text.replace(" ", "").partition("->")
    terms = left.split(",")
    free = iter(c for c in string.ascii_letters if c not in text)
    hidden = [r - len(t.replace("...", "")) if "..." in t else 0 for t, r in zip(terms, ranks, strict=True)]
    letters = "".join(next(free) for _ in range(max(hidden, default=0)))
    if not arrow:
        counts = {c: left.count(c) for c in left if c.isalpha()}
        out = ("..." if "..." in left else "") + "".join(sorted(c for c, n in counts.items() if n == 1))
    spelled = [t.replace("...", letters[len(letters) - n :]) for t, n in zip(terms, hidden, strict=True)]
    return spelled, out.replace("...", letters)


def _summed_alone(w: Writer, index: int, sizes: dict[str, int], inputs: list[str], out: str) -> Term:
    """An operand without the axes that only it has and that are added up."""
    others = {*out, *(x for k, t in enumerate(inputs) if k != index for x in t)}
    alone = [i for i, x in enumerate(sizes) if x not in others]
    value = w.tensor(index)
    if alone:
        axes = w.constant(np.array(alone, np.int64), f"axes/{index}")
        given = [value, axes] if w.program.model.opset >= 13 else [value]
        more = {} if w.program.model.opset >= 13 else {"axes": alone}
        value = w.add("ReduceSum", given, f"sum/{index}", keepdims=0, **more)
    return Term(value, {x: n for x, n in sizes.items() if x in others})


def _product(w: Writer, left: Term, right: Term, out: str) -> Term:
    """The product of two operands, with its letters."""
    both = [x for x in left.letters if x in right.letters]
    batch, summed = [x for x in both if x in out], [x for x in both if x not in out]
    mine, yours = ([x for x in t.letters if x not in both] for t in (left, right))
    if not summed:
        return _elements(w, left, right, out)
    a = _turned(w, left, [*batch, *mine, *summed], "left")
    b = _turned(w, right, [*batch, *summed, *yours], "right")
    one, two = a.value, b.value
    plain = len(mine) > 0 and not batch  # then further axes of the left operand may stay as they are
    if len(summed) > 1 or not (plain or len(mine) == 1):
        rows = [a.sizes[x] for x in mine] if plain else [a.count(mine)]
        one = w.reshape(one, [*(a.sizes[x] for x in batch), *rows, a.count(summed)], "left/flat")
    if len(summed) > 1 or len(yours) != 1:
        two = w.reshape(two, [*(b.sizes[x] for x in batch), b.count(summed), b.count(yours)], "right/flat")
    made = w.add_named("MatMul", [one, two])
    sizes = {x: max(a.sizes[x], b.sizes[x]) for x in batch}
    sizes |= {x: a.sizes[x] for x in mine} | {x: b.sizes[x] for x in yours}
    if len(yours) != 1 or not (plain or len(mine) == 1):
        made = w.reshape(made, list(sizes.values()), "cut")
    return Term(made, sizes)


def _batched(w: Writer, left: Term, right: Term, out: str) -> Term:
    """The product with constants on the right that have a letter with the other operand and the result."""
    both = [x for x in left.letters if x in right.letters]
    summed = [x for x in both if x not in out]
    batch = [x for x in both if x in out and left.sizes[x] == right.sizes[x]]
    if not summed or not batch:
        return _product(w, left, right, out)
    mine, yours = (
        [x for x in t.letters if x in out and x not in batch and (x not in both or t.sizes[x] > 1)]
        for t in (left, right)
    )
    front, places = mine[:1], mine[1:]
    ones = [x for x in both if x in out and x not in batch]
    value = _turned(w, left, [*front, *batch, *summed, *places, *(x for x in ones if x not in mine)], "left").value
    matrices = _turned(w, right, [*batch, *yours, *summed, *(x for x in ones if x not in yours)], "right").value
    counts = right.count(batch), right.count(yours), right.count(summed)
    made = grouped(w, value, (matrices, *counts), counts[0], (left.count(front), left.count(places)))
    sizes = {x: left.sizes[x] for x in (*front, *batch)} | {x: right.sizes[x] for x in yours}
    sizes |= {x: left.sizes[x] for x in places}
    return Term(w.reshape(made, list(sizes.values()), "cut"), sizes)


def _elements(w: Writer, left: Term, right: Term, out: str) -> Term:
    """A product element by element, where no letter is added up."""
    letters = [x for x in out if x in left.letters or x in right.letters]
    given = []
    for term, name in ((left, "left"), (right, "right")):
        value = _turned(w, term, [x for x in letters if x in term.sizes], name).value
        missing = [i for i, x in enumerate(letters) if x not in term.letters]
        if missing and missing != list(range(len(missing))):  # axes in front come by themselves
            axes = w.constant(np.array(missing, np.int64), f"{name}/axes")
            if w.program.model.opset >= 13:
                value = w.add("Unsqueeze", [value, axes], f"{name}/wide")
            else:
                value = w.add("Unsqueeze", [value], f"{name}/wide", axes=missing)
        given.append(value)
    sizes = {x: max(t.sizes.get(x, 1) for t in (left, right)) for x in letters}
    return Term(w.add_named("Mul", given), sizes)


def _turned(w: Writer, term: Term, letters: Iterable[str], part: str) -> Term:
    """An operand with its axes in another order."""
    sizes = {x: term.sizes[x] for x in letters}
    perm = [term.letters.index(x) for x in sizes]
    if perm == list(range(len(perm))):
        return term
    return Term(w.add("Transpose", [term.value], part, perm=perm), sizes)


__all__ = ["einsum"]
