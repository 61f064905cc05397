"""The relevance walk as ordinary ONNX operators, appended to the model.

Every tensor t on the walked paths gets a *field* g of its own shape, an effective weight towards the target; the
relevance of channel c is the sum over positions of g[c, p] * t[c, p]. A field is handed down by the transposed operator
with the layer's own weights and the recorded activations (docs/method.md has the table), so one forward pass returns
the relevance of every kernel of every layer and nothing is differentiated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from cfp_onnx.errors import ModelError
from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.graph.labels import NONE
from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.states import State
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node
from cfp_onnx.relevance.adjoint import conv_transpose, divisors, fitted, forward, tap_positions, transposed
from cfp_onnx.runtime.probe import SEED, Probe, Values
from cfp_onnx.values import Array

TINY = 1e-12


SMOOTH = 1e-4


POOL_FLOOR = 1e-6
"""Mean activation below which a pooled map hands nothing down (method, rule `active`)."""


@dataclass(frozen=True)
class Message:
    """Input and field whose products, tap by tap, are the messages of a part's channels.

    Attributes:
        part: The part, with the weights to use.
        x: float32 tensor that stands for its input.
        g: Field at its output, before a fused activation.
    """

    part: Part
    x: str
    g: str


class Walk:
    """The backward walk from a target tensor, as nodes of a probe.

    Attributes:
        relevance: Layer index to the output that holds its kernels' relevance.
        features: Layer index to where its kernels are judged.
        messages: (layer index, part index) to what the links of the part are computed from.
        maps: Layer index to its relevance summed over the kernels, the feature's axes without the kernels'; where
            `places` asks for it.
    """

    def __init__(
        self,
        topology: Topology,
        target: str,
        *,
        depths: Mapping[int, int],
        depth: int | None,
        rule: str,
        probe: Probe,
        linked: Iterable[int] = (),
        value: Values | None = None,
        seed: str = SEED,
        places: bool = False,
    ) -> None:
        self.topology = topology
        self.program = topology.program
        self.target = target
        self.depths = depths
        self.limit = max(depths.values(), default=0) if depth is None else depth
        self.pooled = rule == "active"
        self.probe = probe
        self.value = value or Values(topology, probe)
        self.relevance: dict[int, str] = {}
        self.features: dict[int, Feature] = {}
        self.messages: dict[tuple[int, int], tuple[Message, ...]] = {}
        self.maps: dict[int, str] = {}
        self._places = places
        self._parts = {p.node.name: (layer, k) for layer in topology.layers for k, p in enumerate(layer.parts)}
        self._ends = {p.output: p.node.name for layer in topology.layers for p in layer.parts}
        self._pending: dict[str, list[str]] = {}
        self._scaled: dict[str, Array] = {}
        self._linked = frozenset(linked)
        self._seed = seed
        self._scores = {target}
        """The target and what leads to it from the classifier: a score at the end of its type's range still counts."""
        self._judged: dict[str, list[KernelLayer]] = {}
        for layer in topology.layers:
            if 0 < depths.get(layer.index, -1) <= self.limit:
                self.features[layer.index] = found = feature_of(topology, layer, target)
                self._judged.setdefault(found.tensor, []).append(layer)
        self._useful = self._reach()

    def _reach(self) -> set[str]:
        """Tensors through which a layer within the depth limit can still be reached."""
        useful: set[str] = set()
        inner = {n for layer in self.topology.layers for p in layer.parts for n in p.nodes[1:]}
        for node in self.program.nodes:
            place = self._parts.get(node.name)
            if place is not None:
                if self.depths.get(place[0].index, self.limit + 1) <= self.limit:
                    useful.add(place[0].parts[place[1]].output)
                continue
            if node.name not in inner and any(i in useful for i in node.inputs):
                useful.update(node.outputs)
        return useful

    def run(self) -> None:
        """Append the whole walk."""
        self.probe.seeds[self._seed] = self.value.shape(self.target)
        self._pending[self.target] = [self._seed]
        ends = {part.node.name: part for layer in self.topology.layers for part in layer.parts}
        for node in reversed(self.program.nodes):
            part = ends.get(node.name)
            outputs = [part.output] if part is not None else [o for o in node.outputs if o]
            live = [o for o in outputs if o in self._pending]
            if not live:
                continue
            fields = {o: self._settle(o) for o in live}
            if part is not None:
                self._layer(part, fields[part.output])
            elif node.name in self.topology.effects:
                if any(o in self._scores for o in live):
                    self._scores.update(node.inputs)
                self._hand_down(node, self.topology.effects[node.name], fields)

    def _settle(self, tensor: str) -> str:
        """Add up what all consumers handed down; note the relevance of kernels that are judged here."""
        total = self._arrived(tensor)
        self._pending[tensor] = [total]
        for layer in self._judged.get(tensor, []):
            self._note(layer, self.features[layer.index], total)
        return total

    def _arrived(self, tensor: str) -> str:
        total = self._pending[tensor][0]
        for other in self._pending[tensor][1:]:
            total = self.probe.add("Add", [total, other])
        return total

    def _note(self, layer: KernelLayer, feature: Feature, g: str) -> None:
        rank = len(self.value.shape(feature.tensor))
        product = self.probe.add("Mul", [g, self.value(feature.tensor)])
        axes = [a for a in range(rank) if a != feature.axis]
        self.relevance[layer.index] = self.probe.reduce("ReduceSum", product, axes, keep=False)
        if self._places:
            self.maps[layer.index] = self.probe.reduce("ReduceSum", product, [feature.axis], keep=False)

    def _give(self, tensor: str, g: str, shape: tuple[int, ...] | None = None) -> None:
        """Hand a field to a tensor; `shape` is the field's where it was broadcast."""
        if tensor not in self._useful:
            return
        if shape is not None and shape != self.value.shape(tensor):
            g = self._unbroadcast(g, shape, self.value.shape(tensor))
        self._pending.setdefault(tensor, []).append(g)

    def _unbroadcast(self, g: str, shape: tuple[int, ...], to: tuple[int, ...]) -> str:
        aligned = (1,) * (len(shape) - len(to)) + to
        axes = [a for a, (n, m) in enumerate(zip(shape, aligned, strict=True)) if n != m]
        g = self.probe.reduce("ReduceSum", g, axes, keep=True)
        return g if aligned == to else self.probe.reshape(g, to)

    # ------------------------------------------------------------------------------------- layers

    def _layer(self, part: Part, g: str) -> None:
        layer, k = self._parts[part.node.name]
        if self.depths.get(layer.index, self.limit + 1) >= self.limit and self.depths.get(layer.index) != 0:
            return
        if part.activation is not None:
            g = self._fused(part, g)
        quantised = self.topology.states.get(part.output, State()).quantised
        if quantised is not None:
            g = self._saturation(part.output, quantised, g)
        scale = self._scaled.get(part.output)
        if layer.index in self._linked:
            field = g if scale is None else self._times(g, scale)
            self.messages[layer.index, k] = (Message(part, self.value(part.source), field),)
        if part.source in self._useful:
            self._give(part.source, transposed(self.probe, self.program.shapes, part, g, scale))

    def _fused(self, part: Part, g: str) -> str:
        """Field before the activation inside a fused operator."""
        name = (part.activation or "").lower()
        y = self.value(part.output)
        if name == "relu":
            effect = fx.Activation(nonnegative=True, slope=0.0, rectifier=True)
        elif name in {"leakyrelu", "tanh", "sigmoid", "hardsigmoid", "clip"}:
            effect = _inner_activation(name, part)
        elif name in {"", "identity"}:
            return g
        else:
            raise ModelError(
                f"{self.program.model.path}: node {part.node.name!r} has the unknown fused activation "
                f"{part.activation!r}"
            )
        x = "" if effect.rectifier else forward(self.probe, self.program.shapes, part, self.value(part.source))
        return self._activated(effect, g, x, y, part.output)

    # ---------------------------------------------------------------------------------- operators

    def _hand_down(self, node: Node, effect: fx.Effect, fields: Mapping[str, str]) -> None:
        g = fields.get(node.outputs[0], "")
        shape = self.value.shape(node.outputs[0])
        match effect:
            case fx.Move():
                self._moved(node, effect, fields)
            case _ if not g:
                return
            case fx.Identity(source):
                self._give(node.inputs[source], g, shape)
            case fx.Quantise(source):
                if node.inputs[source] in self._useful:
                    quantised = (node.input(1), node.input(2))
                    self._give(node.inputs[source], self._saturation(node.outputs[0], quantised, g), shape)
            case fx.Activation(source=source):
                if node.inputs[source] in self._useful:
                    x = "" if effect.rectifier and not self.pooled else self._lazy(node.inputs[source], effect)
                    if effect.bias is not None:
                        x = self.probe.add("Add", [x, self.value(node.inputs[effect.bias])])
                    self._give(
                        node.inputs[source],
                        self._activated(effect, g, x, self.value(node.outputs[0]), node.outputs[0]),
                        shape,
                    )
            case fx.Affine(scale, source):
                if node.inputs[source] in self._useful:
                    self._scale_down(
                        node.inputs[source], g, None if scale is None else np.asarray(scale(), np.float32), shape
                    )
            case fx.Sum(sources, signs, scale):
                rounded = self.topology.states.get(node.outputs[0], State()).quantised
                if rounded is not None:  # a Relu behind the sum may have vanished into the integers' range
                    g = self._saturation(node.outputs[0], rounded, g)
                g = self._times(g, np.asarray(scale))
                for index, sign in zip(sources, signs, strict=True):
                    if node.inputs[index] in self._useful:
                        self._give(node.inputs[index], g if sign > 0 else self.probe.add("Neg", [g]), shape)
            case fx.Select(sources):
                self._selected(node, sources, g, shape)
            case fx.Gate():
                name = node.inputs[effect.value]
                if name in self._useful:
                    gate = self.value(node.inputs[effect.gate])
                    self._give(name, self.probe.add("Div" if effect.reciprocal else "Mul", [g, gate]), shape)
            case fx.Reduce():
                self._reduced(node, effect, g)
            case fx.Pool():
                if node.inputs[effect.source] in self._useful:
                    pooled = self._max_pooled if effect.kind == "max" else self._mean_pooled
                    self._give(node.inputs[effect.source], pooled(node, effect, g))
            case fx.Normalise():
                self._normalised(node, effect, g, shape)
            case fx.Mix(value):
                self._mixed(node, value, g, shape)
            case _:
                return

    def _scale_down(self, name: str, g: str, scale: Array | None, shape: tuple[int, ...]) -> None:
        """Field before an affine map; the scale of one behind a convolution goes into its transposed weights."""
        if scale is None or not self._folds(name, scale, shape):
            self._give(name, g if scale is None else self._times(g, scale), shape)
            return
        self._scaled[name] = scale
        self._give(name, g, shape)

    def _folds(self, name: str, scale: Array, shape: tuple[int, ...]) -> bool:
        """Whether only this map reads a convolution's output, which is judged nowhere else, one factor per kernel."""
        layer, k = self._parts.get(self._ends.get(name, ""), (None, 0))
        if layer is None or layer.parts[k].kind != "conv" or layer.parts[k].activation is not None:
            return False
        per_kernel = scale.shape == tuple(n if a == 1 else 1 for a, n in enumerate(shape))
        alone = len(self.program.consumers.get(name, [])) == 1 and name not in self._judged and name != self.target
        return per_kernel and alone and self.topology.states[name].quantised is None

    def _lazy(self, name: str, effect: fx.Activation) -> str:
        return "" if effect.rectifier else self.value(name)

    def _times(self, g: str, scale: Array) -> str:
        if scale.size == 1 and float(scale.reshape(-1)[0]) == 1.0:
            return g
        return self.probe.add("Mul", [g, self.probe.constant(scale.astype(np.float32), "scale")])

    def _activated(self, effect: fx.Activation, g: str, x: str, y: str, name: str) -> str:
        """Field before an activation: g * (f(x) - f(0)) / x; under `active` the map is pooled first."""
        if self.pooled and effect.nonnegative:
            g = self._pool_field(g, y, name)
        if effect.rectifier:
            return self.probe.mask(self.probe.add("Greater", [y, self.probe.number(0.0)]), g)
        near = SMOOTH if effect.zero != 0.0 else TINY
        size = self.probe.add("Abs", [x])
        far = self.probe.add("Greater", [size, self.probe.number(near)])
        safe = self.probe.where(far, x, self.probe.number(1.0))
        top = y if effect.zero == 0.0 else self.probe.add("Sub", [y, self.probe.number(effect.zero)])
        ratio = self.probe.where(far, self.probe.add("Div", [top, safe]), self.probe.number(effect.slope))
        return self.probe.add("Mul", [g, ratio])

    def _pool_field(self, g: str, y: str, name: str) -> str:
        """R_c / sum_p y[c, p] at every position; 0 where the mean of y is below `POOL_FLOOR`."""
        axis = self.value.channel_axis(name)
        if axis is None:
            return g
        shape = self.value.shape(name)
        axes = [a for a in range(len(shape)) if a != axis]
        total = self.probe.reduce("ReduceSum", self.probe.add("Mul", [g, y]), axes, keep=True)
        mass = self.probe.reduce("ReduceSum", y, axes, keep=True)
        positions = int(np.prod([shape[a] for a in axes], dtype=np.int64))
        alive = self.probe.add("Greater", [mass, self.probe.number(POOL_FLOOR * positions)])
        ratio = self.probe.add("Div", [total, self.probe.where(alive, mass, self.probe.number(1.0))])
        return self.probe.add("Expand", [self.probe.mask(alive, ratio), self.probe.constant(np.array(shape, np.int64))])

    def _saturation(self, tensor: str, quantised: tuple[str, str], g: str) -> str:
        """The field where an integer is inside the range of its type; a class's score is never masked."""
        if tensor in self._scores:
            return g
        kind = self.program.dtypes.get(tensor, "uint8")
        info = np.iinfo(kind)
        q = self.probe.add("Cast", [tensor], to=TensorProto.FLOAT)
        inside = self.probe.add(
            "And",
            [
                self.probe.add("Greater", [q, self.probe.number(float(info.min))]),
                self.probe.add("Less", [q, self.probe.number(float(info.max))]),
            ],
        )
        zero = self.program.constant_or_none(quantised[1]) if quantised[1] else np.zeros(1)
        if self.pooled and zero is not None and zero.size == 1 and int(zero.reshape(-1)[0]) == info.min:
            g = self._pool_field(g, self.value(tensor), tensor)
        return self.probe.mask(inside, g)

    def _selected(self, node: Node, sources: tuple[int, ...], g: str, shape: tuple[int, ...]) -> None:
        for index in sources:
            name = node.inputs[index]
            if name not in self._useful:
                continue
            if node.op == "Where":
                chosen = node.inputs[0] if index == 1 else self.probe.add("Not", [node.inputs[0]])
            else:
                chosen = self._equal(self.value(name), self.value(node.outputs[0]))
            self._give(name, self.probe.mask(chosen, g), shape)

    def _equal(self, a: str, b: str) -> str:
        return self.probe.add("Not", [self.probe.add("Cast", [self.probe.add("Sub", [a, b])], to=TensorProto.BOOL)])

    def _reduced(self, node: Node, effect: fx.Reduce, g: str) -> None:
        name = node.inputs[effect.source]
        if name not in self._useful:
            return
        shape = self.value.shape(name)
        kept = [1 if a in effect.axes else n for a, n in enumerate(shape)]
        g = self.probe.reshape(g, kept)
        if effect.kind == "mean":
            count = int(np.prod([shape[a] for a in effect.axes], dtype=np.int64))
            g = self.probe.add("Mul", [g, self.probe.number(1.0 / count)])
        full = self.probe.constant(np.array(shape, np.int64))
        if effect.kind == "max":
            top = self.probe.reshape(self.value(node.outputs[0]), kept)
            hit = self.probe.add("Cast", [self._equal(self.value(name), top)], to=TensorProto.FLOAT)
            count_hits = self.probe.reduce("ReduceSum", hit, effect.axes, keep=True)
            self._give(name, self.probe.add("Mul", [hit, self.probe.add("Div", [g, count_hits])]))
            return
        self._give(name, self.probe.add("Expand", [g, full]))

    def _max_pooled(self, node: Node, effect: fx.Pool, g: str) -> str:
        """The field at the first maximum of each window; overlapping windows add."""
        name = node.inputs[effect.source]
        indices = self._indices(node)
        shape = self.value.shape(name)
        if self.probe.opset < 16:
            return self._max_pooled_by_taps(effect, shape, self.value.shape(node.outputs[0]), indices, g)
        flat = self.probe.add("Reshape", [indices, self.probe.constant(np.array([-1], np.int64))])
        zeros = self.probe.zeros((int(np.prod(shape)),))
        spread = self.probe.add("ScatterElements", [zeros, flat, self.probe.reshape(g, (-1,))], axis=0, reduction="add")
        return self.probe.reshape(spread, shape)

    def _indices(self, node: Node) -> str:
        if len(node.outputs) > 1 and node.outputs[1]:
            return node.outputs[1]
        if self.program.dtypes.get(node.inputs[0], "float32") == "float32":
            return self.probe.with_indices.setdefault(node.name, self.probe.fresh("indices"))
        attributes = {k: v for k, v in node.attributes.items() if v is not None}
        values, indices = self.probe.fresh("maxpool"), self.probe.fresh("indices")
        self.probe.nodes.append(
            helper.make_node("MaxPool", [self.value(node.inputs[0])], [values, indices], values, **attributes)
        )
        return indices

    def _max_pooled_by_taps(
        self, effect: fx.Pool, shape: tuple[int, ...], out: tuple[int, ...], indices: str, g: str
    ) -> str:
        """The same without a scatter, for operator sets that have none that adds: one plane per tap of the window."""
        maps, sizes = shape[0] * shape[1], shape[2:]
        place = np.arange(maps, dtype=np.int64).reshape(shape[0], shape[1], *(1,) * len(sizes)) * int(np.prod(sizes))
        geometry = fitted(effect.geometry, sizes, out[2:])
        taps = int(np.prod(geometry.kernel))
        reference = tap_positions(geometry, sizes, out[2:])
        rows = self.probe.reshape(self.probe.add("Sub", [indices, self.probe.constant(place)]), (maps, 1, *out[2:]))
        hit = self.probe.add("Equal", [rows, self.probe.constant(reference[None])])
        planes = self.probe.mask(hit, self.probe.reshape(g, (maps, 1, *out[2:])))
        weights = np.eye(taps, dtype=np.float32).reshape(taps, 1, *geometry.kernel)
        spread = conv_transpose(self.probe, planes, self.probe.constant(weights), geometry, 1)
        return self.probe.reshape(spread, shape)

    def _mean_pooled(self, node: Node, effect: fx.Pool, g: str) -> str:
        shape, out = self.value.shape(node.inputs[effect.source]), self.value.shape(node.outputs[0])
        sizes = shape[2:]
        geometry = fitted(effect.geometry, sizes, out[2:])
        counts = divisors(effect, geometry, sizes, out[2:])
        g = self.probe.add("Mul", [g, self.probe.constant((1.0 / counts).astype(np.float32)[None, None])])
        if all(o == 1 for o in out[2:]) and geometry.kernel == sizes and not any(geometry.begins):
            return self.probe.add("Expand", [g, self.probe.constant(np.array(shape, np.int64))])
        maps = shape[0] * shape[1]
        rows = self.probe.reshape(g, (maps, 1, *out[2:]))
        ones = self.probe.constant(np.ones((1, 1, *geometry.kernel), np.float32))
        return self.probe.reshape(conv_transpose(self.probe, rows, ones, geometry, 1), shape)

    def _normalised(self, node: Node, effect: fx.Normalise, g: str, shape: tuple[int, ...]) -> None:
        name = node.inputs[effect.source]
        if name not in self._useful:
            return
        x = self.value(name)
        if effect.scale is not None and effect.axes is not None and effect.centred:
            g = self._times(g, np.asarray(effect.scale()))
        if not effect.centred or effect.axes is None:
            far = self.probe.add("Greater", [self.probe.add("Abs", [x]), self.probe.number(TINY)])
            ratio = self.probe.add(
                "Div", [self.value(node.outputs[0]), self.probe.where(far, x, self.probe.number(1.0))]
            )
            self._give(name, self.probe.mask(far, self.probe.add("Mul", [g, ratio])), shape)
            return
        self._give(name, self._uncentre(node, effect, x, g, shape), shape)

    def _uncentre(self, node: Node, effect: fx.Normalise, x: str, g: str, shape: tuple[int, ...]) -> str:
        axes = effect.axes or ()
        view: tuple[int, ...] = shape
        if 1 <= effect.groups < shape[1] and node.op == "GroupNormalization":
            view = (shape[0], effect.groups, int(np.prod(shape[1:])) // effect.groups)
            x, g, axes = self.probe.reshape(x, view), self.probe.reshape(g, view), (2,)
        mean = self.probe.reduce("ReduceMean", x, axes, keep=True)
        off = self.probe.add("Sub", [x, mean])
        variance = self.probe.reduce("ReduceMean", self.probe.add("Mul", [off, off]), axes, keep=True)
        least = 1e-18 if node.op == "MeanVarianceNormalization" else 1e-5  # the first is 1e-9 on the deviation
        epsilon = self.probe.number(float(node.attributes.get("epsilon", least)))
        deviation = self.probe.add("Sqrt", [self.probe.add("Add", [variance, epsilon])])
        h = self.probe.add("Div", [g, deviation])
        h = self.probe.add("Sub", [h, self.probe.reduce("ReduceMean", h, axes, keep=True)])
        return h if view == shape else self.probe.reshape(h, shape)

    def _mixed(self, node: Node, value: int, g: str, shape: tuple[int, ...]) -> None:
        name, other = node.inputs[value], node.inputs[1 - value]
        if name not in self._useful:
            return
        rank = len(self.value.shape(other))
        perm = [*range(rank - 2), rank - 1, rank - 2]
        turned = self.probe.add("Transpose", [self.value(other)], perm=perm)
        pair = [g, turned] if value == 0 else [turned, g]
        wide = self.value.shape(name)
        lead = np.broadcast_shapes(shape[:-2], self.value.shape(other)[:-2])
        self._give(name, self.probe.add("MatMul", pair), (*lead, *wide[-2:]))

    # ----------------------------------------------------------------------------------- movement

    def _moved(self, node: Node, effect: fx.Move, fields: Mapping[str, str]) -> None:
        op = node.op.rpartition("::")[2]
        if op in {"Concat", "QLinearConcat"}:
            self._uncat(node, effect, fields[node.outputs[0]])
            return
        name = node.inputs[effect.sources[0]]
        if not any(node.inputs[i] in self._useful for i in effect.sources):
            return
        shape = self.value.shape(name)
        if op == "Split":
            axis = int(node.attributes.get("axis", 0)) % len(shape)
            pieces = [fields[o] if o in fields else self.probe.zeros(self.value.shape(o)) for o in node.outputs]
            self._give(name, self.probe.add("Concat", pieces, axis=axis))
            return
        g = fields[node.outputs[0]]
        if op == "Transpose":
            perm = node.attributes.get("perm") or list(range(len(shape)))[::-1]
            self._give(name, self.probe.add("Transpose", [g], perm=[int(i) for i in np.argsort(perm)]))
        elif op in {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}:
            self._give(name, self.probe.reshape(g, shape))
        elif op == "Pad" and str(node.attributes.get("mode", "constant")) == "constant":
            self._give(name, self._unpad(effect, g, shape, self.value.shape(node.outputs[0])))
        elif op == "Expand":
            self._give(name, g, self.value.shape(node.outputs[0]))
        else:
            for k, index in enumerate(effect.sources):
                if node.inputs[index] in self._useful:
                    shapes = [self.value.shape(node.inputs[i]) for i in effect.sources]
                    self._give(node.inputs[index], self._gathered(effect, g, shapes, k))

    def _uncat(self, node: Node, effect: fx.Move, g: str) -> None:
        out = self.value.shape(node.outputs[0])
        axis = int(node.attributes.get("axis", 1)) % len(out)
        start = 0
        for index in effect.sources:
            size = self.value.shape(node.inputs[index])[axis]
            if node.inputs[index] in self._useful:
                self._give(node.inputs[index], self.probe.slice(g, axis, start, start + size))
            start += size

    def _unpad(self, effect: fx.Move, g: str, shape: tuple[int, ...], out: tuple[int, ...]) -> str:
        """Adjoint of zero padding: the inside of the field; cropped places get zero."""
        before, after = [0] * len(shape), [0] * len(shape)
        for axis, n in enumerate(shape):
            line = np.arange(n, dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(len(shape))])
            if n == 1 and out[axis] == 1:
                continue
            seen = effect.apply([np.broadcast_to(line, shape)], NONE)[0]
            seen = np.moveaxis(seen, axis, 0).reshape(out[axis], -1).max(axis=1)
            inside = np.flatnonzero(seen >= 0)
            if not inside.size:
                return self.probe.zeros(shape)
            first, last = int(seen[inside[0]]), int(seen[inside[-1]])
            if inside[0] or inside[-1] + 1 < out[axis]:
                g = self.probe.slice(g, axis, int(inside[0]), int(inside[-1]) + 1)
            before[axis], after[axis] = first, n - 1 - last
        return self.probe.pad(g, before, after)

    def _gathered(self, effect: fx.Move, g: str, shapes: Sequence[tuple[int, ...]], source: int) -> str:
        """Adjoint of any movement: each element of a source collects the field of every place it was copied to."""
        shape = shapes[source]
        size = int(np.prod(shape, dtype=np.int64))
        arrays = [np.full(s, NONE, np.int64) for s in shapes]
        arrays[source] = np.arange(size, dtype=np.int64).reshape(shape)
        seen = effect.apply(arrays, NONE)[0].reshape(-1)
        places = np.flatnonzero(seen >= 0)
        order = places[np.argsort(seen[places], kind="stable")]
        counts = np.bincount(seen[places], minlength=size)
        table = np.full((max(1, int(counts.max(initial=0))), size), seen.size, np.int64)
        offset = np.concatenate([[0], np.cumsum(counts)[:-1]])
        for k in range(table.shape[0]):
            has = counts > k
            table[k, has] = order[offset[has] + k]
        flat = self.probe.add(
            "Concat", [self.probe.reshape(g, (-1,)), self.probe.constant(np.zeros(1, np.float32))], axis=0
        )
        rows = self.probe.add("Gather", [flat, self.probe.constant(table)], axis=0)
        return self.probe.reshape(self.probe.reduce("ReduceSum", rows, [0], keep=False), shape)


def _inner_activation(name: str, part: Part) -> fx.Activation:
    """The activation that a fused operator names, with its own parameters."""
    a = part.node.attributes
    given = [
        float(v)
        for v in a.get("activation_params") or [a[k] for k in ("activation_alpha", "activation_beta") if k in a]
    ]
    if name == "clip":
        low, high = given if len(given) == 2 else (-np.inf, np.inf)
        return fx.Activation(low >= 0, zero=float(min(max(0.0, low), high)), slope=float(low < 0 < high))
    if name == "hardsigmoid":
        alpha, beta = given if len(given) == 2 else (0.2, 0.5)
        return fx.Activation(nonnegative=True, zero=min(max(beta, 0.0), 1.0), slope=alpha)
    return fx.Activation(
        nonnegative=name == "sigmoid", zero=0.5 * (name == "sigmoid"), slope=0.25 if name == "sigmoid" else 1.0
    )
