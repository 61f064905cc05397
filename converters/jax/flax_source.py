"""The network that a user's code makes: a Flax module or a function, in evaluation mode, with float32 weights."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from contract import Array, Refusal, Request, first_line, from_code, refuse_other_weights
from flax import linen, nnx
from safetensors import SafetensorError
from safetensors.flax import load_file

MODES = {"train": False, "training": False, "is_training": False, "deterministic": True, "use_running_average": True}
"""Parameters of a call by which code is told not to train."""

FORMS = "an nnx.Module, (linen module, variables), (function, variables) or a function of the clip"


@dataclass
class Network:
    """What is called and exported.

    Attributes:
        call: The network as a function of its inputs alone.
        kind: What the code was found to make.
        weights: Arrays by their names in the code; none of a plain function.
        notes: What was changed; one sentence each.
    """

    call: Callable[..., Any]
    kind: str
    weights: Mapping[str, Array]
    notes: list[str] = field(default_factory=list)


def network(request: Request, shapes: Mapping[str, Sequence[int]]) -> Network:
    """The network of a request.

    Raises:
        Refusal: If the source is no code, makes no network, or the weights do not fit.
    """
    text = request.source
    if Path(text).exists() or ":" not in text:
        raise Refusal(
            f"{text}: JAX has no file that holds a network without its code; give the code as module:factory or "
            "file.py:factory, and a file of weights with --weights"
        )
    made = from_code(request, (nnx.Module, linen.Module, tuple))
    doubles = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)  # noqa: FBT003 - JAX's own form
    weights = None if request.weights is None else read_weights(Path(request.weights))
    if isinstance(made, nnx.Module):
        found = from_nnx(made, weights, request)
    elif isinstance(made, linen.Module):
        found = from_linen(made, None, weights, request, shapes)
    elif isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], linen.Module):
        found = from_linen(*made, weights, request, shapes)
    elif isinstance(made, tuple) and len(made) == 2 and callable(made[0]):
        found = from_function(*made, weights, request)
    elif callable(made) and weights is None:
        found = Network(_calm(made, made), "function", {})
    elif callable(made):
        raise Refusal(f"{text}: gives a function, which has no weights to set; return (function, variables) from it")
    else:
        raise Refusal(f"{text}: gives a {type(made).__name__}; return {FORMS}")
    if doubles:
        found.notes.append("jax_enable_x64 was switched off: the network runs in float32")
    return found


# ------------------------------------------------------------------------------------------------ kinds of network


def from_nnx(module: nnx.Module, weights: Mapping[str, Array] | None, request: Request) -> Network:
    """An nnx module in evaluation mode; a fresh copy answers each call."""
    module.eval()
    graph, state = nnx.split(module)
    pure = nnx.to_pure_dict(state)
    drawn = {_name(path) for path in _paths(nnx.to_pure_dict(nnx.state(module, nnx.RngState)))}
    pure, notes = _filled(pure, weights, request, optional=drawn)
    nnx.replace_by_pure_dict(state, pure)

    def call(*clip: Any) -> Any:
        copy = nnx.merge(graph, state, copy=True)
        out = _calm(copy, type(copy).__call__)(*clip)
        after = dict(_leaves(nnx.to_pure_dict(nnx.state(copy, nnx.Not(nnx.RngState)))))
        changed = [name for name, leaf in _leaves(pure) if name in after and name not in drawn
                   and not _same(leaf, after[name])]  # fmt: skip
        if changed:
            raise Refusal(
                f"{request.source}: the network changes {changed[0]} when it runs, so it is in training mode whatever "
                "the module's; leave use_running_average to model.eval()"
            )
        return out

    return Network(call, "flax nnx module", {n: np.asarray(a) for n, a in _leaves(pure) if n not in drawn}, notes)


def from_linen(
    module: linen.Module, variables: Any, weights: Mapping[str, Array] | None, request: Request,
    shapes: Mapping[str, Sequence[int]],
) -> Network:  # fmt: skip
    """A Linen module that is applied without mutable collections and without random keys."""
    if variables is None and weights is None:
        raise Refusal(
            f"{request.source}: gives a Linen module without variables; return (module, variables), or add --weights"
        )
    calm = _calm(module.apply, type(module).__call__)
    if variables is None:
        clip = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes.values()]
        init = _calm(module.init, type(module).__call__)
        with _sentence(f"{request.source}: its variables cannot be laid out for this --input-shape"):
            variables = jax.eval_shape(init, jax.random.key(request.seed), *clip)
    filled, notes = _filled(flax.core.unfreeze(variables), weights, request)
    return Network(
        lambda *clip: calm(filled, *clip), "flax linen module", {n: np.asarray(a) for n, a in _leaves(filled)}, notes
    )


def from_function(
    function: Callable[..., Any], variables: Any, weights: Mapping[str, Array] | None, request: Request
) -> Network:
    """A function of its variables and the clip."""
    filled, notes = _filled(variables, weights, request)
    calm = _calm(function, function)
    arrays = {n: np.asarray(a) for n, a in _leaves(filled)}
    return Network(lambda *clip: calm(filled, *clip), "function with variables", arrays, notes)


def _calm(call: Callable[..., Any], signed: Callable[..., Any]) -> Callable[..., Any]:
    """A call that is told not to train, where its signature has a word for that."""
    try:
        known = inspect.signature(signed).parameters
    except (TypeError, ValueError):
        known = {}
    told = {k: v for k, v in MODES.items() if k in known and known[k].kind is not inspect.Parameter.POSITIONAL_ONLY}
    return lambda *given: call(*given, **told)


# -------------------------------------------------------------------------------------------------------- weights


def read_weights(path: Path) -> dict[str, Array]:
    """Arrays by name in an .npz, .safetensors or msgpack file, told by its bytes; "." between the parts of a name.

    Raises:
        Refusal: If it is none of these, or is damaged.
    """
    if path.is_dir():
        raise Refusal(f"{path}: a folder, such as Orbax writes; restore it in the factory, or save an .npz file")
    data = path.read_bytes()
    try:
        if data[:2] == b"PK":
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(archive)
        elif data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data):
            arrays = {name: np.asarray(array) for name, array in load_file(path).items()}
        else:
            tree = flax.serialization.msgpack_restore(data)
            arrays = {name: np.asarray(leaf) for name, leaf in _leaves(tree) if name}
    except (SafetensorError, OSError) as error:
        raise Refusal(f"{path}: is damaged ({first_line(error)}); save the weights again") from error
    except Exception as error:  # msgpack and NumPy raise anything from foreign bytes
        raise Refusal(
            f"{path}: no .npz, .safetensors or msgpack file of weights, or a damaged one ({first_line(error)}); save "
            "the weights in one of these forms"
        ) from error
    if not arrays:
        raise Refusal(
            f"{path}: no .npz, .safetensors or msgpack file with named weights; save them in one of these forms"
        )
    return {name.replace("/", "."): array for name, array in arrays.items()}


def _filled(
    tree: Any, weights: Mapping[str, Array] | None, request: Request, *, optional: Sequence[str] | set[str] = ()
) -> tuple[Any, list[str]]:
    """A tree of variables with the arrays of a file, all floats float32, and notes.

    Raises:
        Refusal: If names are missing or left over, or sizes differ; the message lists them.
    """
    own = dict(_leaves(tree))
    if weights is not None:
        given = {name: array for name, array in weights.items() if name not in optional}
        refuse_other_weights(request.weights, own, given, what="code", optional=optional)
        tree = jax.tree_util.tree_map_with_path(lambda path, leaf: given.get(_name(path), leaf), tree)
    kinds = {str(getattr(leaf, "dtype", "")) for _, leaf in _leaves(tree)}
    changed = sorted(k for k in kinds if k in {"float16", "bfloat16", "float64"})
    notes = [f"weights of {' and '.join(changed)} became float32"] if changed else []
    return jax.tree_util.tree_map(_single, tree), notes


def _single(leaf: Any) -> Any:
    """A leaf as it is used: floats as float32, on the device; keys and texts as they are."""
    if not isinstance(leaf, np.ndarray | jax.Array) or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.asarray(np.asarray(leaf, np.float32))
    return jnp.asarray(leaf)


def _paths(tree: Any) -> Iterator[Any]:
    yield from (path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0])


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _same(before: Any, after: Any) -> bool:
    """Whether a variable kept its value; while a clip is only a symbol, whether it is the very same."""
    if isinstance(after, jax.core.Tracer):
        return False
    return np.shape(before) == np.shape(after) and bool(np.array_equal(before, after, equal_nan=True))


@contextlib.contextmanager
def _sentence(what: str) -> Iterator[None]:
    """Any failure of the user's code becomes one sentence."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:  # it is the user's code
        raise Refusal(f"{what} ({type(error).__name__}: {first_line(error)}); check --input-shape") from error
