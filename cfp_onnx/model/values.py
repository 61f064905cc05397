"""What a file says, as plain values: nodes, inputs and outputs, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from cfp_onnx.errors import ModelError
from cfp_onnx.files import strict_json
from cfp_onnx.model.spelling import labels_of


@dataclass(frozen=True)
class Node:
    """One operator call of the canonical graph.

    Attributes:
        name: The ONNX node's name, with the path of function calls in front and ``#n`` on repeats.
        op: Operator type; operators outside ONNX's own domain carry it in front (``com.microsoft::FusedConv``).
        inputs: Tensor names; an omitted optional input is ``""``.
        outputs: Tensor names; an omitted optional output is ``""``.
        attributes: Attribute values as Python numbers, strings, lists and arrays.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def input(self, index: int) -> str:
        """Name of an input, ``""`` where it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True)
class Port:
    """An input or output of the model: name, shape (None where symbolic) and NumPy type name."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


@dataclass(frozen=True)
class Recurrence:
    """A recurrent layer that was written out step by step.

    Attributes:
        op: LSTM, GRU or RNN.
        source: What it reads, (steps, batch, channels).
        weight: Name of its input weights in the file.
        matrix: The same as a constant, (gates * kernels, channels), one gate after the other.
        gates: Rows per hidden unit.
        kernels: Hidden units, those of a second direction behind the first's.
        channels: Features of a step.
        steps: How many steps it takes.
        inside: Names of the nodes that are its steps.
        projection: The one of them that multiplies what it reads by the weights.
    """

    op: str
    source: str
    weight: str
    matrix: str
    gates: int
    kernels: int
    channels: int
    steps: int
    inside: frozenset[str]
    projection: str


@dataclass(frozen=True)
class Model:
    """A loaded file. `graph` is shared and must not be changed by readers.

    Attributes:
        path: The file.
        sha256: Hash of the file's bytes.
        producer: Name and version of the tool that wrote it.
        opset: Version of ONNX's own operator set.
        inputs: Graph inputs that are not weights.
        outputs: Graph outputs.
        metadata: The file's metadata strings.
        graph: onnx-ir model, inlined, constants lifted, sorted; node names are unique.
        unexpanded: Fused nodes that could not be taken apart, by name, and what each has that is not understood.
        maps: Outputs that the file gives as maps from the classes' names, with the names in order; the graph gives the
            scores themselves.
        recurrent: Recurrent layers that were written out, by the name of the node that holds their hidden units.
        fixed: Products with a constant matrix that stand for an operator and are no layers.
        copies: Nodes of the trips of loops that were written out, and what all copies of each are called.
        by_clip: Whether values of the clip chose branches, trips or lengths, so that another clip needs another look.
    """

    path: Path
    sha256: str
    producer: str
    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]
    graph: ir.Model
    unexpanded: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    recurrent: Mapping[str, Recurrence] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    copies: Mapping[str, str] = field(default_factory=dict)
    by_clip: bool = False

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class labels that travel in the file's metadata (``cfp_onnx.labels``) or in its outputs, else None.

        Raises:
            ModelError: If the metadata is there but is not a JSON list of strings.
        """
        text = self.metadata.get("cfp_onnx.labels")
        if text is None:
            return labels_of(self.maps)
        labels = _json(text, "cfp_onnx.labels", self.path)
        if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
            raise ModelError(f"{self.path}: metadata cfp_onnx.labels is not a list of strings; mend it")
        return tuple(labels)

    @property
    def preprocess(self) -> Mapping[str, Any] | None:
        """Preprocessing that travels in the file's metadata (``cfp_onnx.preprocess``), else None."""
        text = self.metadata.get("cfp_onnx.preprocess")
        if text is None:
            return None
        value = _json(text, "cfp_onnx.preprocess", self.path)
        if not isinstance(value, dict):
            raise ModelError(f"{self.path}: metadata cfp_onnx.preprocess is not an object; mend it")
        return value


def _json(text: str, key: str, path: Path) -> object:
    try:
        return strict_json.parse(text)
    except ValueError as error:
        raise ModelError(f"{path}: metadata {key} is not JSON: {error}; mend it") from error
