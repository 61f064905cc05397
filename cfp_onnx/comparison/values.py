"""What a comparison is made of: one layer in both files, the first difference, how far the answers agree."""

from __future__ import annotations

from dataclasses import dataclass

from cfp_onnx.values import Header


@dataclass(frozen=True, eq=False)
class ComparedFile(Header):
    """One of the two files.

    Attributes:
        file: Its path as it was given.
        sha256: Of its content.
        producer: Name and version of the tool that wrote it.
        opset: Version of ONNX's operator set.
        precision: ``float32``, ``float16`` or ``int8``: the coarsest numbers that it keeps.
        layers: Layers that the compared output depends on.
    """

    file: str
    sha256: str
    producer: str
    opset: int
    precision: str
    layers: int


@dataclass(frozen=True, eq=False)
class ComparedClip(Header):
    """A clip that both files were run on.

    Attributes:
        file: Its path.
        sha256: Of its content.
        shape: Sizes of the first file's input.
    """

    file: str
    sha256: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ComparedClass(Header):
    """The class whose relevance is compared.

    Attributes:
        output: The first file's output.
        index: Of the class.
        label: Its name; None where it has none.
        depth: Deepest level whose relevance is compared, or ``"all"``.
    """

    output: str
    index: int
    label: str | None
    depth: int | str


@dataclass(frozen=True, eq=False)
class Tolerance(Header):
    """What counts as the same.

    Attributes:
        outputs: Largest difference of outputs, as part of the largest value.
        weights: The same of weights; None where weights are not judged.
        given: Whether it was asked for.
        precision: The coarsest numbers that one of the files keeps, which decide where it was not.
    """

    outputs: float
    weights: float | None
    given: bool
    precision: str


@dataclass(frozen=True)
class ComparedLayer:
    """One layer in both files.

    Attributes:
        a: Its name in the first file.
        b: Its name in the second.
        weight: Names of its weights, first and second.
        op: Operators, first and second.
        evidence: ``weights``, ``names``, ``activations`` or ``position``: why they are taken as the same layer.
        depth: Depths, first and second; None where no path to the class goes through it.
        kernels: Kernel of the second for each kernel of the first.
        cosine: Of its outputs, the lowest of all clips.
        difference: Largest difference of its outputs over their largest value.
        max_abs: The same as it is.
        input_difference: The same for its inputs.
        weight_difference: Largest difference of effective weights over the kernel's largest; None where not comparable.
        bias_difference: The same of biases, over the layer's largest.
        rank_correlation: Spearman's, of the kernels' relevance, mean of all clips; None where there is none.
        overlap: Share of the strongest tenth of kernels that both have, mean of all clips.
        tube_cosine: Of the class's relevance summed over the kernels, place by place, mean of all clips.
        chosen: Kernels above theta in both, only in the first, only in the second (numbered as in the first).
        relevance: Relevance per kernel on the first clip, first and second file, both in the first's order.
        agrees: Whether its outputs and its weights are the same within the tolerance.
        worst: Kernels whose outputs differ by more, the worst first.
        findings: What differs, in sentences.
    """

    a: str
    b: str
    weight: tuple[str, str]
    op: tuple[str, str]
    evidence: str
    depth: tuple[int | None, int | None]
    kernels: tuple[int, ...]
    cosine: float
    difference: float
    max_abs: float
    input_difference: float
    weight_difference: float | None
    bias_difference: float | None
    rank_correlation: float | None
    overlap: float | None
    tube_cosine: float | None
    chosen: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    relevance: tuple[tuple[float, ...], tuple[float, ...]]
    agrees: bool
    worst: tuple[int, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Divergence:
    """The first place where two files differ.

    Attributes:
        where: ``layer`` (its inputs agree, its outputs do not), ``between`` (the outputs of the layers above agree, the
            inputs of the next one do not), ``input``, ``output``, ``only_a`` or ``only_b``.
        layer: The layer, by its name in the first file; of ``between`` the last one above.
        other: Its name in the second file, where it has one.
        kernels: The kernels that differ, numbered as in the first file; empty for all.
        reader: Of ``between`` and ``input`` the first layer whose inputs differ.
        cause: What differs, in a sentence.
    """

    where: str
    layer: str | None
    other: str | None
    kernels: tuple[int, ...]
    reader: str | None
    cause: str


@dataclass(frozen=True)
class Outputs:
    """How far the answers agree, the worst of all clips.

    Attributes:
        cosine: Of the scores.
        difference: Largest difference over the largest score.
        max_abs: Largest difference.
        same_top: Whether the strongest class is the same on every clip.
        scores: Score of the class on the first clip, first and second file.
    """

    cosine: float
    difference: float
    max_abs: float
    same_top: bool
    scores: tuple[float, float]


__all__ = ["ComparedClass", "ComparedClip", "ComparedFile", "ComparedLayer", "Divergence", "Outputs", "Tolerance"]
