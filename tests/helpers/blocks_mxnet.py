"""The block network in MXNet's own files; see `blocks_frameworks`, which runs this inside MXNet's environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from blocks_frameworks import BN, CONVS, EPSILON, GROUPS, Weights, network


class MxnetOps:
    """The operations of `blocks_frameworks.network` on symbols, and the arrays that they read."""

    def __init__(self, weights: Weights, *, codes: bool = False) -> None:
        import mxnet

        self.sym, self.weights, self.codes = mxnet.sym, weights, codes
        self.arguments: dict[str, np.ndarray] = {}
        self.states: dict[str, np.ndarray] = {}

    def conv(self, x: Any, name: str) -> Any:
        kernel, stride, pad, groups = CONVS[name]
        w = self.arguments[f"{name}_conv_weight"] = self.weights[f"{name}.conv.weight"]
        x = self.sym.Convolution(
            x, kernel=kernel, stride=stride, pad=pad, num_filter=len(w), num_group=groups, no_bias=True,
            name=f"{name}_conv",
        )  # fmt: skip
        for kind, own in zip(BN, ("gamma", "beta", "moving_mean", "moving_var"), strict=True):
            held = self.states if own.startswith("moving") else self.arguments
            held[f"{name}_bn_{own}"] = self.weights[f"{name}.bn.{kind}"]
        return self.sym.BatchNorm(x, eps=EPSILON, fix_gamma=False, name=f"{name}_bn")

    def relu(self, x: Any) -> Any:
        return self.sym.Activation(x, act_type="relu")

    def sigmoid(self, x: Any) -> Any:
        return self.sym.Activation(x, act_type="sigmoid")

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def concat(self, parts: list[Any]) -> Any:
        return self.sym.Concat(*parts, dim=1)

    def pool(self, x: Any) -> Any:
        return self.sym.Pooling(x, kernel=(3, 3, 3), stride=(1, 1, 1), pad=(1, 1, 1), pool_type="max")

    def shuffle(self, x: Any) -> Any:
        if self.codes:  # as MXNet's own zoo spells it
            x = self.sym.reshape(x, shape=(0, -4, GROUPS, -1, -2))
            return self.sym.reshape(self.sym.swapaxes(x, dim1=1, dim2=2), shape=(0, -3, -2))
        x = self.sym.reshape(x, shape=(0, GROUPS, 48 // GROUPS, 2, 4, 4))
        return self.sym.reshape(self.sym.transpose(x, axes=(0, 2, 1, 3, 4, 5)), shape=(0, 48, 2, 4, 4))

    def mean(self, x: Any) -> Any:
        return self.sym.Flatten(self.sym.Pooling(x, global_pool=True, kernel=(1, 1, 1), pool_type="avg"))

    def dense(self, x: Any, name: str) -> Any:
        w = self.arguments[f"{name}_weight"] = self.weights[f"{name}.weight"]
        self.arguments[f"{name}_bias"] = self.weights[f"{name}.bias"]
        return self.sym.FullyConnected(x, num_hidden=len(w), name=name)

    def gate(self, x: Any, held: Any) -> Any:
        return self.sym.broadcast_mul(x, self.sym.reshape(held, shape=(0, 0, 1, 1, 1)))


def save(weights: Weights, out: Path) -> np.ndarray:
    """Symbols and arrays, and what must be refused."""
    os.environ.update(MXNET_MKLDNN_ENABLED="0", MXNET_STORAGE_FALLBACK_LOG_VERBOSE="0")
    import mxnet as mx

    said = {}
    for name, shape in (("blocks", None), ("codes", None), ("fixed", (2, *weights["clip"].shape[1:]))):
        ops = MxnetOps(weights, codes=name == "codes")
        symbol = network(ops, mx.sym.Variable("clip", shape=shape))
        arguments, states = ({k: mx.nd.array(v) for k, v in a.items()} for a in (ops.arguments, ops.states))
        mx.model.save_checkpoint(str(out / name), 0, symbol, arguments, states)
        executor = symbol.simple_bind(mx.cpu(), grad_req="null", clip=weights["clip"].shape)
        executor.copy_params_from(arguments, states)
        said[name] = executor.forward(is_train=False, clip=mx.nd.array(weights["clip"]))[0].asnumpy()
    np.testing.assert_array_equal(said["blocks"], said["codes"])
    (out / "apart-symbol.json").write_bytes((out / "blocks-symbol.json").read_bytes())
    save_faults(out)
    save_refused(out)
    return said["blocks"]


def small(out: Path, name: str, symbol: Any, **more: np.ndarray) -> None:
    """Saves a small symbol with random weights for a clip of (1, 3, 4, 16, 16)."""
    import mxnet as mx

    rng = np.random.default_rng(1)
    sizes, _, states = symbol.infer_shape_partial(clip=(1, 3, 4, 16, 16))
    arguments = dict(zip(symbol.list_arguments(), sizes, strict=True))
    held = dict(zip(symbol.list_auxiliary_states(), states, strict=True))
    made = [
        {k: mx.nd.array(rng.uniform(0.5, 1.5, s)) for k, s in of.items() if k != "clip" and not k.endswith("label")}
        for of in (arguments, held)
    ]
    made[0].update({k: mx.nd.array(v) for k, v in more.items()})
    mx.model.save_checkpoint(str(out / name), 0, symbol, *made)


def save_faults(out: Path) -> None:
    """Networks that the exporter alone writes wrongly, or not at all."""
    import mxnet as mx

    def conv() -> Any:
        return mx.sym.Convolution(mx.sym.Variable("clip"), kernel=(3, 3, 3), num_filter=8, name="conv")

    def head(x: Any) -> Any:
        return mx.sym.FullyConnected(x, num_hidden=5, name="fc")

    def pooled(x: Any) -> Any:
        return mx.sym.Flatten(mx.sym.Pooling(x, global_pool=True, kernel=(1, 1, 1), pool_type="avg"))

    small(out, "gamma", head(pooled(mx.sym.BatchNorm(conv(), name="bn"))))
    small(out, "minus", head(pooled(mx.sym._internal._rminus_scalar(conv(), scalar=2.0, name="rest"))))
    over = mx.sym._internal._rdiv_scalar(mx.sym.tanh(conv()) + 2.0, scalar=2.0, name="part")
    small(out, "over", head(pooled(over)))
    first = pooled(conv())
    second = mx.sym.FullyConnected(mx.sym.Activation(first, act_type="tanh"), num_hidden=8, name="fc")
    small(out, "two", mx.sym.Group([second, mx.sym.tanh(first)]))
    small(out, "axes", head(mx.sym.mean(conv(), axis=(2, 3, 4))))
    loss = mx.sym.SoftmaxOutput(head(pooled(conv())), label=mx.sym.Variable("some_label"), name="chances")
    small(out, "loss", loss)
    places = mx.sym.Pooling(conv(), kernel=(2, 14, 14), stride=(2, 14, 14), pool_type="avg")
    small(out, "flat", mx.sym.FullyConnected(places, num_hidden=5, name="fc"))


def save_refused(out: Path) -> None:
    """Networks that no file of ONNX can be, and files that are broken."""
    import mxnet as mx

    clip = mx.sym.Variable("clip")

    def conv(x: Any = clip, width: int = 8) -> Any:
        return mx.sym.Convolution(x, kernel=(3, 3, 3), num_filter=width, name="conv")

    def head(x: Any) -> Any:
        return mx.sym.mean(x, axis=(2, 3, 4))

    small(out, "wide", head(conv(width=12)))
    small(out, "always", head(mx.sym.Dropout(conv(), mode="always")))
    small(out, "erfinv", head(mx.sym.erfinv(mx.sym.tanh(conv()))))
    small(out, "integers", head(conv(mx.sym.cast(mx.sym.Variable("clip", dtype="int32"), dtype="float32"))))
    small(out, "one", mx.sym.reshape(head(conv()), shape=(1, 8)))
    small(out, "half", head(conv()))
    half = {k: v.astype("float16") for k, v in mx.nd.load(str(out / "half-0000.params")).items()}
    mx.nd.save(str(out / "half-0000.params"), half)
    (out / "narrow-symbol.json").write_text(head(conv()).tojson())
    symbol, held = (out / "blocks-symbol.json").read_bytes(), (out / "blocks-0000.params").read_bytes()
    for name, graph, arrays in (
        ("cut", symbol[: len(symbol) // 2], held),
        ("short", symbol, held[: len(held) // 2]),
        ("junk", symbol, b"no arrays at all"),
        ("strange", symbol.replace(b'"Activation"', b'"Unheard"'), held),
        ("other", b'{"base_code": {"magic": "pir"}}', held),
    ):
        (out / f"{name}-symbol.json").write_bytes(graph)
        (out / f"{name}-0000.params").write_bytes(arrays)
    (out / "both-symbol.json").write_bytes(symbol)
    for epoch in ("0000", "0007"):
        (out / f"both-{epoch}.params").write_bytes(held)
    fewer = {k: v for k, v in mx.nd.load(str(out / "blocks-0000.params")).items() if "fc_weight" not in k}
    (out / "fewer-symbol.json").write_bytes(symbol)
    mx.nd.save(str(out / "fewer-0000.params"), fewer)
