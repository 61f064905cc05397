"""What a file's layers are to the matcher: what each computes, and what arrives at its channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from cfp_onnx.graph.parts import Geometry
from cfp_onnx.matching.paths import Place, Stage, Way
from cfp_onnx.values import Array

SPREAD = 2048
"""At most this many sorted weights of a layer are compared if kernels and channels may be in any order."""


PRECISIONS = ("int8", "float16", "float32")
"""Kinds of numbers, the coarsest first."""


NOWHERE = -1
"""What has no owner, no kernel or no partner."""


@dataclass(frozen=True)
class Arrival:
    """One track of what arrives at a layer's channels.

    Attributes:
        gate: Whether it only multiplies.
        shortcut: Whether it comes by a shortcut.
        owner: (channels, m) index of a layer, or the number of layers plus the index of an input; `NOWHERE` for none.
        kernel: (channels, m) kernel of the owner, or channel of the input.
    """

    gate: bool
    shortcut: bool
    owner: Array
    kernel: Array


@dataclass(frozen=True)
class Unit:
    """A layer as it is compared.

    Attributes:
        index: Its position among the layers of its file. Inputs are numbered behind the layers.
        name: Its name.
        weight: Name of its weights.
        op: Operator.
        depth: Longest path to the target.
        kernels: Output channels.
        channels: Input channels.
        groups: Groups, or fibers.
        geometry: Its window; zeros that a Pad in front of it adds are part of it.
        weights: Resolves (kernels, channels / groups, taps), float32, as the file has them.
        scale: Factor of the affine map that follows, (kernels,); None where it is not one number per kernel.
        bias: Constant of layer and map together, (kernels,); None as above.
        epsilon: Of the batch norm that follows, where there is one.
        activation: Name of the activation that follows; None for none.
        precision: ``float32``, ``float16`` or ``int8``, of its weights.
        arrivals: What arrives at its channels.
        input: What it reads, before any Pad.
        before: Its kernels after the affine map.
        output: Its kernels after the activation.
        path: How many operators of each kind lie between the layers above and this one.
        joined: Whether its kernels go straight into an Add.
        variance: Of the batch norm that follows, (kernels,).
        answer: Name and place of the final activation behind it, where the file keeps that as an operator of its own.
        shared: Whether its kernels go into an Add or have several readers, so that a map behind is not theirs alone.
        way: The path to the layers above, with affine maps that belong to no single layer.
        stages: Its kernels behind none of the maps that follow, behind the first, and so on without the last.
    """

    index: int
    name: str
    weight: str
    op: str
    depth: int | None
    kernels: int
    channels: int
    groups: int
    geometry: Geometry
    weights: Callable[[], Array]
    scale: Array | None
    bias: Array | None
    epsilon: float | None
    activation: str | None
    precision: str
    arrivals: tuple[Arrival, ...]
    input: Place
    before: Place | None
    output: Place
    path: Mapping[str, int] = field(default_factory=dict)
    joined: bool = False
    variance: Array | None = None
    answer: tuple[str, Place] | None = None
    shared: bool = False
    way: Way = field(default_factory=Way)
    stages: tuple[Stage, ...] = ()

    @property
    def taps(self) -> tuple[int, ...]:
        """Sizes of its window without the axes along which it has one tap, where that says enough."""
        return self.geometry.kernel

    def answers(self, other: Unit) -> bool:
        """Whether the final activation is part of the layer in one file and an operator behind it in the other."""
        return any(x.answer and y.before is None and x.answer[0] == y.activation for x, y in
                   ((self, other), (other, self)))  # fmt: skip

    def effective(self) -> Array:
        """Weights times the factor that follows, (kernels, channels / groups, taps) float32."""
        weights = self.weights()
        if self.scale is None or (self.scale == 1).all():
            return weights
        return weights * self.scale.astype(np.float32)[:, None, None]

    @cached_property
    def spectrum(self) -> Array:
        """Its weights in order of size, at most `SPREAD` of them: the same for any order of kernels and channels."""
        values = np.sort(self.effective().reshape(-1))
        return np.asarray(values[np.unique(np.linspace(0, values.size - 1, SPREAD).round().astype(int))])

    @cached_property
    def carried(self) -> dict[int, tuple[Array, Array]]:
        """For each owner but those of gates: the channels at which its kernels arrive, and these kernels."""
        return _incoming(a for a in self.arrivals if not a.gate)

    @cached_property
    def incoming(self) -> dict[int, tuple[Array, Array]]:
        """The same for all owners, gates included."""
        return _incoming(self.arrivals)


@dataclass(frozen=True)
class NetworkUnits:
    """The layers that one output depends on, in execution order, and the model's inputs.

    Attributes:
        units: The layers.
        count: Layers of the whole file.
        inputs: Name and channels of each input.
        heads: Layers that make the output; their kernels are classes, whose order is fixed.
        precision: ``float32``, ``float16`` or ``int8``: the coarsest numbers that it keeps weights or activations in.
        rounded: Whether all weights are numbers that float16 can hold, whatever type they are kept in.
        behind: Operators between the classes' scores and the output, such as Softmax.
    """

    units: tuple[Unit, ...]
    count: int
    inputs: tuple[tuple[str, int], ...]
    heads: frozenset[int]
    precision: str = "float32"
    rounded: bool = False
    behind: tuple[str, ...] = ()

    def unit(self, index: int) -> Unit:
        """The layer of an index."""
        return next(u for u in self.units if u.index == index)


def _incoming(arrivals: Iterable[Arrival]) -> dict[int, tuple[Array, Array]]:
    out: dict[int, list[tuple[Array, Array]]] = {}
    for arrival in arrivals:
        for owner in np.unique(arrival.owner[arrival.owner >= 0]):
            rows, columns = np.nonzero(arrival.owner == owner)
            out.setdefault(int(owner), []).append((rows, arrival.kernel[rows, columns]))
    return {o: (np.concatenate([c for c, _ in x]), np.concatenate([k for _, k in x])) for o, x in out.items()}


__all__ = ["NOWHERE", "PRECISIONS", "SPREAD", "Arrival", "NetworkUnits", "Unit"]
