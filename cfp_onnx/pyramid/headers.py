"""The headers of a pyramid, typed and as published JSON: model, input, run, target and coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cfp_onnx.files.strict_json import Reader
from cfp_onnx.graph.topology import Coverage
from cfp_onnx.model import Model
from cfp_onnx.values import Header


@dataclass(frozen=True, eq=False, kw_only=True)
class PyramidHeader(Header):
    """What the headers share.

    Attributes:
        extra: Keys of a file that was read which this version does not know; they are written again.
    """

    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The published values, in the order of the fields."""
        own = super().to_json()
        del own["extra"]
        return own | dict(self.extra)


class TopClass(NamedTuple):
    """One of the strongest classes: its index, its name where it is known, its score."""

    class_index: int
    label: str | None
    score: float


def class_name(index: int, label: str | None) -> str:
    """A class as text: its index, and its name where it is known."""
    return str(index) if label is None else f"{index} {label}"


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelHeader(PyramidHeader):
    """Which model it was.

    Attributes:
        file: Its path.
        sha256: Of the file.
        producer: Who wrote the file.
        opset: Of the standard operators.
    """

    file: str
    sha256: str
    producer: str | None
    opset: int

    @classmethod
    def of(cls, model: Model) -> ModelHeader:
        """The header of a model that was loaded."""
        return cls(file=str(model.path), sha256=model.sha256, producer=model.producer, opset=model.opset)

    @classmethod
    def read(cls, reader: Reader) -> ModelHeader:
        """The header of a file; a value of another type is a `UsageError`."""
        return cls(
            file=reader.text("file"), sha256=reader.text("sha256"), producer=reader.maybe("producer", reader.text),
            opset=reader.whole("opset"), extra=reader.rest(),
        )  # fmt: skip


def _fed(reader: Reader, key: str) -> dict[str, dict[str, Any]]:
    """What each input got, as it was published; a value of another type is a `UsageError`."""
    found = reader.take(key)
    if not isinstance(found, dict):
        raise reader.wrong(key, found, "an object with the inputs' names")
    for name, row in found.items():
        inner = Reader(row, f"{reader.where}: {key!r}: {name!r}")
        inner.wholes("shape", 0)
        inner.text("source")
        inner.optional("note", inner.text)
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class InputHeader(PyramidHeader):
    """What the model was fed.

    Attributes:
        file: The clip's path; None for an array.
        sha256: Of the clip.
        shape: Of the model's input that the clip went to.
        layout: Letters of its axes, where they are known.
        fed: What each input got, by its name: ``shape``; ``source``, where it came from (``clip``, ``given``,
            ``zeros``, ``ones`` or a number that stands everywhere); ``note``, what was done to it, where it was not fed
            as it came. None in files that do not say.
    """

    file: str | None
    sha256: str | None
    shape: tuple[int, ...]
    layout: str | None
    fed: Mapping[str, Mapping[str, Any]] | None = None

    @classmethod
    def read(cls, reader: Reader) -> InputHeader:
        """The header of a file; a value of another type is a `UsageError`."""
        return cls(
            file=reader.maybe("file", reader.text), sha256=reader.maybe("sha256", reader.text),
            shape=reader.wholes("shape", 0), layout=reader.maybe("layout", reader.text),
            fed=reader.optional("fed", lambda key: _fed(reader, key)), extra=reader.rest(),
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class RunHeader(PyramidHeader):
    """How the pyramid was computed, and what the run reported.

    Attributes:
        rule: How kernels and channels are scored.
        class_step: How the channels that the class reads are scored.
        theta: Threshold on the scores, 0..1.
        top_k: Most kernels per layer.
        depth: Deepest level, or ``all``.
        holds: What was held at its recorded value: some of norms, attention, gates; None in files that do not say.
        order: 1, or 2 where what a removal bends counts too; None of rules that have one order only.
        against: What the class was set against: mean, rivals, best or a class; None for nothing.
        rivals: The other classes that counted most there: [index, label, share].
        gates: Of older files, ``frozen``: gates are held as they are on the clip.
        provider: Of the runtime.
        onnxruntime: Version of the runtime.
        output_difference: Largest difference of the outputs with and without probes.
        undefined: Expanded kernels for which the rule is undefined.
        negative_sums: Expanded kernels whose scores add up to a negative sum.
        links_omitted: Links beyond the most that a pyramid holds.
        labels: How a file's names were aligned with the classes, where it was not one name a class; else None.
    """

    rule: str
    class_step: str | None
    theta: float
    top_k: int | None
    depth: int | str
    holds: tuple[str, ...] | None = None
    order: int | None = None
    against: str | None = None
    rivals: tuple[TopClass, ...] | None = None
    gates: str | None = None
    provider: str
    onnxruntime: str | None = None
    output_difference: float
    undefined: int
    negative_sums: int | None = None
    links_omitted: int | None = None
    labels: str | None = None

    @classmethod
    def read(cls, reader: Reader) -> RunHeader:
        """The header of a file; a value of another type is a `UsageError`."""
        depth = reader.take("depth")
        if type(depth) not in {int, str}:
            raise reader.wrong("depth", depth, "a whole number, or all")
        return cls(
            rule=reader.text("rule"), class_step=reader.maybe("class_step", reader.text),
            theta=reader.number_as_written("theta"), top_k=reader.maybe("top_k", reader.whole), depth=depth,
            holds=reader.optional("holds", reader.texts), order=reader.optional("order", reader.whole),
            against=reader.optional("against", reader.text),
            rivals=reader.optional("rivals", lambda key: _top_classes(reader, key)),
            gates=reader.optional("gates", reader.text), provider=reader.text("provider"),
            onnxruntime=reader.optional("onnxruntime", reader.text),
            output_difference=reader.number_as_written("output_difference"), undefined=reader.whole("undefined"),
            negative_sums=reader.optional("negative_sums", reader.whole),
            links_omitted=reader.optional("links_omitted", reader.whole),
            labels=reader.optional("labels", reader.text), extra=reader.rest(),
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class TargetHeader(PyramidHeader):
    """Which class is explained, and what the model itself answers.

    Attributes:
        output: The model's output.
        index: The class.
        label: Its name, where it is known.
        score: Its score on the clip.
        top: The strongest classes, at the same place; empty where the output is a single number.
        title: What is explained, in words, where it is more or other than a class: a place, a value, its other side.
        turned: Whether it is explained what speaks against it; None for what speaks for it.
        place: The place that is explained, along the axes of places; None where there is one, or their mean is.
        places: How many places there are along each axis; None where none is chosen.
        kernel: The kernel of the classifier that gives the score, where its number is not the class's.
        notes: How the output and the place were chosen, in sentences.
    """

    output: str
    index: int
    label: str | None
    score: float
    top: tuple[TopClass, ...]
    title: str | None = None
    turned: bool | None = None
    place: tuple[int, ...] | None = None
    places: tuple[int, ...] | None = None
    kernel: int | None = None
    notes: tuple[str, ...] | None = None

    @classmethod
    def read(cls, reader: Reader) -> TargetHeader:
        """The header of a file; a value of another type is a `UsageError`."""
        return cls(
            output=reader.text("output"), index=reader.whole("index"), label=reader.maybe("label", reader.text),
            score=reader.number_as_written("score"), top=_top_classes(reader, "top"),
            title=reader.optional("title", reader.text), turned=reader.optional("turned", reader.flag),
            place=reader.optional("place", lambda key: reader.wholes(key, 0)),
            places=reader.optional("places", reader.wholes), kernel=reader.optional("kernel", reader.whole),
            notes=reader.optional("notes", reader.texts), extra=reader.rest(),
        )  # fmt: skip


def _top_classes(reader: Reader, key: str) -> tuple[TopClass, ...]:
    return tuple(_top_class(row, reader, key) for row in reader.items(key))


def _top_class(row: object, reader: Reader, key: str) -> TopClass:
    if not isinstance(row, list) or len(row) != 3:
        raise reader.wrong(key, row, "a list of [index, label, score]")
    inner = Reader(dict(zip(TopClass._fields, row, strict=True)), f"{reader.where}: {key!r}")
    return TopClass(inner.whole("class_index"), inner.maybe("label", inner.text), inner.number_as_written("score"))


def target_title(target: TargetHeader) -> str:
    """What is explained, as a sentence names it: ``class 3 dog``, or the target's own title."""
    return target.title or f"class {class_name(target.index, target.label)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class CoverageHeader(PyramidHeader):
    """How much of what is upstream of the target could be traced.

    Attributes:
        channels: Fraction of input channels whose sources are known.
        layers: Fraction of layers that the walk can reach.
        operators_unknown: Operators that were passed over.
    """

    channels: float
    layers: float
    operators_unknown: tuple[str, ...]

    @classmethod
    def of(cls, coverage: Coverage) -> CoverageHeader:
        """The header of a topology's coverage."""
        return cls(
            channels=coverage.channels, layers=coverage.layers, operators_unknown=tuple(coverage.operators_unknown)
        )

    @classmethod
    def read(cls, reader: Reader) -> CoverageHeader:
        """The header of a file; a value of another type is a `UsageError`."""
        return cls(
            channels=reader.number_as_written("channels"), layers=reader.number_as_written("layers"),
            operators_unknown=reader.texts("operators_unknown"), extra=reader.rest(),
        )  # fmt: skip

    @property
    def complete(self) -> bool:
        """Whether nothing was lost."""
        return self.channels == 1.0 and self.layers == 1.0 and not self.operators_unknown


__all__ = [
    "CoverageHeader",
    "Header",
    "InputHeader",
    "ModelHeader",
    "RunHeader",
    "TargetHeader",
    "TopClass",
    "class_name",
    "target_title",
]
