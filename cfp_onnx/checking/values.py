"""What a check is made of: a broken limit, one layer, one clip, and where the change begins."""

from __future__ import annotations

from dataclasses import dataclass

from cfp_onnx.checking.change import Change
from cfp_onnx.checking.policy import Limits
from cfp_onnx.model import Model
from cfp_onnx.values import Header

WORDS = {
    "drift": ("moved relevance", "part of the relevance that moved"),
    "overlap": ("kept strongest", "part of the strongest kernels that stayed"),
    "rank": ("rank correlation", "rank correlation of the kernels' relevance"),
    "activity": ("activity", "change of the kernels' activity"),
    "weights": ("weights", "change of the weights"),
}
"""What a measure is called in a table, and in a sentence."""


WINDOW = "window"
"""The measure of a layer's strides and dilations: 1 where they changed, 0 is allowed."""


@dataclass(frozen=True, eq=False)
class FileFacts(Header):
    """A model file.

    Attributes:
        file: Its name, without folders.
        sha256: Of its content.
        producer: Name and version of the tool that wrote it.
        opset: Version of ONNX's operator set.
    """

    file: str
    sha256: str
    producer: str | None
    opset: int

    @classmethod
    def of(cls, model: Model) -> FileFacts:
        """Those of a loaded model."""
        return cls(model.path.name, model.sha256, model.producer, model.opset)


@dataclass(frozen=True, eq=False)
class BaselineRun(Header):
    """How a baseline was made.

    Attributes:
        rule: Rule that gave the relevance.
        output: The output that decides.
        provider: Of onnxruntime.
        threads: Threads of the CPU provider; None for its default.
        depth: Deepest level whose relevance was kept, or ``"all"``.
        cfp_onnx: Version of this program.
        onnxruntime: Version.
        numpy: Version.
        python: Version.
        system: Operating system and machine.
    """

    rule: str
    output: str
    provider: str
    threads: int | None
    depth: int | str
    cfp_onnx: str
    onnxruntime: str
    numpy: str
    python: str
    system: str


@dataclass(frozen=True, eq=False)
class BaselineFacts(Header):
    """A baseline, and the file that it was made of.

    Attributes:
        file: What the baseline is called.
        model: Name of the model's file.
        sha256: Of the model's content.
        producer: Name and version of the tool that wrote the model.
        opset: Version of ONNX's operator set.
    """

    file: str
    model: str
    sha256: str
    producer: str | None
    opset: int


@dataclass(frozen=True, eq=False)
class RunThen(Header):
    """What the baseline was made with.

    Attributes:
        provider: Of onnxruntime.
        onnxruntime: Version.
        cfp_onnx: Version of this program.
    """

    provider: str
    onnxruntime: str
    cfp_onnx: str


@dataclass(frozen=True, eq=False)
class CheckRun(Header):
    """How a file was checked.

    Attributes:
        rule: Rule that gave the relevance; the baseline's.
        depth: Deepest level whose relevance was compared, or ``"all"``; the baseline's.
        provider: Of onnxruntime.
        onnxruntime: Version.
        then: What the baseline was made with.
    """

    rule: str
    depth: int | str
    provider: str
    onnxruntime: str
    then: RunThen


@dataclass(frozen=True)
class Breach:
    """A limit that was broken.

    Attributes:
        measure: drift, overlap, rank, activity, weights or window.
        value: What was found.
        limit: What is allowed.
        label: The class whose clips alone broke it; None for all clips.
    """

    measure: str
    value: float
    limit: float
    label: str | None = None

    def __str__(self) -> str:
        if self.measure == WINDOW:
            return "strides or dilations changed"
        sign = "at least" if self.measure in {"overlap", "rank"} else "at most"
        where = "" if self.label is None else f" on class {self.label!r}"
        return f"{WORDS[self.measure][1]} {self.value:.3g}{where}, allowed {sign} {self.limit:.3g}"


@dataclass(frozen=True)
class CheckedLayer:
    """One layer in the baseline and in the file.

    Attributes:
        name: Its name in the baseline.
        other: Its name in the file.
        weight: Name of its weights in the baseline.
        evidence: ``weights``, ``names``, ``activity`` or ``order``: why they are taken as the same.
        depth: Its depth in the baseline.
        reordered: Whether its kernels are in another order.
        change: Mean of all clips.
        weights: Change of its weights over their size.
        window: What changed of its strides, dilations and padding, in sentences. Strides and dilations break a limit
            where the activity changed too; the same padding can be written in several ways.
        limits: What is allowed, above the machine's own noise.
        breaches: Limits that were broken.
        kernels: Kernels that changed most, numbered as in the baseline.
    """

    name: str
    other: str
    weight: str
    evidence: str
    depth: int | None
    reordered: bool
    change: Change
    weights: float
    window: tuple[str, ...]
    limits: Limits
    breaches: tuple[Breach, ...]
    kernels: tuple[int, ...]


@dataclass(frozen=True)
class CheckedClip:
    """One clip's answer, before and now.

    Attributes:
        file: The clip.
        index: The class whose relevance was compared.
        label: Its name.
        top: The strongest class, before and now; of a single score 1 where it is positive before any Sigmoid, else 0.
        top_labels: Their names.
        scores: The class's score, before and now.
        difference: Largest difference of all scores over the largest of either.
    """

    file: str
    index: int
    label: str | None
    top: tuple[int, int]
    top_labels: tuple[str | None, str | None]
    scores: tuple[float, float]
    difference: float

    @property
    def flipped(self) -> bool:
        """Whether another class is the strongest now."""
        return self.top[0] != self.top[1]


@dataclass(frozen=True)
class First:
    """Where the change begins.

    Attributes:
        layer: The layer, by its name in the baseline.
        weight: Name of its weights there.
        kernels: The kernels that changed; empty for all.
        cause: A sentence.
    """

    layer: str
    weight: str
    kernels: tuple[int, ...]
    cause: str


__all__ = [
    "WINDOW", "WORDS", "BaselineFacts", "BaselineRun", "Breach", "CheckRun", "CheckedClip", "CheckedLayer", "FileFacts",
    "First", "RunThen",
]  # fmt: skip
