"""The only reader of `.onnx`: one canonical form, weights on demand.

A file becomes a `Model` (functions inlined, constants lifted, nodes sorted). A `Model` whose tensor shapes have been
observed at one input size becomes a `Program`: the nodes that depend on the input's *values*, with every weight and
every piece of shape arithmetic resolved to an array on demand. Fused operators are taken apart on the way.
"""

from cfp_onnx.model.by_clip import depends_on_values, trips_depend_on_values
from cfp_onnx.model.conditionals import branches, take_branches
from cfp_onnx.model.expansions import EXPANSIONS, asked_of_recurrent, expand
from cfp_onnx.model.loops import count_trips, loops, unroll
from cfp_onnx.model.nodes import canonical_nodes, captured
from cfp_onnx.model.program import Program
from cfp_onnx.model.raising import NEWER, RAISED_BELOW, raised
from cfp_onnx.model.reader import load
from cfp_onnx.model.sequences import asked, has_sequences, without_sequences
from cfp_onnx.model.shapes import input_shape
from cfp_onnx.model.values import Model, Node, Port

__all__ = [
    "EXPANSIONS", "NEWER", "RAISED_BELOW", "Model", "Node", "Port", "Program",
    "asked", "asked_of_recurrent", "branches", "canonical_nodes", "captured", "count_trips", "depends_on_values",
    "expand", "has_sequences", "input_shape", "load", "loops", "raised", "take_branches", "trips_depend_on_values",
    "unroll", "without_sequences",
]  # fmt: skip
