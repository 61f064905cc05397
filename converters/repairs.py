"""What exporters are known to get wrong in a graph without a word: mended in place, or refused.

It knows no framework, and needs nothing but NumPy and onnx (1.14 or later).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from refusal import Refusal, listed


def repair(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Mends in place what exporters are known to get wrong without a word.

    Args:
        model: What an exporter wrote.
        shapes: Sizes of its inputs.

    Returns:
        What was mended; one sentence each.
    """
    notes = []
    if moved := initializers_only(model):
        notes.append(f"{moved} weights that were graph inputs became initializers only")
    if trained := inference_mode(model):
        notes.append(f"batch normalisation stood in training mode and was set to inference: {listed(trained)}")
    known = _known_shapes(model, shapes)
    if pooled := spatial_pools(model, known):
        notes.append(f"pooling was written over batch and channels too and was rewritten: {listed(pooled)}")
        known = _known_shapes(model, shapes)
    complements(model)
    if grouped := groups(model, known):
        notes.append(f"the groups of convolutions were lost and were set from the weights: {listed(grouped)}")
    return notes


def initializers_only(model: onnx.ModelProto) -> int:
    """Takes weights out of the graph's inputs; how many."""
    weights = {t.name for t in model.graph.initializer}
    kept = [i for i in model.graph.input if i.name not in weights]
    moved = len(model.graph.input) - len(kept)
    if moved:
        _replace(model.graph.input, kept)
        model.ir_version = max(model.ir_version, 4)  # before, every initializer had to be an input
    return moved


def inference_mode(model: onnx.ModelProto) -> list[str]:
    """Sets batch normalisations to inference; the names of those that were not.

    Raises:
        Refusal: If something reads the statistics of the batch.
    """
    read = {name for n in model.graph.node for name in n.input} | {o.name for o in model.graph.output}
    changed = []
    for node in model.graph.node:
        if node.op_type != "BatchNormalization" or not (_get(node, "training_mode", 0) or len(node.output) > 1):
            continue
        if read & set(filter(None, node.output[1:])):
            raise Refusal(
                f"batch normalisation {_name(node)} is in training mode and its statistics are read; "
                "save the network for inference and convert that"
            )
        del node.output[1:]
        _unset(node, "training_mode")
        changed.append(_name(node))
    return changed


def spatial_pools(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Rewrites pools whose windows count batch and channels (1, t, h, w, 1) as pools over time and space.

    Returns:
        Names of the nodes that were rewritten.
    """
    changed, nodes = [], []
    for node in model.graph.node:
        kernel = _get(node, "kernel_shape", [])
        rank = len(shapes.get(node.input[0], ())) if node.input else 0
        if node.op_type not in {"MaxPool", "AveragePool"} or not kernel or rank != len(kernel):
            nodes.append(node)
            continue
        if len(node.output) > 1:
            raise Refusal(f"pooling {_name(node)} returns places too, over batch and channels; leave them out")
        nodes += _as_spatial(node, rank)
        changed.append(_name(node))
    if changed:
        _replace(model.graph.node, nodes)
        del model.graph.value_info[:]
    return changed


def _as_spatial(node: onnx.NodeProto, rank: int) -> list[onnx.NodeProto]:
    """The same pool between two transposes, or as it is where the channels stand second already."""
    fields = {a: list(_get(node, a, [])) for a in ("kernel_shape", "strides", "dilations", "pads")}
    last, second = fields["kernel_shape"][-1] == 1, fields["kernel_shape"][1] == 1
    outer = {0, rank - 1 if last else 1}
    moves = [fields[a][axis] for a in ("kernel_shape", "strides", "dilations") for axis in outer if fields[a]]
    padded = [fields["pads"][i] for axis in outer for i in (axis, axis + rank) if fields["pads"]]
    if any(m != 1 for m in moves) or any(padded) or not (last or second):
        raise Refusal(f"pooling {_name(node)} pools over batch or channels; ONNX has no such operator: write it out")
    spatial = [axis for axis in range(rank) if axis not in outer]
    for name, values in fields.items():
        if values:
            _unset(node, name)
            twice = [values[a] for a in spatial] + [values[a + rank] for a in spatial] if name == "pads" else None
            node.attribute.append(helper.make_attribute(name, twice or [values[a] for a in spatial]))
    if not last:
        return [node]
    there, back = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
    inside, outside, result = f"{node.output[0]}__in", f"{node.output[0]}__out", node.output[0]
    before = helper.make_node("Transpose", [node.input[0]], [inside], name=f"{node.name}__in", perm=there)
    after = helper.make_node("Transpose", [outside], [result], name=f"{node.name}__out", perm=back)
    node.input[0], node.output[0] = inside, outside
    return [before, node, after]


def complements(model: onnx.ModelProto) -> None:
    """Writes Erfc, which ONNX does not have, as one minus Erf: TensorFlow makes it of the exact GELU."""
    places = [k for k, node in enumerate(model.graph.node) if node.op_type == "Erfc"]
    one = "one_minus_erf"
    for k in reversed(places):
        node = model.graph.node[k]
        inner, outer = f"{node.output[0]}__erf", node.output[0]
        node.op_type, node.domain, node.output[0] = "Erf", "", inner
        model.graph.node.insert(k + 1, helper.make_node("Sub", [one, inner], [outer], name=f"{node.name}__complement"))
    if places:
        model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), one))


def groups(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Sets every convolution's group to channels / channels of its weights; the names of those that differed.

    Raises:
        Refusal: If no number of groups fits.
    """
    changed = []
    for node in model.graph.node:
        data, weights = (tuple(shapes.get(name, ())) for name in (*node.input, "", "")[:2])
        if node.op_type != "Conv" or len(data) < 3 or len(weights) < 3 or not (data[1] and weights[1]):
            continue
        fitting = data[1] // weights[1]
        if fitting == _get(node, "group", 1) and fitting * weights[1] == data[1]:
            continue
        if fitting * weights[1] != data[1] or not fitting or weights[0] % fitting:
            raise Refusal(
                f"convolution {_name(node)} has weights {list(weights)} for {data[1]} channels, which no number of "
                "groups fits; the exporter lost something: save the network in another form"
            )
        _unset(node, "group")
        node.attribute.append(helper.make_attribute("group", fitting))
        changed.append(_name(node))
    return changed


def _known_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Sizes of all tensors as far as inference finds them at these inputs; 0 where a size stays open."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for port in copy.graph.input:
        if port.name in shapes:
            _set_sizes(port, shapes[port.name])
    for port in copy.graph.output:
        port.type.tensor_type.ClearField("shape")
    for tensor in copy.graph.initializer:
        if len(tensor.raw_data) > 4096:  # only small tensors steer shapes; the copy need not hold the weights
            tensor.ClearField("raw_data")
    try:
        inferred = shape_inference.infer_shapes(copy, data_prop=True).graph
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        inferred = copy.graph
    found = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and (value := _get(node, "value", None)) is not None:
            found[node.output[0]] = tuple(value.dims)
    for port in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = port.type.tensor_type
        if kind.HasField("shape"):
            found[port.name] = tuple(d.dim_value for d in kind.shape.dim)
    return found


# -------------------------------------------------------------------------------------------------- shape, names


def pin(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], fixed: int | None) -> None:
    """Writes the sizes into the graph's inputs: all of them, the batch as a name where it may vary."""
    del model.graph.value_info[:]
    for port in model.graph.input:
        if port.name in shapes:
            _set_sizes(port, [fixed or "batch", *shapes[port.name][1:]])
    for port in model.graph.output:
        sizes = port.type.tensor_type.shape.dim
        for k, size in enumerate(sizes):
            if not k:
                _set_size(size, fixed or "batch")
            elif not size.dim_value:
                size.ClearField("dim_param")


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Gives inputs and outputs other names, wherever they are read or written."""
    taken = {name for n in model.graph.node for name in (*n.input, *n.output)} - set(names)
    new = {old: name for old, name in names.items() if name not in taken and old != name}
    for port in (*model.graph.input, *model.graph.output):
        port.name = new.get(port.name, port.name)
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = new.get(name, name)
        for k, name in enumerate(node.output):
            node.output[k] = new.get(name, name)


def _set_sizes(port: onnx.ValueInfoProto, sizes: Iterable[int | str]) -> None:
    shape = port.type.tensor_type.shape
    shape.SetInParent()
    del shape.dim[:]
    for size in sizes:
        _set_size(shape.dim.add(), size)


def _set_size(place: Any, size: int | str) -> None:
    if isinstance(size, str):
        place.dim_param = size
    else:
        place.dim_value = int(size)


# ------------------------------------------------------------------------------------------------------ refusals


def refuse_broken(model: onnx.ModelProto) -> None:
    """Refuses a graph with operators that are not ONNX's: exporters leave them without a word.

    Raises:
        Refusal: With the operator and the node.
    """
    versions = {o.domain if o.domain != "ai.onnx" else "": o.version for o in model.opset_import}
    own = {(f.domain, f.name) for f in model.functions}
    for node in _all_nodes(model):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if (node.domain, node.op_type) in own:
            continue
        try:
            onnx.defs.get_schema(node.op_type, versions.get(domain, 1), domain)
        except onnx.defs.SchemaError as error:
            raise Refusal(
                f"the exporter left {node.op_type} ({_name(node)}) as it was, which ONNX does not have; "
                "write that part with other layers, or save the network in another form"
            ) from error


def clean(model: onnx.ModelProto) -> None:
    """Strips what describes the machine it was made on: documentation, stack traces and local paths."""
    graphs = [model.graph, *_subgraphs(model.graph.node)]
    things = [model, *model.functions, *_all_nodes(model), *graphs]
    for graph in graphs:
        things += [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    attributes = [attribute for node in _all_nodes(model) for attribute in node.attribute]
    for thing in (*things, *attributes, *(a.t for a in attributes if a.HasField("t"))):
        thing.ClearField("doc_string")
        if "metadata_props" in thing.DESCRIPTOR.fields_by_name:
            thing.ClearField("metadata_props")
    for function in model.functions:
        for value in function.value_info if "value_info" in function.DESCRIPTOR.fields_by_name else ():
            value.ClearField("doc_string")


def _all_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    groups_of = [model.graph.node, *(f.node for f in model.functions)]
    groups_of += [g.node for nodes in list(groups_of) for g in _subgraphs(nodes)]
    return [node for nodes in groups_of for node in nodes]


def _subgraphs(nodes: Iterable[onnx.NodeProto]) -> list[onnx.GraphProto]:
    direct = [g for n in nodes for a in n.attribute for g in ([a.g] if a.HasField("g") else list(a.graphs))]
    return direct + [inner for graph in direct for inner in _subgraphs(graph.node)]


def _get(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def _unset(node: onnx.NodeProto, name: str) -> None:
    _replace(node.attribute, [a for a in node.attribute if a.name != name])


def _replace(field_: Any, values: Iterable[Any]) -> None:
    kept = [type(v).FromString(v.SerializeToString()) for v in values]
    del field_[:]
    field_.extend(kept)


def _name(node: onnx.NodeProto) -> str:
    return repr(node.name or (node.output[0] if node.output else node.op_type))
