"""A traced network with all that depends on weights alone computed, and the windows in ONNX's order of axes.

jax2onnx is given this instead of the user's code, so that it replaces no function of Flax or JAX by its own idea of it:
every convolution, pool and normalisation arrives as the few primitives that JAX itself made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.extend
import numpy as np
import onnx_ir as ir
from contract import Refusal
from jax import lax
from jax2onnx.plugins import plugin_system
from jax2onnx.plugins.plugin_system import PrimitiveLeafPlugin

INLINED = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint"}
DRAWS = {"random_bits", "random_wrap", "random_seed", "random_fold_in", "random_split", "random_unwrap", "threefry2x32",
         "rng_bit_generator", "rng_uniform", "random_gamma"}  # fmt: skip
UNSEEN = {"debug_callback", "debug_print"}
POOLS = {"reduce_window_max", "reduce_window_min", "reduce_window_sum"}
NARROW = ("float16", "bfloat16", "float64")
LARGE = 1 << 16
"""Elements up to which a constant may be made of smaller ones."""

Closed = jax.extend.core.ClosedJaxpr


def check(closed: Closed, source: str) -> None:
    """Refuses what no exporter can be trusted with.

    Raises:
        Refusal: If random numbers are drawn, or floats are not float32.
    """
    for eqn in _equations(closed.jaxpr):
        if eqn.primitive.name in DRAWS and not eqn.primitive.name.startswith("random_wrap"):
            raise Refusal(
                f"{source}: the network draws random numbers when it runs (dropout?); leave them out, or let the "
                "module's eval() or a parameter deterministic or train switch them off"
            )
        for variable in eqn.outvars:
            kind = str(getattr(variable.aval, "dtype", ""))
            if kind in NARROW:
                raise Refusal(f"{source}: computes in {kind} ({eqn.primitive.name}); make it with dtype float32")


def _equations(jaxpr: Any) -> list[Any]:
    found = []
    for eqn in jaxpr.eqns:
        found.append(eqn)
        for inner in jax.tree_util.tree_leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            body = getattr(inner, "jaxpr", inner)
            found += _equations(body) if hasattr(body, "eqns") else []
    return found


def folded(closed: Closed) -> Callable[..., Any]:
    """The same network as a function to trace again."""
    return lambda *clip: _run(closed.jaxpr, closed.consts, clip)


def _run(jaxpr: Any, constants: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *given), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jax.extend.core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        if eqn.primitive.name in UNSEEN:
            continue
        values.update(zip(eqn.outvars, _equation(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _equation(eqn: Any, given: Sequence[Any]) -> list[Any]:
    name = eqn.primitive.name
    body = next((eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params), None)
    if name in INLINED and body is not None:
        return _run(getattr(body, "jaxpr", body), getattr(body, "consts", ()), given)
    if _is_constant(eqn, given):
        with jax.ensure_compile_time_eval():
            return _bind(eqn, given)
    if name == "conv_general_dilated":
        return [_convolution(eqn, *given)]
    if name == "dot_general" and not any(eqn.params["dimension_numbers"][1]):
        known = [not isinstance(value, jax.core.Tracer) for value in given]
        if any(known):
            return [_product(eqn, *given, turned=known[0])]
    if name in POOLS:
        return [_pool(eqn, *given)]
    return _bind(eqn, given)


def _bind(eqn: Any, given: Sequence[Any]) -> list[Any]:
    out = eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
    return list(out) if eqn.primitive.multiple_results else [out]


def _is_constant(eqn: Any, given: Sequence[Any]) -> bool:
    """Whether an equation depends on weights alone and would not blow them up."""
    if any(isinstance(value, jax.core.Tracer) for value in given) or eqn.effects:
        return False
    sizes = [tuple(v.aval.shape) for v in eqn.outvars]
    if not all(isinstance(d, int) for size in sizes for d in size):
        return False
    largest = max((np.size(value) for value in given), default=0)
    return all(np.prod(size, dtype=int) <= max(largest, LARGE) for size in sizes)


def _transposed(value: Any, order: Sequence[int]) -> Any:
    order = tuple(int(axis) for axis in order)
    if order == tuple(range(len(order))):
        return value
    if isinstance(value, jax.core.Tracer):
        return lax.transpose(value, order)
    return np.ascontiguousarray(np.transpose(np.asarray(value), order))


def _convolution(eqn: Any, clip: Any, kernel: Any) -> Any:
    """Batch and channels first, out and in features first."""
    params, (lhs, rhs, out) = dict(eqn.params), eqn.params["dimension_numbers"]
    if params["batch_group_count"] != 1 or any(low < 0 or high < 0 for low, high in params["padding"]):
        raise Refusal("a convolution has groups over the batch or negative padding; slice the clip instead")
    plain = tuple(range(len(lhs)))
    params["dimension_numbers"] = lax.ConvDimensionNumbers(plain, plain, plain)
    if isinstance(kernel := _transposed(kernel, rhs), np.ndarray):
        kernel = jax.numpy.asarray(kernel)
    result = eqn.primitive.bind(_transposed(clip, lhs), kernel, **params)
    return _transposed(result, np.argsort(out))


def _product(eqn: Any, left: Any, right: Any, *, turned: bool) -> Any:
    """A clip times a matrix of weights along its last axis, whatever axes were summed and on whichever side."""
    (first, second), _ = eqn.params["dimension_numbers"]
    clip, weights, summed, own = (right, left, second, first) if turned else (left, right, first, second)
    kept = [axis for axis in range(clip.ndim) if axis not in summed]
    free = [axis for axis in range(weights.ndim) if axis not in own]
    clip = _transposed(clip, [*kept, *summed])
    weights = np.transpose(np.asarray(weights), [*own, *free])
    made = [int(n) for n in weights.shape[len(own) :]]
    size = int(np.prod(weights.shape[: len(own)], dtype=int))
    if len(summed) != 1:
        clip = lax.reshape(clip, (*clip.shape[: len(kept)], size))
    matrix = jax.numpy.asarray(np.ascontiguousarray(weights.reshape(size, -1)))
    params = {**eqn.params, "dimension_numbers": (((len(kept),), (0,)), ((), ()))}
    result = eqn.primitive.bind(clip, matrix, **params)
    if len(made) != 1:
        result = lax.reshape(result, (*result.shape[:-1], *made))
    rank = len(kept) + len(made)
    return _transposed(result, [*range(len(kept), rank), *range(len(kept))]) if turned else result


def _pool(eqn: Any, clip: Any) -> Any:
    """Windows over the last axes, behind two that no window moves along."""
    params, rank = dict(eqn.params), len(eqn.params["window_dimensions"])
    fields = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    still = [
        axis for axis in range(rank)
        if (params["window_dimensions"][axis], params["window_strides"][axis], tuple(params["padding"][axis]))
        == (1, 1, (0, 0))
    ]  # fmt: skip
    if rank < 3 or len(still) < 2:
        raise Refusal(
            f"a pool with windows {list(params['window_dimensions'])} over batch and channels cannot be written; pool "
            "over time and space alone"
        )
    outer = [still[0], still[-1] if still[-1] == rank - 1 else still[1]]
    order = [*outer, *(axis for axis in range(rank) if axis not in outer)]
    params.update({name: tuple(params[name][axis] for axis in order) for name in fields})
    if eqn.primitive.name == "reduce_window_min":  # which ONNX has not
        return -_transposed(lax.reduce_window_max_p.bind(_transposed(-clip, order), **params), np.argsort(order))
    return _transposed(eqn.primitive.bind(_transposed(clip, order), **params), np.argsort(order))


# ------------------------------------------------------------------------------------------- written as operators


class Convolution(PrimitiveLeafPlugin):
    """A convolution on any number of axes; jax2onnx has one and two."""

    def __init__(self, own: PrimitiveLeafPlugin) -> None:
        self.own = own

    def lower(self, ctx: Any, eqn: Any) -> None:
        """Conv, with the groups, zeros and dilations of the equation."""
        params, rank = eqn.params, len(eqn.invars[0].aval.shape)
        if any(step != 1 for step in params["lhs_dilation"]):
            if rank > 4:
                raise Refusal(
                    "a transposed convolution on three axes cannot be written; upsample with jax.image.resize"
                )
            self.own.lower(ctx, eqn)
            return
        clip, kernel = (ctx.get_value_for_var(v, name_hint=ctx.fresh_name("conv")) for v in eqn.invars)
        _put(ctx, eqn, ctx.builder.Conv(
            clip, kernel, _outputs=[ctx.fresh_name("conv")], group=params["feature_group_count"],
            kernel_shape=list(eqn.invars[1].aval.shape[2:]), strides=list(params["window_strides"]),
            dilations=list(params["rhs_dilation"]), pads=_pads(params["padding"]),
        ))  # fmt: skip


class Product(PrimitiveLeafPlugin):
    """A product with a matrix along the last of more than two axes; jax2onnx writes it as Einsum."""

    def __init__(self, own: PrimitiveLeafPlugin) -> None:
        self.own = own

    def lower(self, ctx: Any, eqn: Any) -> None:
        """MatMul."""
        rank, matrix = (len(v.aval.shape) for v in eqn.invars)
        if matrix != 2 or rank < 3 or eqn.params["dimension_numbers"] != (((rank - 1,), (0,)), ((), ())):
            self.own.lower(ctx, eqn)
            return
        values = [ctx.get_value_for_var(v, name_hint=ctx.fresh_name("product")) for v in eqn.invars]
        _put(ctx, eqn, ctx.builder.MatMul(*values, _outputs=[ctx.fresh_name("product")]))


class Pool(PrimitiveLeafPlugin):
    """A pool on the axes behind the first two; jax2onnx puts two more in front, which leaves five and no runtime."""

    def __init__(self, own: PrimitiveLeafPlugin, *, mean: bool) -> None:
        self.own, self.mean = own, mean

    def lower(self, ctx: Any, eqn: Any) -> None:
        """MaxPool; AveragePool times the size of the window for a sum."""
        params = eqn.params
        window, zeros = params["window_dimensions"], params["padding"]
        spread = (*params["base_dilation"], *(params["window_dilation"] if self.mean else ()))
        if len(window) > 5 or any(d != 1 for d in spread) or any(min(pair) < 0 for pair in zeros):
            raise Refusal(
                f"a pool with windows {list(window)} of more than three axes, dilated or with negative padding cannot "
                "be written; pool over time and space alone"
            )
        clip = ctx.get_value_for_var(eqn.invars[0], name_hint=ctx.fresh_name("pool"))
        options = {"kernel_shape": list(window[2:]), "strides": list(params["window_strides"][2:]),
                   "pads": _pads(zeros[2:])}  # fmt: skip
        name = ctx.fresh_name("pool")
        if not self.mean:
            dilations = list(params["window_dilation"][2:])
            _put(ctx, eqn, ctx.builder.MaxPool(clip, _outputs=[name], dilations=dilations, **options))
            return
        pooled = ctx.builder.AveragePool(clip, _outputs=[name], count_include_pad=1, **options)
        _typed(ctx, eqn, pooled)
        count = ctx.builder.add_initializer_from_array(
            name=ctx.fresh_name("window"), array=np.array(np.prod(window), np.float32)
        )
        _put(ctx, eqn, ctx.builder.Mul(pooled, count, _outputs=[ctx.fresh_name("sum")]))


def _pads(pairs: Sequence[Sequence[int]]) -> list[int]:
    return [int(low) for low, _ in pairs] + [int(high) for _, high in pairs]


def _typed(ctx: Any, eqn: Any, value: Any) -> None:
    from jax2onnx.plugins._ir_shapes import _ensure_value_metadata, _stamp_type_and_shape

    value.type = ir.TensorType(ir.DataType.FLOAT)
    _stamp_type_and_shape(value, tuple(eqn.outvars[0].aval.shape))
    _ensure_value_metadata(ctx, value)


def _put(ctx: Any, eqn: Any, value: Any) -> None:
    _typed(ctx, eqn, value)
    ctx.bind_value_for_var(eqn.outvars[0], value)


def prepare() -> None:
    """Loads jax2onnx's primitives alone, none of its replacements of Flax's and JAX's functions, and these instead."""
    root = Path(plugin_system.__file__).parent / "jax"
    for part in ("core", "lax"):
        plugin_system._import_tree(root / part, f"jax2onnx.plugins.jax.{part}")  # noqa: SLF001 - all or these, no other way
    plugin_system._already_imported_plugins = True  # noqa: SLF001
    registry = plugin_system.PLUGIN_REGISTRY
    registry["conv_general_dilated"] = Convolution(registry["conv_general_dilated"])
    registry["dot_general"] = Product(registry["dot_general"])
    registry["reduce_window_max"] = Pool(registry["reduce_window_max"], mean=False)
    registry["reduce_window_sum"] = Pool(registry["reduce_window_sum"], mean=True)
