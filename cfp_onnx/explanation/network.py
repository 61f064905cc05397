"""A network that was read at one input size: what is known without a run on a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cfp_onnx import runtime
from cfp_onnx.explanation.classes import Classes
from cfp_onnx.explanation.heads import head_of
from cfp_onnx.graph.channel_axis import channel_axis, is_single_channel
from cfp_onnx.graph.positions import frames_first
from cfp_onnx.graph.reach import Paths
from cfp_onnx.graph.topology import Coverage, Topology, build
from cfp_onnx.model import Model, Program
from cfp_onnx.values import Array

_ONE_PRECISION = frozenset({"float32", "int64", "bool"})
"""Types of numbers that the runtime does not round otherwise when it fuses operators."""


@dataclass(frozen=True, repr=False)
class Network:
    """A file's network at one input size, seen from one output.

    Attributes:
        file: The file as it was loaded.
        program: Its operators with every shape known.
        axes: Channel axis of every input; None of one that is a single channel without an axis for it, such as H x W.
        topology: Layers, wires, branches, shortcuts, gates.
        output: Name of the output.
        scored: The tensor that holds the scores as the model gives them: the output, or what it picks from.
        target: The same before a final Softmax or Sigmoid.
        depths: Layer index to its longest path to the target, of all layers upstream of it.
        coverage: How much of what is upstream of the target was traced.
        remarks: How the output was chosen, and what of it is explained, in sentences.
    """

    file: Model
    program: Program
    axes: Mapping[str, int | None]
    topology: Topology
    output: str
    scored: str
    target: str
    depths: Mapping[int, int]
    coverage: Coverage
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, model: Model, feeds: Mapping[str, Array], *, output: str | None = None, barriers: bool = False
    ) -> Network:
        """Read a loaded model's network.

        Args:
            model: A loaded model.
            feeds: Arrays for all inputs; only their shapes matter.
            output: Name of the output to explain; the one with classes by default.
            barriers: Whether unknown operators on channel paths are passed over and recorded.

        Raises:
            ModelError: If the model cannot be analysed or run.
            TargetError: If there is no such output, or no layer made it.
        """
        program = runtime.observe(model, feeds)
        axes = channel_axes(program)
        topology = build(program, channel_axes=axes, barriers=barriers)
        answer, chosen = head_of(topology, model, output)
        picked = None
        if answer.pick is not None:
            picked = f"output {answer.output!r} is made by {answer.pick}; the scores that it reads are explained"
        target = answer.tensor
        return cls(
            model, program, axes, topology, answer.output, answer.scored, target, topology.depths(target),
            topology.coverage(target), tuple(filter(None, (chosen, picked))),
        )  # fmt: skip

    def __repr__(self) -> str:
        layers, share = len(self.topology.layers), f"{100 * self.coverage.channels:.0f} %"
        return f"<Network {self.file.path} at {self.output!r}: {layers} layers, {share} of channels traced>"

    @property
    def model(self) -> Model:
        """The model that is run: the file's, with the branches that the clip takes."""
        return self.program.model

    @cached_property
    def paths(self) -> Mapping[int, Paths]:
        """For each layer with a path to the target how many of its paths pass no barrier."""
        return self.topology.paths(self.target)

    def answers(self) -> Mapping[str, Array] | None:
        """The outputs on the clip that the network was read on; None where a run of the file alone may say otherwise.

        The runtime fuses what it runs. Of float32 that moves an output by rounding alone, of eight-bit or half
        precision by more; and a network that was rewritten to be followed has to be held to its file.
        """
        program, names = self.program, [p.name for p in self.file.outputs]
        made = {program.dtypes.get(o, "float32") for node in program.nodes for o in node.outputs if o}
        if not made <= _ONE_PRECISION or self.file.maps or self.scored not in names:
            return None
        return program.answers if all(n in program.answers for n in names) else None

    def target_classes(self) -> Classes:
        """How the classes lie in the target."""
        return self._classes

    @cached_property
    def _classes(self) -> Classes:
        return Classes.of(self.topology, self.target, self.scored)

    def classes(self) -> tuple[int, int | None]:
        """Number of classes and their axis in the target; None where the whole flattened target is classes."""
        found = self.target_classes()
        return found.count, found.axis

    def frames_first(self) -> bool:
        """Whether the frames of the clip lie along the first axis of its input, in place of a batch."""
        shapes = self.program.shapes
        return frames_first(shapes[self.clip_input()], shapes[self.target])

    def clip_input(self) -> str:
        """The input that is the clip: the first with most axes."""
        ranks = {p.name: len(self.program.shapes[p.name]) for p in self.model.inputs}
        return max(ranks, key=lambda name: ranks[name])


def channel_axes(program: Program) -> dict[str, int | None]:
    """Channel axis of every input: what its first layers read, else axis 1; 0 of a number; None where there is none."""
    axes: dict[str, int | None] = {}
    for port in program.model.inputs:
        rank = len(program.shapes[port.name])
        found = channel_axis(program, port.name) if rank else 0
        single = found is None and is_single_channel(program, port.name)
        axes[port.name] = min(1, rank - 1) if found is None and not single else found
    return axes


__all__ = ["Network", "channel_axes"]
