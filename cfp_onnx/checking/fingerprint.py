"""What a network's decisions rest on: sketches of its weights, and its kernels' activity and relevance on each clip.

A baseline keeps these numbers instead of the network. *Activity* is the mean of a kernel's map, *relevance* what the
rule gives it; both come out of one forward pass. The weights are kept as sketches: sums over a kernel's channels, with
signs over its window, which all exports of a network have in common, in any order of channels. The mean square of such
sums equals that of the weights, so a change of the weights shows in the sketches at its own size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.errors import ModelError, RunError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.graph.parts import Geometry
from cfp_onnx.matching.describe import network
from cfp_onnx.matching.units import NetworkUnits, Unit
from cfp_onnx.model import Model
from cfp_onnx.relevance.field_walk import Walk
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.relevance.rules import field_rules, rule_named
from cfp_onnx.runtime.probe import SEED, Probe
from cfp_onnx.values import Array

RULES = field_rules()
"""Rules by which a baseline can be made: those whose relevance comes out of the forward pass itself."""

PATTERNS = (0b000000, 0b010101, 0b001011, 0b100110)
"""Signs over a window: tap t counts negative where t and the pattern share an odd number of bits."""


@dataclass(frozen=True)
class Traits:
    """What a baseline stores of one layer.

    Attributes:
        name: Its name.
        weight: Name of its weights.
        op: Operator.
        kernels: Output channels.
        channels: Input channels.
        groups: Groups, or fibers.
        geometry: Its window.
        depth: Longest path to the target; None where no path to the target goes through it.
        head: Whether its kernels are classes.
        size: (kernels,) Euclidean norm of each kernel's weights, the affine map that follows folded in.
        root: (kernels,) sum of the square roots of the weights' sizes; small weights count most, so that weights that
            were set to zero show.
        bias: (kernels,) constants, the affine map folded in; None where they are not one number per kernel.
        sketch: (kernels, patterns) signed sums of each kernel's weights.
    """

    name: str
    weight: str
    op: str
    kernels: int
    channels: int
    groups: int
    geometry: Geometry
    depth: int | None
    head: bool
    size: Array
    root: Array
    bias: Array | None
    sketch: Array

    @classmethod
    def of(cls, unit: Unit, *, head: bool) -> Traits:
        """A layer of a file in short."""
        weights = unit.effective()
        return cls(
            name=unit.name, weight=unit.weight, op=unit.op, kernels=unit.kernels, channels=unit.channels,
            groups=unit.groups, geometry=_plain(unit.geometry), depth=unit.depth, head=head,
            size=np.sqrt(np.einsum("kct,kct->k", weights, weights, dtype=np.float64)).astype(np.float32),
            root=np.sqrt(np.abs(weights)).reshape(unit.kernels, -1).sum(axis=1, dtype=np.float64).astype(np.float32),
            bias=None if unit.bias is None else np.asarray(unit.bias, np.float32), sketch=sketch(weights),
        )  # fmt: skip


def _plain(g: Geometry) -> Geometry:
    """The window with a dilation of 1 along axes with one tap, where a dilation has no effect."""
    dilations = tuple(1 if k == 1 else d for k, d in zip(g.kernel, g.dilations, strict=True))
    return replace(g, dilations=dilations)


def sketch(weights: Array) -> Array:
    """Signed sums over channels and window.

    Args:
        weights: (kernels, channels, taps).

    Returns:
        (kernels, patterns) float32; one pattern where the window has one tap.
    """
    taps = weights.shape[2]
    patterns = PATTERNS[:1] if taps == 1 else PATTERNS
    signs = np.array([[-1.0 if (t & p).bit_count() % 2 else 1.0 for p in patterns] for t in range(taps)])
    return np.asarray(weights.sum(axis=1, dtype=np.float64) @ signs, np.float32)


@dataclass(frozen=True)
class Sight:
    """What one clip shows, layer by layer in the order of the traits.

    Attributes:
        scores: (classes,) float64.
        activity: (kernels,) of each layer.
        relevance: (kernels,) of each layer; None where a layer is deeper than was asked for.
    """

    scores: Array
    activity: tuple[Array, ...]
    relevance: tuple[Array | None, ...]


class Recorder:
    """A model at one input size, ready to record what its decision on a clip rests on, in one forward pass.

    Args:
        model: A loaded model.
        feeds: Arrays for all inputs; only their shapes matter here.
        rule: One of `RULES`.
        depth: Deepest level whose relevance is taken; None for all.
        output: The output that decides; of several the one with classes by default.
        device: Where to run.
        optimise: Whether the runtime may fuse and reorder operators.
        barriers: Whether unknown operators on channel paths are passed over.

    Raises:
        CfpError: If the model cannot be analysed or run.
    """

    def __init__(
        self,
        model: Model,
        feeds: Mapping[str, Array],
        *,
        rule: str = "positional",
        depth: int | None = None,
        output: str | None = None,
        device: runtime.Device | None = None,
        optimise: bool = True,
        barriers: bool = False,
    ) -> None:
        self.engine = Engine(model, feeds, device=device, output=output, barriers=barriers)
        engine = self.engine
        self.network: NetworkUnits = network(engine.topology, engine.scored, engine.target, engine.depths)
        probe = Probe(engine.model.opset)
        make = rule_named(rule).field().make
        walk = Walk(
            engine.topology,
            engine.target,
            depths=engine.depths,
            depth=depth,
            rule=lambda w: make(w, HOLDS),
            probe=probe,
        )
        walk.run()
        self._relevance = [walk.relevance.get(u.index) for u in self.network.units]
        self._activity = []
        for unit in self.network.units:
            axes = [a for a in range(len(walk.value.shape(unit.output.tensor))) if a != unit.output.axis]
            self._activity.append(probe.reduce("ReduceMean", walk.value(unit.output.tensor), axes, keep=False))
        self._scores = engine.output if engine.scored == engine.output else walk.value(engine.scored)
        probe.outputs = list(dict.fromkeys([*filter(None, self._relevance), *self._activity, self._scores]))
        self._session = engine.graph.with_probe(probe).session(engine.device, optimise=optimise)

    @property
    def traits(self) -> tuple[Traits, ...]:
        """The layers in short, in execution order.

        Raises:
            ModelError: If a weight or a constant is not finite, which may never show in an output.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            found = tuple(Traits.of(u, head=u.index in self.network.heads) for u in self.network.units)
        for t in found:
            if not all(np.isfinite(v).all() for v in (t.size, t.root, t.sketch, t.bias) if v is not None):
                raise ModelError(
                    f"{self.engine.file.path}: the weights or constants of layer {t.name!r} hold NaN, infinity or "
                    "numbers near it; mend the file, a large negative constant silences a kernel too"
                )
        return found

    def look(self, feeds: Mapping[str, Array], index: int) -> Sight:
        """Scores, activity and relevance of one clip.

        Args:
            feeds: Arrays for all inputs.
            index: The class.

        Raises:
            RunError: If the runtime fails, or the result is not finite.
        """
        names = list(dict.fromkeys([self._scores, *filter(None, self._relevance), *self._activity]))
        seed = {SEED: self.engine.classes_on(feeds, index).seed(index, "contrast")}
        found = dict(zip(names, runtime.run(self._session, names, {**feeds, **seed}), strict=True))
        rows = {n: np.asarray(found[n], np.float64).reshape(-1) for n in names[1:]}
        scores = self.engine.scores(found[self._scores])
        if not all(np.isfinite(v).all() for v in (scores, *rows.values())):
            raise RunError(
                f"{self.engine.file.path} gives NaN or infinity on this clip; check the clip and its preprocessing"
            )
        return Sight(
            scores, tuple(rows[n] for n in self._activity),
            tuple(None if n is None else rows[n] for n in self._relevance),
        )  # fmt: skip


def doubled(model: Model, feeds: Mapping[str, Array]) -> dict[str, Array] | None:
    """The clip twice in one batch; None where the model fixes its batch."""
    open_batch = {p.name for p in model.inputs if p.shape and p.shape[0] is None}
    if open_batch != set(feeds):
        return None
    return {name: np.concatenate([array, array]) for name, array in feeds.items()}


def shapes_of(feeds: Mapping[str, Array]) -> tuple[tuple[str, Sequence[int]], ...]:
    """Sizes of all inputs, as a key."""
    return tuple(sorted((name, array.shape) for name, array in feeds.items()))


__all__ = ["PATTERNS", "RULES", "Recorder", "Sight", "Traits", "doubled", "shapes_of", "sketch"]
