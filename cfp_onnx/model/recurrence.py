"""Recurrent layers as the steps that they take: LSTM, GRU and RNN of ONNX, written out for the observed length.

https://onnx.ai/onnx/operators/onnx__LSTM.html, `onnx__GRU.html`, `onnx__RNN.html`. All steps of a layer are written as
ordinary nodes inside of it; its hidden units over all steps, (batch, steps, directions * hidden), are one tensor, the
output of a node with the layer's own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from cfp_onnx.model.values import Recurrence
from cfp_onnx.model.writer import NotExpandableError, Writer
from cfp_onnx.values import Array

STEPS = 512
"""Most steps that are written out."""

UNITS = "Sum"
"""Operator of the node whose output holds the hidden units: a sum of one tensor, which no exporter writes."""

Squash = Callable[[ir.Value, str], ir.Value]
"""Writes an activation: its input and a part of its name."""

Step = tuple[ir.Value, ir.Value | None]
"""Hidden units after a step, and cells of an LSTM; each (batch, hidden)."""


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent layer.

    Attributes:
        index: 0, or 1 for the second direction.
        backwards: Whether it begins at the last step.
        squash: Its activations.
        recurrent: (gates * hidden, hidden) weights of the hidden units.
        inner: Recurrent bias of a GRU's candidate, which its reset gate scales.
        peepholes: (3, hidden) weights of the cells in the gates i, o and f.
    """

    index: int
    backwards: bool
    squash: tuple[Squash, ...]
    recurrent: Array
    inner: Array | None = None
    peepholes: Array | None = None


class Steps:
    """Writes the steps of one recurrent layer.

    Args:
        w: Writes the nodes.
        gates: Rows of weights per hidden unit.
        squash: Names of the activations that a direction has by default.
    """

    def __init__(self, w: Writer, gates: int, squash: Sequence[str]) -> None:
        self.w = w
        self.gates = gates
        self._names = squash
        self.length, self.batch, self.channels = w.shape(0)
        self.hidden = int(w.attribute("hidden_size", 0)) or w.shape(2)[2]
        self._constants: dict[tuple[str, int], ir.Value] = {}
        self._refuse()
        self.directions = list(self._directions())

    def _refuse(self) -> None:
        w = self.w
        if w.value(0) is not None:
            raise NotExpandableError("reads a sequence that does not depend on the model's input")
        if w.attribute("layout", 0):
            raise NotExpandableError("has its batch first (layout 1)")
        if w.attribute("clip", 0):
            raise NotExpandableError("clips what its activations read")
        if any(w.has(i) and w.value(i) is None for i in (1, 2, 3, 7)):
            raise NotExpandableError("has weights that depend on the model's input")
        if self.length > STEPS:
            raise NotExpandableError(f"takes {self.length} steps, more than the {STEPS} that are written out")
        if w.has(4):
            lengths = w.seen(4)
            if lengths is None:
                raise NotExpandableError("has sequence lengths that depend on the model's input")
            if len(set(lengths.tolist())) != 1 or not 0 < lengths[0] <= self.length:
                raise NotExpandableError("has sequences of different lengths")
            self.steps = int(lengths[0])
        else:
            self.steps = self.length
        if not self.steps:
            raise NotExpandableError("takes no step")

    def _directions(self) -> Iterator[Direction]:
        w, size = self.w, self.hidden
        kind = w.text("direction", "forward")
        backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(kind)
        if backwards is None:
            raise NotExpandableError(f"has the direction {kind!r}")
        squash = activations(w, self._names, len(backwards))
        biases = self._biases(len(backwards))
        for d, back in enumerate(backwards):
            recurrent = _given(w, 2)[d]
            inner = biases[d, 1, 2 * size :] if w.node.op == "GRU" and w.attribute("linear_before_reset", 0) else None
            peepholes = _given(w, 7)[d].reshape(3, size) if w.has(7) else None
            yield Direction(d, back, tuple(squash[d]), recurrent, inner, peepholes)

    def _biases(self, directions: int) -> Array:
        """(directions, 2, gates * hidden): of the inputs, and of the hidden units."""
        shape = (directions, 2, self.gates * self.hidden)
        return _given(self.w, 3).reshape(shape) if self.w.has(3) else np.zeros(shape, self.w.dtype)

    # What all directions share.

    def write(self, step: Callable[[Steps, Direction, int, ir.Value, ir.Value | None, ir.Value | None], Step]) -> None:
        """Write the whole layer.

        Args:
            step: Writes one step of a direction: its number, what the input adds to its gates, hidden units and cells
                of the step before.
        """
        w, before = self.w, set(map(id, self.w.nodes))
        source = w.tensor(0)
        if self.steps < self.length:
            source = w.slice(source, 0, 0, self.steps, "read")
            before = set(map(id, w.nodes))
        inputs = self._projected(source)
        units, cells = [], []
        for d in self.directions:
            outs, last = self._run(step, d, inputs[d.index])
            units.append(w.reshape(w.add("Concat", outs, "steps", axis=0), (self.steps, self.batch, self.hidden), "h"))
            cells.append(last)
        whole = units[0] if len(units) == 1 else w.add("Concat", units, "directions", axis=2)
        whole = w.add("Transpose", [whole], "batch_first", perm=[1, 0, 2])
        if w.reads(2):
            whole = w.add("Concat", [whole, self._last_cells(cells)], "with_cells", axis=1)
        inside = frozenset(n.name or "" for n in w.nodes if id(n) not in before)
        out = w.add_named(UNITS, [whole])
        self._give(out)
        w.recurrence = Recurrence(
            op=w.node.op, source=source.name or "", weight=w.node.input(1), matrix=self._matrix, gates=self.gates,
            kernels=len(units) * self.hidden, channels=self.channels, steps=self.steps, inside=inside,
            projection=self._projection,
        )  # fmt: skip

    def _projected(self, source: ir.Value) -> list[list[ir.Value]]:
        """For each direction and step what the input adds to the gates, (batch, gates * hidden)."""
        w, rows, count = self.w, self.steps * self.batch, len(self.directions)
        stack = _given(w, 1).reshape(count, self.gates, self.hidden, self.channels)
        matrix = w.constant(stack.swapaxes(0, 1).reshape(-1, self.channels), "weights")
        added = w.constant(self._input_bias().swapaxes(0, 1).reshape(-1), "bias")
        flat = w.reshape(source, (rows, self.channels), "rows")
        made = w.add("Gemm", [flat, matrix, added], "inputs", transB=1)
        self._matrix, self._projection = matrix.name or "", w.nodes[-1].name or ""
        out = []
        for d in range(count):
            mine = made
            if count > 1:
                apart = w.reshape(made, (rows, self.gates, count, self.hidden), "apart")
                mine = w.reshape(w.slice(apart, 2, d, d + 1, "direction"), (rows, self.gates * self.hidden), "mine")
            out.append(w.split(mine, 0, [self.batch] * self.steps, "inputs_at"))
        return out

    def _input_bias(self) -> Array:
        """(directions, gates, hidden): all that is added to a gate, but for a bias that a reset gate scales."""
        both = self._biases(len(self.directions)).reshape(len(self.directions), 2, self.gates, self.hidden).copy()
        if self.directions[0].inner is not None:
            both[:, 1, 2] = 0
        return np.asarray(both.sum(axis=1), both.dtype)

    def _run(
        self, step: Callable[..., Step], d: Direction, inputs: Sequence[ir.Value]
    ) -> tuple[list[ir.Value], ir.Value | None]:
        order = range(self.steps)[:: -1 if d.backwards else 1]
        h, c = self._state(5, d), self._state(6, d) if self.w.node.op == "LSTM" else None
        outs: dict[int, ir.Value] = {}
        for t in order:
            h, c = step(self, d, t, inputs[t], h, c)
            outs[t] = h
        return [outs[t] for t in range(self.steps)], c

    def _state(self, index: int, d: Direction) -> ir.Value | None:
        """A direction's initial state, (batch, hidden); None for zeros."""
        w = self.w
        if not w.has(index):
            return None
        value = w.value(index)
        if value is not None:
            return w.constant(value[d.index], "initial") if value[d.index].any() else None
        mine = w.tensor(index)
        if len(self.directions) > 1:
            mine = w.slice(mine, 0, d.index, d.index + 1, "initial_of")
        return w.reshape(mine, (self.batch, self.hidden), "initial")

    def _last_cells(self, cells: Sequence[ir.Value | None]) -> ir.Value:
        found = [c for c in cells if c is not None]
        joined = found[0] if len(found) == 1 else self.w.add("Concat", found, "cells", axis=1)
        return self.w.reshape(joined, (self.batch, 1, len(found) * self.hidden), "last_cells")

    # Outputs: every one is a part of the hidden units.

    def _give(self, units: ir.Value) -> None:
        w, count = self.w, len(self.directions)
        over = w.slice(units, 1, 0, self.steps, "over_steps") if w.reads(2) else units
        if w.reads(0):
            turned = w.add("Transpose", [over], "steps_first", perm=[1, 0, 2])
            apart = w.reshape(turned, (self.steps, self.batch, count, self.hidden), "by_direction")
            out = w.add("Transpose", [apart], "output", perm=[0, 2, 1, 3])
            if self.steps < self.length:
                rest = np.zeros((self.length - self.steps, count, self.batch, self.hidden), w.dtype)
                out = w.add("Concat", [out, w.constant(rest, "padding")], "padded", axis=0)
            w.give(0, out)
        if w.reads(1):
            w.give(1, self._ends(units, [0 if d.backwards else self.steps - 1 for d in self.directions], "last"))
        if w.reads(2):
            w.give(2, self._ends(units, [self.steps] * count, "cell"))

    def _ends(self, units: ir.Value, places: Sequence[int], part: str) -> ir.Value:
        """(directions, batch, hidden) of one place along the steps for each direction."""
        w, size = self.w, self.hidden
        rows = []
        for d, place in enumerate(places):
            row = w.slice(units, 1, place, place + 1, f"{part}_at")
            if len(places) > 1:
                row = w.slice(row, 2, d * size, (d + 1) * size, f"{part}_of")
            rows.append(w.reshape(row, (1, self.batch, size), part))
        return rows[0] if len(rows) == 1 else w.add("Concat", rows, f"{part}s", axis=0)

    # What steps are made of.

    def constant(self, what: str, d: Direction, array: Array) -> ir.Value:
        """A constant that all steps of a direction share."""
        key = (what, d.index)
        if key not in self._constants:
            self._constants[key] = self.w.constant(np.asarray(array, self.w.dtype), what)
        return self._constants[key]

    def recur(
        self, d: Direction, h: ir.Value | None, added: ir.Value, part: str, gates: slice | None = None
    ) -> ir.Value:
        """What is added, and the hidden units times the weights of some gates, (batch, gates * hidden)."""
        if h is None:
            return added
        wanted = gates or slice(0, self.gates)
        rows = d.recurrent.reshape(self.gates, self.hidden, self.hidden)[wanted].reshape(-1, self.hidden)
        weights = self.constant(f"recurrent_{wanted.start}", d, rows)
        return self.w.add("Gemm", [h, weights, added], part, transB=1)


def lstm(w: Writer) -> None:
    """ONNX `LSTM`: gates i, o, f and the cell's candidate."""
    Steps(w, 4, ("Sigmoid", "Tanh", "Tanh")).write(_lstm_step)


def _lstm_step(
    s: Steps, d: Direction, t: int, added: ir.Value, h: ir.Value | None, c: ir.Value | None
) -> tuple[ir.Value, ir.Value]:
    w, (gate, squash, last) = s.w, d.squash
    size, at = s.hidden, f"{d.index}/{t}"

    def peep(x: ir.Value, cell: ir.Value | None, which: int) -> ir.Value:
        if d.peepholes is None or cell is None or not d.peepholes[which].any():
            return x
        weights = s.constant(f"peephole_{which}", d, d.peepholes[which][None])
        return w.add("Add", [x, w.add("Mul", [cell, weights], f"{at}/seen")], f"{at}/peeped")

    whole = s.recur(d, h, added, f"{at}/gates")
    i, o, f, g = w.split(whole, 1, [size] * 4, f"{at}/gate")
    enters = gate(peep(i, c, 0), f"{at}/i")
    cell = w.add("Mul", [squash(g, f"{at}/candidate"), enters], f"{at}/new")
    if c is not None:
        if w.attribute("input_forget", 0):
            stays = w.add("Sub", [s.constant("one", d, np.ones((1, 1))), enters], f"{at}/f")
        else:
            stays = gate(peep(f, c, 2), f"{at}/f")
        cell = w.add("Add", [w.add("Mul", [c, stays], f"{at}/kept"), cell], f"{at}/c")
    leaves = gate(peep(o, cell, 1), f"{at}/o")
    return w.add("Mul", [last(cell, f"{at}/squashed"), leaves], f"{at}/h"), cell


def gru(w: Writer) -> None:
    """ONNX `GRU`: gates z and r, and the candidate."""
    Steps(w, 3, ("Sigmoid", "Tanh")).write(_gru_step)


def _gru_step(
    s: Steps, d: Direction, t: int, added: ir.Value, h: ir.Value | None, _: ir.Value | None
) -> tuple[ir.Value, None]:
    w, (gate, squash) = s.w, d.squash
    size, at = s.hidden, f"{d.index}/{t}"
    both, fresh = w.split(added, 1, [2 * size, size], f"{at}/added")
    both = s.recur(d, h, both, f"{at}/gates", slice(0, 2))
    z, r = w.split(both, 1, [size, size], f"{at}/gate")
    keeps = gate(z, f"{at}/z")
    if d.inner is not None:  # the reset gate scales the product, and its bias
        bias = s.constant("inner_bias", d, d.inner.reshape(1, size))
        product = bias if h is None else s.recur(d, h, bias, f"{at}/recalled", slice(2, 3))
        fresh = w.add("Add", [fresh, w.add("Mul", [product, gate(r, f"{at}/r")], f"{at}/reset")], f"{at}/sum")
    elif h is not None:
        reset = w.add("Mul", [h, gate(r, f"{at}/r")], f"{at}/reset")
        fresh = s.recur(d, reset, fresh, f"{at}/sum", slice(2, 3))
    takes = w.add("Sub", [s.constant("one", d, np.ones((1, 1))), keeps], f"{at}/takes")
    new = w.add("Mul", [squash(fresh, f"{at}/candidate"), takes], f"{at}/new")
    if h is None:
        return new, None
    return w.add("Add", [w.add("Mul", [h, keeps], f"{at}/kept"), new], f"{at}/h"), None


def rnn(w: Writer) -> None:
    """ONNX `RNN`: one activation over inputs and hidden units."""
    Steps(w, 1, ("Tanh",)).write(_rnn_step)


def _rnn_step(
    s: Steps, d: Direction, t: int, added: ir.Value, h: ir.Value | None, _: ir.Value | None
) -> tuple[ir.Value, None]:
    return d.squash[0](s.recur(d, h, added, f"{d.index}/{t}/sum"), f"{d.index}/{t}/h"), None


def _given(w: Writer, index: int) -> Array:
    value = w.value(index)
    if value is None:
        raise NotExpandableError(f"lacks its input {index}")
    return value


# ------------------------------------------------------------------------------------- activations

_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "relu": (None, None), "tanh": (None, None), "sigmoid": (None, None), "softsign": (None, None),
    "softplus": (None, None), "leakyrelu": (0.01, None), "thresholdedrelu": (1.0, None), "elu": (1.0, None),
    "affine": (1.0, 0.0), "scaledtanh": (1.0, 1.0), "hardsigmoid": (0.2, 0.5),
}  # fmt: skip
"""Activations that ONNX names, with what alpha and beta are where a file gives none; None for those without."""

_OPERATORS = {
    "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softsign": "Softsign", "softplus": "Softplus",
    "leakyrelu": "LeakyRelu", "thresholdedrelu": "ThresholdedRelu", "elu": "Elu", "hardsigmoid": "HardSigmoid",
}  # fmt: skip


def activations(w: Writer, default: Sequence[str], directions: int) -> list[list[Squash]]:
    """Activations of each direction; alpha and beta go in order to those that take one."""
    per = len(default)
    names = [n.lower() for n in w.texts("activations") or [*default] * directions]
    if len(names) != per * directions or any(n not in _PARAMETERS for n in names):
        raise NotExpandableError(f"has the activations {', '.join(names)}")
    alphas, betas = (list(w.numbers(k)) for k in ("activation_alpha", "activation_beta"))
    out = []
    for name in names:
        alpha, beta = _PARAMETERS[name]
        if alpha is not None and alphas:
            alpha = alphas.pop(0)
        if beta is not None and betas:
            beta = betas.pop(0)
        out.append(_squash(w, name, alpha, beta))
    return [out[d * per : (d + 1) * per] for d in range(directions)]


def _squash(w: Writer, name: str, alpha: float | None, beta: float | None) -> Squash:
    given = {k: v for k, v in (("alpha", alpha), ("beta", beta)) if v is not None}

    def write(x: ir.Value, part: str) -> ir.Value:
        if name == "affine":
            scaled = w.add("Mul", [x, w.number(given["alpha"], f"{part}/alpha")], f"{part}/scaled")
            return w.add("Add", [scaled, w.number(given["beta"], f"{part}/beta")], part)
        if name == "scaledtanh":
            inner = w.add("Mul", [x, w.number(given["beta"], f"{part}/beta")], f"{part}/scaled")
            made = w.add("Tanh", [inner], f"{part}/tanh")
            return w.add("Mul", [made, w.number(given["alpha"], f"{part}/alpha")], part)
        return w.add(_OPERATORS[name], [x], part, **given)

    return write


__all__ = ["STEPS", "UNITS", "gru", "lstm", "rnn"]
