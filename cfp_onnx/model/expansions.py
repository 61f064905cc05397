"""Fused operators as the ordinary nodes that they stand for, so that all that follows knows only these.

Optimisers write an attention, or a sum with the norm behind it, as one node. A function of `EXPANSIONS` looks at such a
node and writes the nodes that compute the same, under names that begin with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from cfp_onnx.model.attention import attention, group_query_attention, multi_head_attention, weighted_attention
from cfp_onnx.model.batched import batched_product, is_batched_product
from cfp_onnx.model.einsum import einsum
from cfp_onnx.model.fourier import transform
from cfp_onnx.model.general import general_product, is_general_product
from cfp_onnx.model.mixtures import is_mixed_convolution, mixed_convolution
from cfp_onnx.model.program import Program
from cfp_onnx.model.recurrence import gru, lstm, rnn
from cfp_onnx.model.rotary import contrib_rotary, rotary
from cfp_onnx.model.sampling import deform_conv, grid_sample
from cfp_onnx.model.scattering import col2im, is_added_scatter, scatter_add
from cfp_onnx.model.values import Model, Node, Recurrence
from cfp_onnx.model.vectors import is_vector_product, vector_product
from cfp_onnx.model.writer import NotExpandableError, Writer
from cfp_onnx.values import Array


def _skip_norm(w: Writer) -> None:
    """`SkipLayerNormalization` of onnxruntime: a sum, a bias, and a layer norm over the last axis."""
    _normed(w, "LayerNormalization", bias=4, scale=(2, 3))


def _skip_simplified_norm(w: Writer) -> None:
    """The same without a mean and an offset."""
    _normed(w, "SimplifiedLayerNormalization", bias=3, scale=(2,))


def _normed(w: Writer, op: str, *, bias: int, scale: tuple[int, ...]) -> None:
    if w.reads(1) or w.reads(2):
        raise NotExpandableError("gives its statistics as outputs")
    summed = w.add("Add", [w.tensor(0), w.tensor(1)], "sum")
    if w.has(bias):
        summed = w.add("Add", [summed, w.tensor(bias)], "shifted")
    if w.reads(3):
        w.give(3, summed)
    given = [w.tensor(i) for i in scale if w.has(i)]
    w.give(0, w.add(op, [summed, *given], "norm", axis=-1, epsilon=w.attribute("epsilon", 1e-12)))


EXPANSIONS: dict[str, Callable[[Writer], None]] = {
    "Attention": attention,
    "Col2Im": col2im,
    "DFT": transform,
    "DeformConv": deform_conv,
    "Einsum": einsum,
    "GRU": gru,
    "GridSample": grid_sample,
    "LSTM": lstm,
    "RNN": rnn,
    "RotaryEmbedding": rotary,
    "com.microsoft::Attention": weighted_attention,
    "com.microsoft::GroupQueryAttention": group_query_attention,
    "com.microsoft::MultiHeadAttention": multi_head_attention,
    "com.microsoft::RotaryEmbedding": contrib_rotary,
    "com.microsoft::SkipLayerNormalization": _skip_norm,
    "com.microsoft::SkipSimplifiedLayerNormalization": _skip_simplified_norm,
}
"""Fused operators, and what writes the nodes in their place."""


def asked_of_recurrent(program: Program) -> list[str]:
    """Lengths of sequences that depend on the model's input: their values must be known to write a layer out."""
    given = [node.input(4) for node in program.nodes if node.op in {"GRU", "LSTM", "RNN"}]
    return [name for name in dict.fromkeys(given) if name and not program.is_constant(name)]


def expand(program: Program, observed: Mapping[str, Array] | None = None) -> Model | None:
    """The model with ordinary nodes in the place of fused ones and of products with vectors; None where it has none.

    Args:
        program: The network, with every shape observed.
        observed: Values of what `asked_of_recurrent` names.

    Returns:
        A copy of the model; `Model.unexpanded` says which fused nodes are left, and why.
    """
    known = {name for found in program.model.recurrent.values() for name in found.inside}
    known |= program.model.fixed | program.model.unexpanded.keys()
    rules = ((n, _rule(program, n)) for n in program.nodes if n.name not in known)
    fused = {n.name: (n, rule) for n, rule in rules if rule is not None}
    if not fused:
        return None
    copy = program.model.graph.clone()
    graph, taken = copy.graph, _names(copy.graph)
    refused: dict[str, str] = {}
    recurrent: dict[str, Recurrence] = {}
    fixed: set[str] = set()
    for original in list(graph):
        if (original.name or "") not in fused:
            continue
        node, rule = fused[original.name or ""]
        writer = Writer(program, node, original, taken, observed or {})
        try:
            rule(writer)
        except NotExpandableError as reason:
            refused[node.name] = str(reason)
            continue
        fixed |= writer.maps
        if writer.recurrence is not None:
            recurrent[node.name] = writer.recurrence
        for value in writer.constants:
            graph.register_initializer(value)
        old = [original.outputs[i] for i in writer.made]
        replace_nodes_and_values(graph, original, [original], writer.nodes, old, list(writer.made.values()))
        for value in writer.unread:
            _drop(graph, value)
    unexpanded = {**program.model.unexpanded, **refused}
    return replace(
        program.model,
        graph=copy,
        unexpanded=unexpanded,
        recurrent={**program.model.recurrent, **recurrent},
        fixed=program.model.fixed | fixed,
    )


def _rule(program: Program, node: Node) -> Callable[[Writer], None] | None:
    """What takes a node apart; None for a node that stays."""
    if is_batched_product(program, node):
        return batched_product
    if is_general_product(program, node):
        return general_product
    if node.op == "GridSample" and program.is_constant(node.input(0)):
        return None  # the shares of pixels that a sampling is written with
    if is_mixed_convolution(program, node):
        return mixed_convolution
    if is_added_scatter(program, node):
        return scatter_add
    return vector_product if is_vector_product(program, node) else EXPANSIONS.get(node.op)


def _drop(graph: ir.Graph, value: ir.Value) -> None:
    """Take away what makes a tensor, as far as nothing else reads it."""
    stack = [value]
    while stack:
        node = stack.pop().producer()
        if node is None or any(o.uses() or o.is_graph_output() for o in node.outputs):
            continue
        stack.extend(v for v in node.inputs if v is not None)
        graph.remove(node, safe=True)


def _names(graph: ir.Graph) -> set[str]:
    values = (
        [v.name for node in graph for v in node.outputs] + [v.name for v in graph.inputs] + list(graph.initializers)
    )
    return {name for name in [*values, *(n.name for n in graph)] if name}


__all__ = ["EXPANSIONS", "asked_of_recurrent", "expand"]
