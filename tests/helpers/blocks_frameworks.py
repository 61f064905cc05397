"""The small network that holds every kind of block, with the same weights, in each framework's own files.

Runs inside a framework's environment, where neither the core nor pytest is:
``python blocks_frameworks.py FRAMEWORK WEIGHTS.npz OUTDIR`` saves each form of source there, and ``logits.npy``,
what the framework says to the clip ``clip`` of the archive. Weights carry PyTorch's names and layout: conv
``(out, in / groups, t, h, w)``, dense ``(out, in)``.

stem conv /(1,2,2) -> residual block -> three-branch concat with a max-pool -> grouped conv g=4 /2 -> channel
shuffle -> depth-wise, point-wise -> SE gate -> (2+1)D pair -> global mean -> dense; 12 convolutions and 3 dense layers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Weights = Mapping[str, np.ndarray]

GROUPS, EPSILON = 4, 1e-5
SMALL = (2, 3, 4, 16, 16)
BN = ("weight", "bias", "running_mean", "running_var")

# One row per convolution: name, kernel, stride, zeros on each side, groups.
CONVS: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]] = {
    "stem": ((3, 3, 3), (1, 2, 2), (1, 1, 1), 1),
    "res.a": ((3, 3, 3), (1, 1, 1), (1, 1, 1), 1),
    "res.b": ((3, 3, 3), (1, 1, 1), (1, 1, 1), 1),
    "inc.b1": ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1),
    "inc.b2a": ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1),
    "inc.b2b": ((3, 3, 3), (1, 1, 1), (1, 1, 1), 1),
    "inc.b3": ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1),
    "grp": ((3, 3, 3), (2, 2, 2), (1, 1, 1), GROUPS),
    "dw": ((3, 3, 3), (1, 1, 1), (1, 1, 1), 48),
    "pw": ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1),
    "spat": ((1, 3, 3), (1, 1, 1), (0, 1, 1), 1),
    "temp": ((3, 1, 1), (1, 1, 1), (1, 0, 0), 1),
}


CHANNELS = {
    "stem": (32, 3), "res.a": (32, 32), "res.b": (32, 32), "inc.b1": (16, 32), "inc.b2a": (12, 32), "inc.b2b": (16, 12),
    "inc.b3": (16, 32), "grp": (48, 48), "dw": (48, 48), "pw": (64, 48), "spat": (24, 64), "temp": (64, 24),
}  # fmt: skip
"""Kernels and channels of each convolution."""

DENSE = {"se.fc1": (16, 64), "se.fc2": (64, 16), "fc": (10, 64)}


def seeded_weights() -> dict[str, np.ndarray]:
    """Weights by PyTorch's names, and two clips; statistics differ from those of a fresh network."""
    rng, made = np.random.default_rng(0), {"clip": np.zeros(SMALL)}
    for name, (kernel, _, _, groups) in CONVS.items():
        kernels, channels = CHANNELS[name]
        shape = (kernels, channels // groups, *kernel)
        made[f"{name}.conv.weight"] = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        for kind, (low, high) in zip(BN, ((0.7, 1.3), (-0.3, 0.3), (-0.3, 0.3), (0.5, 1.5)), strict=True):
            made[f"{name}.bn.{kind}"] = rng.uniform(low, high, kernels)
    for name, shape in DENSE.items():
        made[f"{name}.weight"] = rng.standard_normal(shape) * shape[1] ** -0.5
        made[f"{name}.bias"] = rng.uniform(-0.3, 0.3, shape[0])
    made["clip"] = rng.standard_normal(SMALL)
    return {name: array.astype(np.float32) for name, array in made.items()}


def network(ops: Any, x: Any) -> Any:
    """The network, spelled with a framework's own operations.

    Args:
        ops: Has ``conv`` (pads itself, with batch norm), ``relu``, ``sigmoid``, ``add``, ``concat``, ``pool`` (maximum
            3x3x3, padded), ``shuffle``, ``mean``, ``dense`` and ``gate``.
        x: The clip.
    """
    x = ops.relu(ops.conv(x, "stem"))
    inner = ops.conv(ops.relu(ops.conv(x, "res.a")), "res.b")
    x = ops.relu(ops.add(inner, x))
    one = ops.relu(ops.conv(x, "inc.b1"))
    two = ops.relu(ops.conv(ops.relu(ops.conv(x, "inc.b2a")), "inc.b2b"))
    three = ops.relu(ops.conv(ops.pool(x), "inc.b3"))
    x = ops.relu(ops.conv(ops.concat([one, two, three]), "grp"))
    x = ops.relu(ops.conv(ops.shuffle(x), "dw"))
    x = ops.relu(ops.conv(x, "pw"))
    held = ops.sigmoid(ops.dense(ops.relu(ops.dense(ops.mean(x), "se.fc1")), "se.fc2"))
    x = ops.gate(x, held)
    x = ops.relu(ops.conv(ops.relu(ops.conv(x, "spat")), "temp"))
    return ops.dense(ops.mean(x), "fc")


def channels_last(clip: np.ndarray) -> np.ndarray:
    """(N, C, T, H, W) as (N, T, H, W, C)."""
    return np.ascontiguousarray(np.moveaxis(clip, 1, -1))


# -------------------------------------------------------------------------------------------------------- Keras


class KerasOps:
    """Channels last, as Keras likes it; zeros by layers of their own, since "same" pads strides unevenly."""

    def __init__(self, weights: Weights, *, split: bool = False) -> None:
        import keras

        self.layers, self.weights, self.split, self.sets = keras.layers, weights, split, []

    def conv(self, x: Any, name: str) -> Any:
        kernel, stride, pad, groups = CONVS[name]
        w = self.weights[f"{name}.conv.weight"]
        if any(pad):
            x = self.layers.ZeroPadding3D(pad)(x)
        if self.split and groups > 1:
            x = self._fibers(x, w, kernel, stride, groups)
        else:
            layer = self.layers.Conv3D(len(w), kernel, strides=stride, groups=groups, use_bias=False)
            x = layer(x)
            self.sets.append((layer, [w.transpose(2, 3, 4, 1, 0)]))
        norm = self.layers.BatchNormalization(epsilon=EPSILON)
        x = norm(x)
        self.sets.append((norm, [self.weights[f"{name}.bn.{k}"] for k in BN]))
        return x

    def _fibers(self, x: Any, w: np.ndarray, kernel: Any, stride: Any, groups: int) -> Any:
        """The groups one by one: TensorFlow's own CPU kernels have no grouped 3-D convolution."""
        import keras

        out = []
        for part, own in zip(keras.ops.split(x, groups, axis=-1), np.split(w, groups), strict=True):
            layer = self.layers.Conv3D(len(own), kernel, strides=stride, use_bias=False)
            out.append(layer(part))
            self.sets.append((layer, [own.transpose(2, 3, 4, 1, 0)]))
        return self.layers.Concatenate()(out)

    def relu(self, x: Any) -> Any:
        return self.layers.ReLU()(x)

    def sigmoid(self, x: Any) -> Any:
        return self.layers.Activation("sigmoid")(x)

    def add(self, a: Any, b: Any) -> Any:
        return self.layers.Add()([a, b])

    def concat(self, parts: list[Any]) -> Any:
        return self.layers.Concatenate()(parts)

    def pool(self, x: Any) -> Any:
        return self.layers.MaxPooling3D(3, strides=1, padding="same")(x)

    def shuffle(self, x: Any) -> Any:
        *places, channels = x.shape[1:]
        x = self.layers.Reshape((int(np.prod(places)), GROUPS, channels // GROUPS))(x)
        return self.layers.Reshape((*places, channels))(self.layers.Permute((1, 3, 2))(x))

    def mean(self, x: Any) -> Any:
        return self.layers.GlobalAveragePooling3D()(x)

    def dense(self, x: Any, name: str) -> Any:
        w = self.weights[f"{name}.weight"]
        layer = self.layers.Dense(len(w))
        x = layer(x)
        self.sets.append((layer, [w.T, self.weights[f"{name}.bias"]]))
        return x

    def gate(self, x: Any, held: Any) -> Any:
        return self.layers.Multiply()([x, self.layers.Reshape((1, 1, 1, held.shape[-1]))(held)])


def keras_model(
    weights: Weights, *, split: bool = False, batch: int | None = None, kind: type[KerasOps] = KerasOps
) -> Any:
    """The network as a Keras model with its weights."""
    import keras

    shape = channels_last(weights["clip"]).shape[1:]
    ops = kind(weights, split=split)
    x = keras.Input(shape, batch_size=batch, name="clip", dtype="float32")
    model = keras.Model(x, network(ops, x), name="blocks")
    for layer, arrays in ops.sets:
        layer.set_weights(arrays)
    return model


def save_keras(weights: Weights, out: Path) -> np.ndarray:
    """.keras and .h5."""
    os.environ.update(KERAS_BACKEND="torch", CUDA_VISIBLE_DEVICES="")
    import keras

    model = keras_model(weights)
    model.save(out / "blocks.keras")
    model.save(out / "blocks.h5")
    keras_model(weights, batch=2).save(out / "fixed.keras")
    keras.Sequential([keras.Input(model.inputs[0].shape[1:], name="clip"), model]).save(out / "sequence.keras")
    x = keras.Input((3, 4))
    keras.Model(x, keras.layers.Lambda(lambda t: t * 2)(x)).save(out / "lambda.keras")
    model.save_weights(out / "only.weights.h5")
    return keras.ops.convert_to_numpy(model(channels_last(weights["clip"]), training=False))


def save_paddle(weights: Weights, out: Path) -> np.ndarray:
    """.json and .pdmodel."""
    import blocks_paddle

    return blocks_paddle.save(weights, out)


def save_mxnet(weights: Weights, out: Path) -> np.ndarray:
    """-symbol.json and .params."""
    import blocks_mxnet

    return blocks_mxnet.save(weights, out)


def save_jax(weights: Weights, out: Path) -> np.ndarray:
    """Code and files of weights; a module of its own, which is itself a source."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import blocks_jax

    return blocks_jax.save(weights, out)


def save_tensorflow(weights: Weights, out: Path) -> np.ndarray:
    """SavedModel folders."""
    from blocks_tensorflow import save_tensorflow

    return save_tensorflow(weights, out)


def save_tflite(weights: Weights, out: Path) -> np.ndarray:
    """.tflite files."""
    from blocks_tensorflow import save_tflite

    return save_tflite(weights, out)


SAVERS: dict[str, Callable[[Weights, Path], np.ndarray]] = {
    "keras": save_keras,
    "jax": save_jax,
    "paddle": save_paddle,
    "mxnet": save_mxnet,
    "tensorflow": save_tensorflow,
    "tflite": save_tflite,
}


def main(framework: str, archive: str, out: str) -> None:
    """Saves every form of source of one framework."""
    with np.load(archive) as file:
        weights = dict(file)
    np.save(Path(out) / "logits.npy", SAVERS[framework](weights, Path(out)))


if __name__ == "__main__":
    main(*sys.argv[1:])
