"""Products with matrices, batch norms, and arithmetic with an activation or a constant."""

from __future__ import annotations

import numpy as np

from .steps import Array, Fields, Step, adjoint, columns, forward, unbroadcast


@forward("Gemm")
def _gemm(step: Step) -> Array:
    a, b = _gemm_operands(step)
    y = step.attributes.get("alpha", 1.0) * (a @ b)
    c = step.get(2)
    return y if c is None else y + step.attributes.get("beta", 1.0) * c


def _gemm_operands(step: Step) -> tuple[Array, Array]:
    a = step.x.T if step.attributes.get("transA", 0) else step.x
    return a, step.need(1).T if step.attributes.get("transB", 0) else step.need(1)


@adjoint("Gemm")
def _gemm_back(step: Step, g: Array) -> Fields:
    (a, b), alpha = _gemm_operands(step), step.attributes.get("alpha", 1.0)
    if step.live[0] and step.live[1]:
        raise NotImplementedError(f"Gemm {step.name!r} of two activations")
    ga, gb = alpha * (g @ b.T), alpha * (a.T @ g)
    result = [
        ga.T if step.attributes.get("transA", 0) else ga,
        gb.T if step.attributes.get("transB", 0) else gb,
    ]
    c = step.get(2)
    return result if c is None else [*result, step.attributes.get("beta", 1.0) * unbroadcast(g, c.shape)]


@adjoint("MatMul")
def _matmul_back(step: Step, g: Array) -> Fields:
    """Each operand's field through the other; the weights of an attention may be held."""
    a, b = step.x, step.need(1)
    left = None if step.held[0] or not step.live[0] else _matmul_back_left(a, b, g)
    right = None if step.held[1] or not step.live[1] else _matmul_back_right(a, b, g)
    return [left, right]


def _matmul_back_left(a: Array, b: Array, g: Array) -> Array:
    if b.ndim == 1:
        b, g = b[:, None], g[..., None]
    wide_g = g[..., None, :] if a.ndim == 1 else g
    back = wide_g @ np.swapaxes(b, -1, -2)
    return unbroadcast(back, (1, *a.shape)).reshape(a.shape) if a.ndim == 1 else unbroadcast(back, a.shape)


def _matmul_back_right(a: Array, b: Array, g: Array) -> Array:
    if b.ndim == 1:
        return np.tensordot(g, a, axes=g.ndim)
    wide_g = g[..., None, :] if a.ndim == 1 else g
    return unbroadcast(np.swapaxes(np.atleast_2d(a), -1, -2) @ wide_g, b.shape)


@adjoint("Einsum")
def _einsum_back(step: Step, g: Array) -> Fields:
    """An axis that one operand has alone was summed there: its field is the same all along it."""
    terms, out = step.attributes["equation"].decode().replace(" ", "").split("->")
    pair = terms.split(",")
    back: list[Array | None] = [None, None]
    for side in (0, 1):
        if step.live[side] and not step.held[side]:
            mine, rest = pair[side], pair[1 - side]
            alone = np.ones([n for x, n in zip(mine, step.need(side).shape, strict=True) if x not in out + rest])
            names = "".join(x for x in mine if x not in out + rest)
            back[side] = np.einsum(f"{out},{rest},{names}->{mine}", g, step.need(1 - side), alone)
    return back


@forward("BatchNormalization")
def _batch_norm(step: Step) -> Array:
    scale, bias, mean, var = (columns(step.need(i), step.x.ndim) for i in range(1, 5))
    return (step.x - mean) / np.sqrt(var + step.attributes.get("epsilon", 1e-5)) * scale + bias


@adjoint("BatchNormalization")
def _batch_norm_back(step: Step, g: Array) -> Fields:
    scale, var = columns(step.need(1), step.x.ndim), columns(step.need(4), step.x.ndim)
    return [g * scale / np.sqrt(var + step.attributes.get("epsilon", 1e-5))]


@adjoint("Add", "Sum")
def _add_back(step: Step, g: Array) -> Fields:
    return [unbroadcast(g, x.shape) for x in step.inputs if x is not None]


@adjoint("Sub")
def _sub_back(step: Step, g: Array) -> Fields:
    return [unbroadcast(g, step.x.shape), -unbroadcast(g, step.need(1).shape)]


@adjoint("Neg")
def _neg_back(step: Step, g: Array) -> Fields:
    return [-g]


@adjoint("Mul")
def _mul_back(step: Step, g: Array) -> Fields:
    """The product rule, but for a factor that is held."""
    back: list[Array | None] = [None, None]
    for side in (0, 1):
        if step.live[side] and not step.held[side]:
            back[side] = unbroadcast(g * step.need(1 - side), step.need(side).shape)
    return back


def gate_operand(step: Step) -> int:
    """Index of the operand that is held: the constant, the gate by its chain, the smaller, or the second."""
    if step.live[0] != step.live[1]:
        return 1 if step.live[0] else 0
    if step.gate[0] != step.gate[1]:
        return 0 if step.gate[0] else 1
    return 0 if step.x.size < step.need(1).size else 1


@adjoint("Div")
def _div_back(step: Step, g: Array) -> Fields:
    """The rule of quotients; a constant over an activation that carries gives the share y / x, as activations do."""
    top, bottom = step.x, step.need(1)
    if not step.live[0]:
        share = step.y / bottom
        return [None, unbroadcast(g * (share if step.carries else -share), bottom.shape)]
    divisor = None if step.held[1] or not step.live[1] else -unbroadcast(g * step.y / bottom, bottom.shape)
    return [unbroadcast(g / bottom, top.shape), divisor]
