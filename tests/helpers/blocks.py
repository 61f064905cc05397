"""The small network that holds every kind of block, computed slowly in float64 from nothing but NumPy.

An authority for every framework's export of it: the tables and weights are those of `blocks_frameworks`, the
arithmetic is its own.
"""

from __future__ import annotations

import numpy as np
from blocks_frameworks import BN, CONVS, EPSILON, GROUPS, network
from blocks_frameworks import seeded_weights as weights

LAYERS = {"Conv": 12, "dense": 3}


class NumpyOps:
    """The operations of `blocks_frameworks.network` on (N, C, T, H, W) arrays."""

    def __init__(self, arrays):
        self.arrays = {name: np.asarray(a, np.float64) for name, a in arrays.items()}

    def conv(self, x, name):
        _, stride, pad, groups = CONVS[name]
        w = self.arrays[f"{name}.conv.weight"]
        x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pad)))
        view = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3, 4))
        view = view[:, :, :: stride[0], :: stride[1], :: stride[2]]
        fibers = zip(np.split(view, groups, 1), np.split(w, groups), strict=True)
        x = np.concatenate([np.einsum("ncthwijk,ocijk->nothw", part, own) for part, own in fibers], 1)
        scale, offset, mean, variance = (self.arrays[f"{name}.bn.{k}"].reshape(-1, 1, 1, 1) for k in BN)
        return (x - mean) / np.sqrt(variance + EPSILON) * scale + offset

    def relu(self, x):
        return np.maximum(x, 0)

    def sigmoid(self, x):
        return 1 / (1 + np.exp(-x))

    def add(self, a, b):
        return a + b

    def concat(self, parts):
        return np.concatenate(parts, 1)

    def pool(self, x):
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (1, 1)), constant_values=-np.inf)
        return np.lib.stride_tricks.sliding_window_view(x, (3, 3, 3), (2, 3, 4)).max((5, 6, 7))

    def shuffle(self, x):
        n, c, *places = x.shape
        return x.reshape(n, GROUPS, c // GROUPS, *places).swapaxes(1, 2).reshape(x.shape)

    def mean(self, x):
        return x.mean((2, 3, 4))

    def dense(self, x, name):
        return x @ self.arrays[f"{name}.weight"].T + self.arrays[f"{name}.bias"]

    def gate(self, x, held):
        return x * held[:, :, None, None, None]


def logits(arrays, clip):
    """What the network says to a clip, (N, 10) float64."""
    return network(NumpyOps(arrays), np.asarray(clip, np.float64))


__all__ = ["LAYERS", "logits", "weights"]
