"""Every operator's effect on channels, judged by running it: what moves must be a wire or a side input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from operator_rows import CASES, ROWS, Row

from cfp_onnx import runtime
from cfp_onnx.explanation.network import channel_axes
from cfp_onnx.graph import operators
from cfp_onnx.graph.operators import OPERATORS, operator
from cfp_onnx.graph.parts import Part
from cfp_onnx.graph.topology import Topology, build
from cfp_onnx.model import EXPANSIONS, load

Array = npt.NDArray[Any]


def test_every_operator_has_a_row() -> None:
    assert sorted({*OPERATORS, *EXPANSIONS}) == sorted({row.op for row in ROWS})
    assert not set(OPERATORS) & set(EXPANSIONS)


def test_an_operator_has_one_handler() -> None:
    with pytest.raises(ValueError, match="Relu has two handlers"):
        operator("Relu")(OPERATORS["Relu"])


def test_every_file_with_handlers_is_a_family() -> None:
    folder = Path(operators.__file__).parent
    files = {f.stem for f in folder.glob("*.py") if "\n@operator(" in f.read_text("utf-8")}
    assert files == {f.__name__.rpartition(".")[2] for f in operators.FAMILIES}


def test_no_operator_has_two_rows() -> None:
    assert len({row.op for row in ROWS}) == len(ROWS)


def test_every_row_uses_its_operator() -> None:
    for row in ROWS + CASES:
        domain, _, op = row.op.rpartition("::")
        assert any((n.domain, n.op_type) == (domain, op) for n in row.model.graph.node), row.op


class Authority:
    """The model cut at every layer's output: layers' outputs go in, layers' inputs come out."""

    def __init__(self, row: Row, topology: Topology, feeds: Mapping[str, Array]) -> None:
        self.row = row
        self.parts = [p for layer in topology.layers for p in layer.parts]
        outputs = [p.output for p in self.parts]
        model = ir.to_proto(topology.program.model.graph) if row.op in EXPANSIONS else row.model
        whole = _with_outputs(model, [*outputs, *(p.source for p in self.parts)])
        base = {**_runner(whole, row.reference)(feeds), **feeds}
        self.base = {**{k: base[k] for k in outputs}, **feeds}
        self.read = {p.source: base[p.source] for p in self.parts}
        self.cut = _runner(_cut(whole, self.base, list(self.read)), row.reference)

    def __call__(self, changed: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs of all layers with some tensors changed."""
        held = {**self.base, **changed}
        return {**held, **self.cut(held)}


def _runner(model: onnx.ModelProto, reference: str) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """What runs a model under the row's authority."""
    names = [o.name for o in model.graph.output]
    inputs = [i.name for i in model.graph.input]
    if not names:
        return lambda _: {}
    run: Any
    if reference == "onnx":
        run = ReferenceEvaluator(model).run
    else:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        providers = ["CPUExecutionProvider"]
        run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers).run

    def call(feeds: Mapping[str, Array]) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            results = run(names, {k: feeds[k] for k in inputs})
        return dict(zip(names, (np.asarray(r) for r in results), strict=True))

    return call


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    made = {o for n in copy.graph.node for o in n.output}
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in dict.fromkeys(names) if n in made)
    return copy


def _cut(model: onnx.ModelProto, inputs: Mapping[str, Array], outputs: list[str]) -> onnx.ModelProto:
    """The nodes between some tensors and others."""
    copy = _with_outputs(model, [])
    made = {o: n for n in copy.graph.node for o in n.output}
    kept: list[onnx.NodeProto] = []
    stack = [o for o in outputs if o not in inputs]
    while stack:
        node = made.get(stack.pop())
        if node is None or node in kept:
            continue
        kept.append(node)
        stack.extend(i for i in node.input if i and i not in inputs)
    nodes = [n for n in copy.graph.node if n in kept]
    del copy.graph.node[:], copy.graph.input[:], copy.graph.output[:]
    copy.graph.node.extend(nodes)
    used = {i for n in nodes for i in n.input}
    copy.graph.input.extend(
        onnx.helper.make_tensor_value_info(k, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for k, v in inputs.items()
        if k in used
    )
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(o) for o in outputs if o not in inputs)
    return copy


def perturbations(value: Array, axis: int, channel: int) -> Iterator[Array]:
    """Large changes of one channel of a tensor."""
    rng = np.random.default_rng(channel)
    cut = tuple(slice(channel, channel + 1) if a == axis else slice(None) for a in range(value.ndim))
    old = value[cut].astype(np.float64)
    noise = rng.standard_normal(old.shape)
    half = np.where(np.arange(old.size).reshape(old.shape) % 2 == 0, 4.0, -4.0)
    for new in (old + 10, old - 10, old * 3, old * -1, noise * 5, old + noise, half):
        if value.dtype.kind in "iu":
            info = np.iinfo(value.dtype)
            new = np.clip((new - old) * 12 + old, info.min, info.max)  # noqa: PLW2901
        copy = value.copy()
        copy[cut] = new.astype(value.dtype)
        yield copy


def moved(authority: Authority, tensor: str, axis: int, channel: int) -> dict[str, Array]:
    """Which channels of every part's input change with one channel of a tensor: part name to booleans."""
    found = {p.node.name: np.zeros(p.channels, bool) for p in authority.parts}
    for value in perturbations(authority.base[tensor], axis, channel):
        results = authority({tensor: value})
        for part in authority.parts:
            found[part.node.name] |= _differs(part, authority.read[part.source], results[part.source])
    return found


def _differs(part: Part, old: Array, new: Array) -> Array:
    difference = np.moveaxis(old.astype(np.float64) - new.astype(np.float64), part.in_axis, 0)
    return np.asarray((np.abs(np.nan_to_num(difference)) > 1e-6).reshape(part.channels, -1).any(axis=1))


def topology_of(row: Row, folder: Path) -> tuple[Topology, dict[str, Array]]:
    path = folder / "row.onnx"
    onnx.save(row.model, path)
    feeds = {"x": np.random.default_rng(7).standard_normal((1, 3, 6, 6)).astype(np.float32)}
    program = runtime.observe(load(path), feeds)
    return build(program, channel_axes=channel_axes(program)), feeds


@pytest.mark.parametrize("row", ROWS + CASES, ids=lambda row: " ".join((row.op, row.case)).strip())
def test_what_moves_is_a_wire_or_a_side_input_and_every_wire_moves(row: Row, tmp_path: Path) -> None:
    topology, feeds = topology_of(row, tmp_path)
    authority = Authority(row, topology, feeds)
    readers = [layer for layer in topology.layers if layer.source != "x"]
    assert readers
    steered = False
    for origin in topology.layers:
        places = [(part, k) for part in origin.parts for k in range(part.kernels)]
        for kernel, (part, k) in enumerate(places):
            seen = moved(authority, part.output, part.out_axis, k)
            for layer in readers:
                moves = np.concatenate([seen[p.node.name] for p in layer.parts])
                sources = topology.sources(layer, range(layer.channels))
                wired = np.array(
                    [any((s.layer, s.kernel) == (origin.index, kernel) for s in found) for found in sources]
                )
                side = any(o.layer == origin.index for o in topology.side_inputs(layer))
                steered |= side
                where = f"kernel {kernel} of {origin.name} at {layer.name}"
                assert not (wired & ~moves).any(), f"{where}: wires that do not move: {np.flatnonzero(wired & ~moves)}"
                if not side:
                    assert not (moves & ~wired).any(), (
                        f"{where}: moves without a wire: {np.flatnonzero(moves & ~wired)}"
                    )
    assert not row.steers or row.still or steered
