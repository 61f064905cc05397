"""The block network of `blocks_frameworks` as JAX code: Flax nnx and Linen, functions, and code that must be refused.

`save` copies this file beside the weights, so that ``blocks_jax.py:factory`` is a source; the factories read
``weights.npz`` there.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import blocks_frameworks as blocks
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx, serialization, traverse_util
from jax import lax
from safetensors.flax import save_file

HERE = Path(__file__).resolve().parent
NDHWC = ("NDHWC", "DHWIO", "NDHWC")
NCDHW = ("NCDHW", "OIDHW", "NCDHW")


def weights() -> dict[str, np.ndarray]:
    with np.load(HERE / "weights.npz") as archive:
        return dict(archive)


def under(name: str) -> str:
    return name.replace(".", "_")


class Last:
    """What nnx and Linen share: channels last."""

    relu, sigmoid = staticmethod(jax.nn.relu), staticmethod(jax.nn.sigmoid)

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def concat(self, parts: list[Any]) -> Any:
        return jnp.concatenate(parts, axis=-1)

    def pool(self, x: Any) -> Any:
        return linen.max_pool(x, (3, 3, 3), (1, 1, 1), "SAME")

    def shuffle(self, x: Any) -> Any:
        *sizes, channels = x.shape
        parts = x.reshape(*sizes, blocks.GROUPS, channels // blocks.GROUPS)
        return jnp.swapaxes(parts, -1, -2).reshape(*sizes, channels)

    def mean(self, x: Any) -> Any:
        return x.mean((1, 2, 3))

    def gate(self, x: Any, held: Any) -> Any:
        return x * held[:, None, None, None, :]


# ----------------------------------------------------------------------------------------------------------- nnx


class Nnx(Last, nnx.Module):
    """The network with layers of nnx."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        for name, (kernel, stride, pad, groups) in blocks.CONVS.items():
            out, into = blocks.CHANNELS[name]
            conv = nnx.Conv(
                into, out, kernel, stride, padding=[(p, p) for p in pad], feature_group_count=groups, use_bias=False,
                rngs=rngs, kernel_init=nnx.initializers.zeros,
            )  # fmt: skip
            setattr(self, f"{under(name)}_conv", conv)
            setattr(self, f"{under(name)}_bn", nnx.BatchNorm(out, epsilon=blocks.EPSILON, rngs=rngs))
        for name, (out, into) in blocks.DENSE.items():
            setattr(self, under(name), nnx.Linear(into, out, kernel_init=nnx.initializers.zeros, rngs=rngs))

    def pool(self, x: Any) -> Any:
        return nnx.max_pool(x, (3, 3, 3), (1, 1, 1), "SAME")

    def conv(self, x: Any, name: str) -> Any:
        return getattr(self, f"{under(name)}_bn")(getattr(self, f"{under(name)}_conv")(x))

    def dense(self, x: Any, name: str) -> Any:
        return getattr(self, under(name))(x)

    def __call__(self, clip: Any) -> Any:
        return blocks.network(self, clip)


def flat(kernel_of: str = "kernel") -> dict[str, np.ndarray]:
    """The weights by the names of `Nnx`."""
    own, out = weights(), {}
    for name in blocks.CONVS:
        out[f"{under(name)}_conv.{kernel_of}"] = own[f"{name}.conv.weight"].transpose(2, 3, 4, 1, 0)
        for ours, theirs in zip(("scale", "bias", "mean", "var"), blocks.BN, strict=True):
            out[f"{under(name)}_bn.{ours}"] = own[f"{name}.bn.{theirs}"]
    for name in blocks.DENSE:
        out[f"{under(name)}.kernel"] = own[f"{name}.weight"].T
        out[f"{under(name)}.bias"] = own[f"{name}.bias"]
    return {name: np.ascontiguousarray(array) for name, array in out.items()}


def filled(model: nnx.Module) -> nnx.Module:
    state = nnx.state(model)
    pure = nnx.to_pure_dict(state)
    pure.update(traverse_util.unflatten_dict(flat(), sep="."))
    nnx.replace_by_pure_dict(state, pure)
    nnx.update(model, state)
    return model


def empty_nnx() -> nnx.Module:
    return Nnx(nnx.Rngs(0))


def of_nnx() -> nnx.Module:
    return filled(empty_nnx())


def of_bfloat16() -> nnx.Module:
    model = of_nnx()
    model.fc.bias.set_value(model.fc.bias.get_value().astype(jnp.bfloat16))
    return model


# --------------------------------------------------------------------------------------------------------- Linen


class Linen(Last, linen.Module):
    """The network with layers of Linen, and a word for training in its call."""

    def conv(self, x: Any, name: str) -> Any:
        kernel, stride, pad, groups = blocks.CONVS[name]
        conv = linen.Conv(
            blocks.CHANNELS[name][0], kernel, stride, padding=[(p, p) for p in pad], feature_group_count=groups,
            use_bias=False, name=f"{under(name)}_conv",
        )  # fmt: skip
        norm = linen.BatchNorm(not self.trains, epsilon=blocks.EPSILON, name=f"{under(name)}_bn")
        return norm(conv(x))

    def dense(self, x: Any, name: str) -> Any:
        return linen.Dense(blocks.DENSE[name][0], name=under(name))(x)

    @linen.compact
    def __call__(self, clip: Any, train: bool = True) -> Any:
        object.__setattr__(self, "trains", train)
        return blocks.network(self, clip)


def variables() -> dict[str, Any]:
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, array in flat().items():
        layer, _, kind = name.rpartition(".")
        tree["batch_stats" if kind in {"mean", "var"} else "params"].setdefault(layer, {})[kind] = jnp.asarray(array)
    return tree


def of_linen() -> tuple[linen.Module, Any]:
    return Linen(), variables()


def bare_linen() -> linen.Module:
    return Linen()


# ----------------------------------------------------------------------------------------------------- functions


class Functions:
    """Nothing but jax.lax, channels first, each thing said in another way than Flax says it."""

    relu = staticmethod(lambda x: jnp.maximum(x, 0))
    sigmoid = staticmethod(lambda x: 1 / (1 + jnp.exp(-x)))
    numbers: Any = NCDHW
    axis = 1

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays

    def conv(self, x: Any, name: str) -> Any:
        _, stride, pad, groups = blocks.CONVS[name]
        w = self.arrays[f"{name}.conv.weight"]
        x = lax.conv_general_dilated(
            x, w, stride, [(p, p) for p in pad], dimension_numbers=self.numbers, feature_group_count=groups
        )
        scale, offset, mean, variance = (self.arrays[f"{name}.bn.{k}"].reshape(-1, 1, 1, 1) for k in blocks.BN)
        return (x - mean) * (scale * lax.rsqrt(variance + blocks.EPSILON)) + offset

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def concat(self, parts: list[Any]) -> Any:
        return jnp.concatenate(parts, axis=1)

    def pool(self, x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 3, 3), (1,) * 5, "SAME")

    def shuffle(self, x: Any) -> Any:
        batch, channels, *places = x.shape
        parts = x.reshape(batch, blocks.GROUPS, channels // blocks.GROUPS, *places)
        return parts.transpose(0, 2, 1, 3, 4, 5).reshape(x.shape)

    def mean(self, x: Any) -> Any:
        return jnp.mean(x, (2, 3, 4))

    def dense(self, x: Any, name: str) -> Any:
        return jnp.einsum("ni,oi->no", x, self.arrays[f"{name}.weight"]) + self.arrays[f"{name}.bias"]

    def gate(self, x: Any, held: Any) -> Any:
        return x * held[..., None, None, None]


def arrays() -> dict[str, Any]:
    return {name: jnp.asarray(array) for name, array in weights().items() if name != "clip"}


def apply(tree: Any, clip: Any) -> Any:
    return blocks.network(Functions(tree), clip)


def of_function() -> tuple[Any, Any]:
    return apply, arrays()


def of_closure() -> Any:
    tree = arrays()
    return jax.jit(lambda clip: apply(tree, clip))


def of_doubles() -> Any:
    jax.config.update("jax_enable_x64", True)
    return apply, {name: jnp.asarray(np.asarray(a, np.float64)) for name, a in arrays().items()}


def one_by_one() -> Any:
    """Code that asks whether there is one clip, which no batch of any size answers."""
    tree = arrays()
    return lambda clip: apply(tree, clip) if len(clip) == 1 else jnp.concatenate([apply(tree, c[None]) for c in clip])


# ---------------------------------------------------------------------------------------------- forms of windows


class Windows(nnx.Module):
    """Convolutions, pools and normalisations of nnx in forms that exporters confuse."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        def conv(into: int, out: int, size: Any, **options: Any) -> nnx.Conv:
            return nnx.Conv(into, out, size, rngs=rngs, **options)

        self.uneven = conv(3, 8, (2, 4, 3), strides=(1, 3, 2), padding="SAME")
        self.grouped = conv(8, 12, (3, 3, 3), feature_group_count=4, padding=[(2, 0), (0, 1), (1, 1)])
        self.depthwise = conv(12, 24, (1, 3, 3), feature_group_count=12, kernel_dilation=(1, 2, 1))
        self.circular = conv(24, 6, (3, 1, 3), padding="CIRCULAR")
        self.reflected = conv(6, 6, (3, 1, 3), padding="REFLECT")
        self.group = nnx.GroupNorm(6, num_groups=3, rngs=rngs)
        self.layer = nnx.LayerNorm(6, rngs=rngs)
        self.head = nnx.LinearGeneral((6,), (2, 5), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.leaky_relu(self.depthwise(nnx.silu(self.grouped(nnx.gelu(self.uneven(x))))))
        x = self.layer(self.group(self.reflected(self.circular(x))))
        x = nnx.avg_pool(x, (2, 2, 2), (1, 1, 1), "SAME") + nnx.avg_pool(
            x, (2, 2, 2), (1, 1, 1), "SAME", count_include_pad=False
        )
        x = nnx.max_pool(x, window_shape=(1, 2, 2), strides=(1, 2, 2)) - nnx.min_pool(x, (1, 2, 2), (1, 2, 2), "VALID")
        return nnx.softmax(self.head(x.mean((1, 2, 3)))).reshape(x.shape[0], -1)


def windows() -> nnx.Module:
    return Windows(nnx.Rngs(1))


def numbered() -> Any:
    """Axes in other orders than anybody's, a convolution per frame, a loop over time, a pool over features."""
    rng = np.random.default_rng(2)
    first, second = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((8, 3, 3, 3, 3), (3, 3, 2, 6)))

    def frame(x: Any) -> Any:
        return lax.conv_general_dilated(
            x, second, (2, 2), "SAME", dimension_numbers=("NCHW", "HWIO", "NHWC"), feature_group_count=2,
            rhs_dilation=(1, 2),
        )  # fmt: skip

    def call(clip: Any) -> Any:
        x = lax.conv_general_dilated(clip, first, (1, 2, 2), "SAME", dimension_numbers=("NCDHW", "OIDHW", "DNHWC"))
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 3, 2), (1, 1, 2, 2, 2), "VALID")
        x = jax.vmap(frame)(jnp.moveaxis(x, -1, 2))
        pooled = lax.reduce_window(x, 0.0, lax.add, (2, 1, 2, 2, 1), (1, 1, 1, 1, 1), "VALID")
        return jnp.einsum("tnhwc,c->nt", pooled, jnp.arange(6.0) - 2.5) + jnp.tanh(x.sum((0, 2, 3, 4)))[:, None]

    return call


class Products(nnx.Module):
    """Dense layers in every form but that of a matrix times a row: all of them are layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.pointwise = nnx.Linear(3, 6, rngs=rngs)
        self.spread = nnx.LinearGeneral(6, (2, 4), rngs=rngs)
        self.summed = nnx.LinearGeneral((2, 4), 5, axis=(-2, -1), rngs=rngs)
        self.last = nnx.Param(jax.random.normal(rngs.params(), (7, 5)))

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.pointwise(x))
        x = nnx.relu(self.summed(nnx.relu(self.spread(x))))
        return jnp.einsum("kc,nthwc->nkthw", self.last[...], x).mean((2, 3, 4))


def products() -> nnx.Module:
    return Products(nnx.Rngs(3))


# ------------------------------------------------------------------------------------------- what must be refused


def branching() -> Any:
    return lambda clip: clip.mean((2, 3, 4)) if clip.sum() > 0 else -clip.mean((2, 3, 4))


def numpying() -> Any:
    return lambda clip: jnp.asarray(np.asarray(clip).mean((2, 3, 4)))


def normalising() -> Any:
    return lambda clip: ((clip - clip.mean(0)) / (clip.std(0) + 1)).mean((2, 3, 4))


def dropping() -> Any:
    keep = jax.random.bernoulli
    return lambda clip: (clip * keep(jax.random.key(0), 0.5, clip.shape)).mean((2, 3, 4))


class Trains(nnx.Module):
    """Batch norm that is told to train, whatever eval() says."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.bn = nnx.BatchNorm(3, use_running_average=False, rngs=rngs)

    def __call__(self, clip: Any) -> Any:
        return self.bn(clip, use_running_average=False).mean((1, 2, 3))


def training() -> nnx.Module:
    return Trains(nnx.Rngs(0))


class Drops(nnx.Module):
    """Dropout that is told to drop, whatever eval() says."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, clip: Any) -> Any:
        return self.drop(clip, deterministic=False).mean((1, 2, 3))


def drops() -> nnx.Module:
    return Drops(nnx.Rngs(0))


class LinenTrains(linen.Module):
    """Batch norm or dropout without a word for inference in the call."""

    drop: bool

    @linen.compact
    def __call__(self, clip: Any) -> Any:
        x = linen.Dropout(0.5, deterministic=False)(clip) if self.drop else linen.BatchNorm(False)(clip)
        return x.mean((1, 2, 3))


def linen_trains() -> Any:
    stats = {"params": {"BatchNorm_0": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}}
    return LinenTrains(False), {**stats, "batch_stats": {"BatchNorm_0": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}}


def linen_drops() -> Any:
    return LinenTrains(True), {}


def narrow() -> Any:
    return lambda clip: clip.astype(jnp.bfloat16).mean((2, 3, 4)).astype(jnp.float32)


def classes() -> Any:
    return lambda clip: clip.mean((2, 3, 4)).argmax(-1)


def indexing() -> Any:
    table = jnp.eye(3)
    return lambda clip: table[clip]


def over_channels() -> Any:
    return lambda clip: lax.reduce_window(clip, -jnp.inf, lax.max, (1, 3, 3, 3, 3), (1,) * 5, "SAME").mean((2, 3, 4))


def transposed() -> Any:
    w = jnp.ones((3, 3, 2, 2, 2))
    return lambda clip: lax.conv_general_dilated(clip, w, (1,) * 3, [(1, 1)] * 3, (2,) * 3, None, NCDHW).mean((2, 3, 4))


def calling_back() -> Any:
    shape = jax.ShapeDtypeStruct((1, 3, 4, 16, 16), jnp.float32)
    return lambda clip: jax.pure_callback(lambda x: np.asarray(x) * 2, shape, clip).mean((2, 3, 4))


def number() -> Any:
    return 3


def exiting() -> Any:
    raise SystemExit(0)


def failing() -> Any:
    raise ValueError("no such checkpoint")


# --------------------------------------------------------------------------------------------------------- saving


def save(own: blocks.Weights, out: Path) -> np.ndarray:
    """This file beside the weights, and the weights in each form; the logits of nnx, which the others must give too."""
    for file in (__file__, blocks.__file__):
        shutil.copy(file, out)
    global HERE  # noqa: PLW0603 - the weights of this call
    HERE = out
    flattened = flat()
    tree = traverse_util.unflatten_dict(flattened, sep=".")
    np.savez(out / "nnx.npz", **flattened)
    np.savez(out / "slashes.npz", **{name.replace(".", "/"): array for name, array in flattened.items()})
    save_file({name: jnp.asarray(array) for name, array in flattened.items()}, out / "nnx.safetensors")
    (out / "nnx.msgpack").write_bytes(serialization.msgpack_serialize(tree))
    (out / "linen.msgpack").write_bytes(serialization.to_bytes(variables()))
    np.savez(out / "short.npz", **{n: a for n, a in flattened.items() if n != "stem_conv.kernel"})
    np.savez(out / "long.npz", **flattened, more=np.zeros(3))
    np.savez(out / "other.npz", **{**flattened, "fc.kernel": np.zeros((64, 11), np.float32)})
    (out / "cut.safetensors").write_bytes((out / "nnx.safetensors").read_bytes()[:5000])
    (out / "cut.npz").write_bytes((out / "nnx.npz").read_bytes()[:5000])
    (out / "text.msgpack").write_text("these are no weights")
    (out / "orbax").mkdir()
    model = of_nnx()
    model.eval()
    last = np.asarray(model(blocks.channels_last(own["clip"])))
    for made, clip in ((of_linen(), blocks.channels_last(own["clip"])), (of_function(), own["clip"])):
        first, tree = made
        theirs = first.apply(tree, clip, train=False) if isinstance(first, linen.Module) else first(tree, clip)
        np.testing.assert_allclose(theirs, last, atol=1e-4)
    return last
