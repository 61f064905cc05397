"""A convolution whose weights are mixed from a bank of constant ones, by shares that the clip gives (CondConv).

Convolving with a mixture is mixing what each member of the bank finds: the bank is the layer, and the shares are gates
on its kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfp_onnx.model.program import Program
from cfp_onnx.model.values import Node
from cfp_onnx.model.writer import NotExpandableError, Writer
from cfp_onnx.values import Array

_IN_ORDER = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast"})
"""Operators that leave elements in their order."""


@dataclass(frozen=True)
class Bank:
    """Weights that are mixed.

    Attributes:
        shares: Tensor with one number for each member.
        members: (members, weights of one) constants.
    """

    shares: str
    members: Array


def is_mixed_convolution(program: Program, node: Node) -> bool:
    """Whether a convolution of one item has weights from a bank."""
    if node.op != "Conv" or any(program.is_constant(name) for name in node.inputs[:2]):
        return False
    if program.shapes[node.inputs[0]][0] != 1 or (bank := _bank(program, node.input(1))) is None:
        return False
    return bool(bank.members.shape[1] == np.prod(program.shapes[node.input(1)]))


def mixed_convolution(w: Writer) -> None:
    """`Conv` with weights from a bank, for one item."""
    bank = _bank(w.program, w.node.input(1))
    if bank is None:
        raise NotExpandableError("has weights that depend on the model's input")
    count, groups = len(bank.members), int(w.attribute("group", 1))
    kernels, *rest = w.shape(1)
    own = bank.members.reshape(count, groups, kernels // groups, *rest).swapaxes(0, 1)
    weights = w.number(own.reshape(count * kernels, *rest), "bank")
    given = {k: v for k, v in w.node.attributes.items() if v is not None}
    found = w.add_named("Conv", [w.tensor(0), weights], **given)
    sizes = w.out_shape(0)[2:]
    ones = [1] * len(sizes)
    members = w.reshape(found, [1, groups, count, kernels // groups, *sizes], "members")
    shares = w.reshape(w.other(bank.shares), [1, 1, count, 1, *ones], "shares")
    gated = w.add("Mul", [members, shares], "mixed")
    if w.program.model.opset >= 13:
        summed = w.add("ReduceSum", [gated, w.constant(np.array([2]), "axis")], "sum", keepdims=0)
    else:
        summed = w.add("ReduceSum", [gated], "sum", axes=[2], keepdims=0)
    out = w.reshape(summed, [1, kernels, *sizes], "out")
    if w.has(2):
        out = w.add("Add", [out, w.reshape(w.tensor(2), [1, kernels, *ones], "bias")], "shifted")
    w.unread.append(w.tensor(1))
    w.give(0, out)


def _bank(program: Program, weights: str) -> Bank | None:
    """The bank that weights are mixed from; None where they are made in another way."""
    node = _made(program, weights)
    if node is None:
        return None
    match node.op:
        case "MatMul" | "Gemm":
            return _product(program, node)
        case "Einsum":
            return _einsum(program, node)
        case "ReduceSum":
            return _summed(program, node)
        case "Add" | "Sum":
            return _listed(program, node)
    return None


def _made(program: Program, tensor: str) -> Node | None:
    node = program.producers.get(tensor)
    while node is not None and node.op in _IN_ORDER:
        node = program.producers.get(node.inputs[0])
    return node


def _product(program: Program, node: Node) -> Bank | None:
    """Shares times a matrix of members, or members turned times shares."""
    left, right = node.inputs[:2]
    plain = node.attributes.get("alpha", 1.0) == 1.0 and not node.attributes.get("transA", 0)
    if not plain or node.input(2) or program.is_constant(left) == program.is_constant(right):
        return None
    held, shares = (right, left) if program.is_constant(right) else (left, right)
    members = program.constant(held)
    members = members.reshape(members.shape[-2:]) if members.ndim > 1 and members.size else members
    if members.ndim != 2:
        return None
    turned = (held == left) != bool(node.attributes.get("transB", 0))
    return _fitting(program, shares, members.T if turned else members)


def _fitting(program: Program, shares: str, members: Array) -> Bank | None:
    return Bank(shares, members) if int(np.prod(program.shapes[shares])) == len(members) else None


def _einsum(program: Program, node: Node) -> Bank | None:
    """One letter is added up, which the shares have; their other axes have length 1."""
    terms, _, out = str(node.attributes["equation"]).replace(" ", "").partition("->")
    names = dict(zip(terms.split(","), node.inputs, strict=True))
    held = [t for t, name in names.items() if program.is_constant(name)]
    if len(names) != 2 or len(held) != 1 or "." in terms or not out:
        return None
    theirs = held[0]
    own = next(t for t in names if t != theirs)
    summed = [x for x in theirs if x not in out]
    shared = set(theirs) & set(own)
    if len({*theirs}) != len(theirs) or len(summed) != 1 or shared != set(summed):
        return None
    order = [theirs.index(x) for x in [*summed, *(x for x in out if x in theirs)]]
    members = program.constant(names[theirs]).transpose(order)
    return _fitting(program, names[own], members.reshape(len(members), -1))


def _summed(program: Program, node: Node) -> Bank | None:
    """A sum over the axis of the members, each of which was multiplied by its share."""
    axes = node.attributes.get("axes")
    if axes is None:
        axes = program.constant_or_none(node.input(1))
    product = program.producers.get(node.inputs[0])
    if axes is None or np.size(axes) != 1 or product is None or product.op != "Mul":
        return None
    factor = _factor(program, product)
    if factor is None:
        return None
    shares, members = factor
    shape = program.shapes[product.outputs[0]]
    axis = int(np.reshape(axes, -1)[0]) % len(shape)
    theirs = (1,) * (len(shape) - len(program.shapes[shares])) + program.shapes[shares]
    if any(n != 1 for a, n in enumerate(theirs) if a != axis) or members.size != int(np.prod(shape)):
        return None
    members = np.moveaxis(members.reshape(shape), axis, 0)
    return _fitting(program, shares, members.reshape(len(members), -1))


def _factor(program: Program, product: Node) -> tuple[str, Array] | None:
    """A product's activation and its constant."""
    held = [name for name in product.inputs if program.is_constant(name)]
    if len(held) != 1:
        return None
    return next(name for name in product.inputs if name != held[0]), program.constant(held[0])


def _listed(program: Program, node: Node) -> Bank | None:
    """A sum of constants, each of which was multiplied by a number of a vector, taken from it by a Split."""
    stack, found = [*reversed(node.inputs)], []
    while stack:
        made = program.producers.get(stack.pop())
        if made is not None and made.op in {"Add", "Sum"}:
            stack.extend(reversed(made.inputs))
            continue
        factor = None if made is None or made.op != "Mul" else _factor(program, made)
        if factor is None or int(np.prod(program.shapes[factor[0]])) != 1:
            return None
        found.append(factor)
    makers = {id(made): made for name, _ in found if (made := _made(program, name)) is not None}
    if len(makers) != 1:
        return None
    split = next(iter(makers.values()))
    places = [_output(program, name) for name, _ in found]
    if split.op != "Split" or sorted(places) != sorted(split.outputs) or len({c.size for _, c in found}) != 1:
        return None
    members = {place: constant.reshape(-1) for place, (_, constant) in zip(places, found, strict=True)}
    return _fitting(program, split.inputs[0], np.stack([members[o] for o in split.outputs]))


def _output(program: Program, tensor: str) -> str:
    """The tensor that a tensor is, but for its shape."""
    while (node := program.producers.get(tensor)) is not None and node.op in _IN_ORDER:
        tensor = node.inputs[0]
    return tensor


__all__ = ["is_mixed_convolution", "mixed_convolution"]
