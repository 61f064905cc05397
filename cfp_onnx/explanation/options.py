"""Options that several public calls share, each with one definition.

The calls spell them out as keywords, so that help and editors show them, and put them together at once; a test holds
every call's keywords, and the command line's flags, to the fields here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cfp_onnx import runtime
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.directions import Direction
from cfp_onnx.model import Model
from cfp_onnx.relevance.rules import DEFAULT, rule_named
from cfp_onnx.relevance.values import Settings
from cfp_onnx.values import Array

if TYPE_CHECKING:
    from cfp_onnx.clips.clip import Clip
    from cfp_onnx.clips.preprocess import Preprocess


@dataclass(frozen=True)
class ClipOptions:
    """How a clip becomes what a model takes, and what its classes are called.

    Attributes:
        layout: Axes of the input, e.g. NCTHW; read off the model by default.
        labels: Class names; the model's metadata by default.
        preprocess: How footage becomes input; the model's metadata by default.
    """

    layout: str | None = None
    labels: Sequence[str] | None = None
    preprocess: Preprocess | None = None

    def read(
        self,
        source: str | os.PathLike[str] | Array | Mapping[str, Array],
        model: Model,
        given: Mapping[str, Array] | None = None,
    ) -> Clip:
        """A clip as the arrays that a model takes.

        Args:
            source: The clip.
            model: The model.
            given: What inputs get that the clip does not give, by their names.

        Raises:
            ClipError: If the clip cannot be read or does not fit.
        """
        from cfp_onnx.clips.load import load_clip
        from cfp_onnx.clips.preprocess import Preprocess
        from cfp_onnx.explanation.inputs import specs

        preprocess = self.preprocess
        if preprocess is None:
            preprocess = Preprocess.of_metadata(model.preprocess)
        layout = self.layout or preprocess.layout
        return load_clip(source, specs(model), preprocess=preprocess, layout=layout, given=given or {})

    def class_names(self, model: Model) -> Sequence[str] | None:
        """The class names given, or else the model's own."""
        return self.labels if self.labels is not None else model.labels


@dataclass(frozen=True)
class RunOptions:
    """Where a model runs, and whether what is unknown is passed over.

    Attributes:
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over and recorded.
    """

    device: str = "auto"
    threads: int | None = None
    barriers: bool = False

    def where(self) -> runtime.Device:
        """The device, as the runtime takes it."""
        return runtime.Device(self.device, self.threads)


@dataclass(frozen=True)
class WalkOptions:
    """By which rule, how far and how strictly to walk.

    Attributes:
        rule: Name of a rule (`cfp_onnx.relevance.rules`).
        class_step: weights, contribution or contrast; each rule has its own default.
        theta: Threshold on v, 0..1.
        top_k: Most kernels per layer.
        depth: Deepest level, or ``"all"``.
        hold: What is held at its recorded value, some of norms, attention and gates; what the rule holds by default.
        against: What the class is set against: mean (of the others), rivals, best (the strongest other) or a class; of
            several the first makes the pyramid, and the others' walks are kept beside it.
        order: 1, or 2 to count what a removal bends too, at about one more forward pass.
        at: The place of an output that has an answer at each of several (boxes, pixels, tokens): ``box:17``, ``y,x``,
            ``t,y,x``, ``strongest`` or ``mean``; the strongest of the class by default.
        direction: What is explained of an output without classes, such as an embedding: ``own`` (the direction of the
            clip's own output), a file of numbers, or the numbers.
    """

    rule: str = DEFAULT
    class_step: str | None = None
    theta: float = 0.6
    top_k: int | None = None
    depth: int | str = 3
    hold: Sequence[str] | None = None
    against: str | int | Sequence[str | int] | None = None
    order: int = 1
    at: str | int | None = None
    direction: Direction | None = None

    def settings(self) -> Settings:
        """The same as the walk takes it, with class 0.

        Raises:
            UsageError: If one of them is out of range or unknown.
        """
        step = rule_named(self.rule).step(self.class_step)
        if self.direction is not None and self.against is not None:
            raise UsageError("a direction is set against nothing; leave against out, or name a class")
        if not 0.0 <= self.theta <= 1.0:
            raise UsageError(f"theta is {self.theta}, it must lie between 0 and 1")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k is {self.top_k}, it must be at least 1")
        against, rather = questions(self.against, step)
        return Settings(
            theta=self.theta, top_k=self.top_k, depth=deepest(self.depth), class_step=step, index=0,
            hold=rule_named(self.rule).held(self.hold), against=against, rather=rather,
            order=rule_named(self.rule).ordered(self.order),
        )  # fmt: skip


AGAINST = "rivals"
"""What a class is set against by default: of the three the one that is least wrong about either margin."""


def resolved(against: str | int | None, step: str) -> str | int | None:
    """What a class is set against; None under a class step that sets it against nothing.

    Args:
        against: As it was asked for; None for the default.
        step: The class step.

    Raises:
        UsageError: If it was asked for, and the class step sets a class against nothing.
    """
    if step == "contrast":
        asked = AGAINST if against is None else against
        return asked.strip() if isinstance(asked, str) else asked
    if against is not None:
        raise UsageError(f"class step {step} sets a class against nothing; --against needs --class-step contrast")
    return None


def questions(
    against: str | int | Sequence[str | int] | None, step: str
) -> tuple[str | int | None, tuple[str | int, ...]]:
    """What a class is set against first, None for nothing; and what else, one after the other.

    Args:
        against: As it was asked for.
        step: The class step.

    Raises:
        UsageError: As `resolved` does, or if one is named twice.
    """
    asked = against if isinstance(against, Sequence) and not isinstance(against, str) else [against]
    names = [name for name in (resolved(one, step) for one in asked or [None]) if name is not None]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UsageError(f"against names {str(name)!r} twice; give each only once")
    return (names[0] if names else None), tuple(names[1:])


def deepest(depth: int | str) -> int | None:
    """A depth as a number; None for ``"all"``.

    Raises:
        UsageError: If it is neither.
    """
    text = str(depth)
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"depth is {depth!r}, it must be a whole number of at least 1, or all")
    return int(text)


__all__ = ["ClipOptions", "RunOptions", "WalkOptions", "deepest", "questions", "resolved"]
