"""LSTM, GRU and RNN as ONNX writes their equations, step by step in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .steps import Array, Step, forward

Squash = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


_FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "Sigmoid": lambda x, _a, _b: _sigmoid(x),
    "Tanh": lambda x, _a, _b: np.tanh(x),
    "Relu": lambda x, _a, _b: np.maximum(x, 0),
    "Softsign": lambda x, _a, _b: x / (1 + np.abs(x)),
    "Softplus": lambda x, _a, _b: np.log1p(np.exp(x)),
    "LeakyRelu": lambda x, a, _b: np.where(x < 0, a * x, x),
    "ThresholdedRelu": lambda x, a, _b: np.where(x > a, x, 0.0),
    "Elu": lambda x, a, _b: np.where(x < 0, a * (np.exp(x) - 1), x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Affine": lambda x, a, b: a * x + b,
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
}

_DEFAULTS = {
    "LeakyRelu": [0.01], "ThresholdedRelu": [1.0], "Elu": [1.0], "HardSigmoid": [0.2, 0.5], "Affine": [1.0, 0.0],
    "ScaledTanh": [1.0, 1.0],
}  # fmt: skip


def _squashes(step: Step, default: list[str], directions: int) -> list[list[Squash]]:
    names = [n.decode() for n in step.attributes.get("activations", [])] or default * directions
    alphas = list(step.attributes.get("activation_alpha", []))
    betas = list(step.attributes.get("activation_beta", []))
    made: list[Squash] = []
    for name in names:
        a, b = [*_DEFAULTS.get(name, []), 0.0, 0.0][:2]
        if _DEFAULTS.get(name) and alphas:
            a = alphas.pop(0)
        if len(_DEFAULTS.get(name, [])) > 1 and betas:
            b = betas.pop(0)
        made.append(lambda x, f=_FUNCTIONS[name], a=a, b=b: f(x, a, b))
    return [made[d * len(default) : (d + 1) * len(default)] for d in range(directions)]


def _directions(step: Step, default: list[str], gates: int) -> Iterator[tuple[int, bool, list[Squash], Array, Array]]:
    kind = step.attributes.get("direction", b"forward").decode()
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[kind]
    hidden = step.need(2).shape[2]
    given = step.get(3)
    biases = np.zeros((len(backwards), 2 * gates * hidden)) if given is None else given
    squashes = _squashes(step, default, len(backwards))
    for d, back in enumerate(backwards):
        yield d, back, squashes[d], biases[d, : gates * hidden], biases[d, gates * hidden :]


def _run(step: Step, default: list[str], gates: int, cell: Callable[..., tuple[Array, Array]]) -> list[Array]:
    length, batch, _ = step.x.shape
    hidden = step.need(2).shape[2]
    ends = step.get(4)
    last = length if ends is None else int(ends[0])
    ys, hs, cs = [], [], []
    for d, back, squash, wb, rb in _directions(step, default, gates):
        h, c = (np.zeros((batch, hidden)) if (s := step.get(i)) is None else s[d] for i in (5, 6))
        y = np.zeros((length, batch, hidden))
        for t in range(last)[:: -1 if back else 1]:
            h, c = cell(step, d, squash, step.x[t], h, c, wb, rb)
            y[t] = h
        ys.append(y)
        hs.append(h)
        cs.append(c)
    return [np.stack(ys, axis=1), np.stack(hs), np.stack(cs)]


def _lstm_cell(
    step: Step, d: int, squash: list[Squash], x: Array, h: Array, c: Array, wb: Array, rb: Array
) -> tuple[Array, Array]:
    f, g, out = squash
    z = x @ step.need(1)[d].T + h @ step.need(2)[d].T + wb + rb
    i, o, forget, candidate = np.split(z, 4, axis=1)
    seen = np.zeros((3, h.shape[1])) if step.get(7) is None else step.need(7)[d].reshape(3, -1)
    i = f(i + seen[0] * c)
    forget = 1 - i if step.attributes.get("input_forget", 0) else f(forget + seen[2] * c)
    c = forget * c + i * g(candidate)
    return f(o + seen[1] * c) * out(c), c


def _gru_cell(
    step: Step, d: int, squash: list[Squash], x: Array, h: Array, c: Array, wb: Array, rb: Array
) -> tuple[Array, Array]:
    f, g = squash
    (wz, wr, wh), (rz, rr, rh) = np.split(step.need(1)[d], 3), np.split(step.need(2)[d], 3)
    (bz, br, bh), (cz, cr, ch) = np.split(wb, 3), np.split(rb, 3)
    z, r = f(x @ wz.T + h @ rz.T + bz + cz), f(x @ wr.T + h @ rr.T + br + cr)
    if step.attributes.get("linear_before_reset", 0):
        new = g(x @ wh.T + r * (h @ rh.T + ch) + bh)
    else:
        new = g(x @ wh.T + (r * h) @ rh.T + ch + bh)
    return (1 - z) * new + z * h, c


def _rnn_cell(
    step: Step, d: int, squash: list[Squash], x: Array, h: Array, c: Array, wb: Array, rb: Array
) -> tuple[Array, Array]:
    return squash[0](x @ step.need(1)[d].T + h @ step.need(2)[d].T + wb + rb), c


@forward("LSTM")
def _lstm(step: Step) -> list[Array]:
    return _run(step, ["Sigmoid", "Tanh", "Tanh"], 4, _lstm_cell)


@forward("GRU")
def _gru(step: Step) -> list[Array]:
    return _run(step, ["Sigmoid", "Tanh"], 3, _gru_cell)[:2]


@forward("RNN")
def _rnn(step: Step) -> list[Array]:
    return _run(step, ["Tanh"], 1, _rnn_cell)[:2]
