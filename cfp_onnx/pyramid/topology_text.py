"""A network as a text tree for people, in the order in which it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.tracing import Joint
from cfp_onnx.pyramid.headers import CoverageHeader
from cfp_onnx.pyramid.topology_json import Analysed
from cfp_onnx.pyramid.tree_lines import counted, coverage_text, layer_title, text_line
from cfp_onnx.text import fact_table, listed, printable


def topology_tree(engine: Analysed) -> RenderableType:
    """A network in execution order: what each layer reads, where paths meet, counts and coverage."""
    topology = engine.topology
    root = Tree(text_line(PurePath(engine.file.path).name, style="bold"))
    names = [printable(layer.name) for layer in topology.layers]
    for layer in topology.layers:
        depth = engine.depths.get(layer.index)
        place = "not upstream of the output" if depth is None else f"depth {depth}"
        split = " (Split + Concat)" if layer.split else ""
        node = root.add(layer_title(layer, f"{layer.channels} > {layer.kernels}{split}  {place}"))
        for via, read in _reads(engine, layer).items():
            label = "reads" if via == "chain" else f"reads by {via}"
            node.add(Text(f"{label} {listed(read, 6)}"))
    joints = [
        *_joint_tree("branches", topology.branches, names),
        *_joint_tree("shortcuts", topology.shortcuts, names),
        *_joint_tree("gates", topology.gates, names),
    ]
    return Group(*_model_header(engine), Text(), root, Text(), *joints, *_counts(engine))


def _reads(engine: Analysed, layer: KernelLayer) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for origin, via in engine.topology.readers[layer.index]:
        name = f"input {origin.tensor}" if origin.layer is None else engine.topology.layers[origin.layer].name
        out.setdefault(via, []).append(printable(name))
    return out


def _model_header(engine: Analysed) -> list[RenderableType]:
    file = engine.file
    shapes = ", ".join(f"{p.name} {'x'.join(map(str, engine.program.shapes[p.name]))}" for p in file.inputs)
    count, _ = engine.classes()
    rows: list[tuple[str, str | Text, str]] = [
        ("model", f"{file.path.name}  ({file.producer or 'unknown producer'}, opset {file.opset})", ""),
        ("inputs", f"{shapes}  (open sizes were filled in)" if _open(engine) else shapes, ""),
        ("output", f"{engine.output}  ({count} class{'' if count == 1 else 'es'})", ""),
        ("coverage", coverage_text(CoverageHeader.of(engine.coverage)), ""),
    ]
    return [fact_table(rows)]


def _open(engine: Analysed) -> bool:
    return any(p.shape is None or None in p.shape for p in engine.file.inputs)


def _joint_tree(title: str, joints: Sequence[Joint], names: Sequence[str]) -> list[RenderableType]:
    if not joints:
        return []
    kinds = Counter(j.kind for j in joints)
    summary = "" if set(kinds) == {"gate"} else ": " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    tree = Tree(text_line(f"{len(joints)} {title if len(joints) > 1 else _singular(title)}{summary}", style="bold"))
    for joint in joints:
        kind = "" if joint.kind == "gate" else f" {joint.kind}"
        paths = " | ".join(listed([names[i] for i in path], 3) or "the input" for path in joint.paths)
        tree.add(Text(f"{printable(joint.node)}{kind}: {paths}"))
    return [tree, Text()]


def _singular(title: str) -> str:
    return title.removesuffix("es") if title == "branches" else title.removesuffix("s")


def _counts(engine: Analysed) -> list[RenderableType]:
    layers = engine.topology.layers
    families = ", ".join(f"{n} {family}" for family, n in Counter(x.family for x in layers).most_common())
    fibers = sum(x.groups for x in layers if x.groups > 1)
    lines = [f"{counted(len(layers), 'layer')}: {families}", f"{sum(x.kernels for x in layers)} kernels"]
    if fibers:
        lines.append(f"{fibers} fibers in {counted(sum(x.groups > 1 for x in layers), 'layer')}")
    return [Text(line) for line in lines]


__all__ = ["topology_tree"]
