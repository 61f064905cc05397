"""Results as text trees for people: a pyramid from the class down, and a network in the order it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cfp_onnx.graph.layers import KernelLayer
from cfp_onnx.graph.tracing import Joint
from cfp_onnx.naming import module_of
from cfp_onnx.pyramid.topology_json import Analysed
from cfp_onnx.pyramid.values import Edge, Findings, LayerResult, Link, LinkSource
from cfp_onnx.text import printable

BAR = 12


LINKED = 2
"""Kernels of a layer for which the links are shown."""


SOURCES = 3
"""Sources of a channel that are named."""


LINE = 56
"""Characters that the sources of a channel may take on its own line."""


TOP_LINE = 85
"""Characters that the strongest classes may take on one line."""


HELD = ("positional", "active", "zplus")
"""Rules that hold gates."""


@dataclass(frozen=True)
class _View:
    """A pyramid as its tree looks things up."""

    pyramid: Findings
    edges: Mapping[tuple[str, int], Edge]
    gates: set[str | None]
    kernels: int
    links: int

    def why_silent(self, layer: LayerResult) -> str:
        """Why no kernel of a layer has any relevance."""
        if self.pyramid.run["rule"] not in HELD:
            return "nothing arrives"
        return "held (gate)" if layer.name in self.gates else "held, or nothing of it fires"


def pyramid_tree(pyramid: Findings, *, kernels: int = 5, links: int = 3) -> RenderableType:
    """A pyramid as a tree.

    Args:
        pyramid: The result to show.
        kernels: Most kernels per layer.
        links: Most channels per kernel.
    """
    view = _View(
        pyramid=pyramid,
        edges={(e.layer, e.kernel): e for e in pyramid.edges},
        gates={s.layer for e in pyramid.edges for c in e.channels for s in c.sources if s.via == "gate"},
        kernels=kernels,
        links=links,
    )
    root = Tree(_line("class ", _class_name(pyramid.target["index"], pyramid.target["label"]), style="bold"))
    by_depth: dict[int, list[LayerResult]] = {}
    for layer in pyramid.layers:
        by_depth.setdefault(layer.depth, []).append(layer)
    for depth in sorted(by_depth):
        title = "classifier" if depth == 0 else f"depth {depth}"
        branch = root.add(_line(title, style="bold cyan"))
        for layer in reversed(by_depth[depth]):
            if depth == 0:
                _add_classifier(branch, layer, view)
            else:
                _add_layer(branch, layer, view)
    return Group(*_header(pyramid), Text(), root, Text(), *_footer(pyramid))


def _header(pyramid: Findings) -> list[RenderableType]:
    model, clip, run, target = pyramid.model, pyramid.input, pyramid.run, pyramid.target
    produced = f"{model['producer'] or 'unknown producer'}, opset {model['opset']}"
    shape = "x".join(map(str, clip["shape"]))
    rows: list[tuple[str, str | Text]] = [
        ("model", f"{PurePath(model['file']).name}  ({produced})"),
        ("clip", f"{clip['file']}  ({shape}{' ' + clip['layout'] if clip['layout'] else ''})"),
        ("class", f"{_class_name(target['index'], target['label'])}   score {_number(target['score'])}"),
        ("top 5", _top(target["top"])),
        ("rule", _rule(run)),
    ]  # fmt: skip
    out: list[RenderableType] = [_table([*rows, ("coverage", _coverage(pyramid.coverage))])]
    top = target["top"][0] if target["top"] else None
    if top is not None and top[0] != target["index"]:
        out.append(_note(f"the model itself answers {_class_name(top[0], top[1])} on this clip"))
    if run["output_difference"] > 1e-3 * max(1.0, abs(target["score"])):
        out.append(_note(f"the probes moved the outputs by {_number(run['output_difference'])}"))
    if run["undefined"]:
        out.append(_note(f"the rule is undefined for {run['undefined']} expanded kernels; they have no links"))
    if run.get("negative_sums"):
        out.append(_note(f"a negative sum turns the order round in {run['negative_sums']} expanded kernels"))
    return out


def _top(top: Sequence[Sequence[Any]]) -> Text:
    """The strongest classes, on one line where that is short enough."""
    parts = [printable(f"{_class_name(i, label)} {_number(score)}") for i, label, score in top]
    line = "   ".join(parts)
    return Text(line if len(line) <= TOP_LINE else "\n".join(parts))


def _rule(run: Mapping[str, Any]) -> str:
    top = "" if run["top_k"] is None else f", top-k {run['top_k']}"
    where = str(run["provider"]).removesuffix("ExecutionProvider")
    return f"{run['rule']}, class step {run['class_step']}, theta {run['theta']}{top}, depth {run['depth']}, on {where}"


def _table(rows: Sequence[tuple[str, str | Text]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(printable(value)) if isinstance(value, str) else value)
    return table


def _coverage(coverage: Mapping[str, Any]) -> Text:
    unknown = list(coverage["operators_unknown"])
    channels, layers = coverage["channels"], coverage["layers"]
    if channels == 1.0 and layers == 1.0 and not unknown:
        return Text("100 % of channels and layers")
    text = f"{_percent(channels)} of channels, {_percent(layers)} of layers"
    if unknown:
        text += f"; passed over: {printable(', '.join(unknown))}"
    return Text(f"!! INCOMPLETE !!  {text}; what lies behind is missing from this result", style="bold red")


def _percent(fraction: float) -> str:
    """Rounded down, so that what is lost never reads as 100 %."""
    return f"{int(fraction * 1000) / 10:.1f} %"


def _footer(pyramid: Findings) -> list[RenderableType]:
    lines = ["Ranks hold within a layer (% of its strongest kernel); never compare numbers across layers."]
    silent = any(not any(x.relevance) for x in pyramid.layers if x.depth > 0)
    if silent and pyramid.run["rule"] in HELD:
        lines.append("held: it only steers a gate, a normalisation or attention, which the rule keeps fixed.")
    return [Text(line, style="dim") for line in lines]


def _add_classifier(branch: Tree, layer: LayerResult, view: _View) -> None:
    node = branch.add(_layer_title(layer, _count(layer.kernels, "output")))
    for (name, _), edge in view.edges.items():
        if name == layer.name:
            text = f"{len(edge.channels)} of {_count(layer.channels, 'feature')} chosen"
            node.label = _layer_title(layer, text)
            _add_links(node, edge, max(view.links, 5))


def _add_layer(branch: Tree, layer: LayerResult, view: _View) -> None:
    chosen = [k for name, k, _ in view.pyramid.kernels(layer.depth) if name == layer.name]
    top = max((abs(r) for r in layer.relevance), default=0.0)
    if top == 0.0:
        text = f"{_count(layer.kernels, 'kernel')}, {view.why_silent(layer)}"
        branch.add(_layer_title(layer, text, style="dim"))
        return
    strongest = max(layer.relevance)
    scale = strongest if strongest > 0 else top
    node = branch.add(_layer_title(layer, f"{len(chosen)} of {_count(layer.kernels, 'kernel')} chosen"))
    width = len(str(layer.kernels - 1))
    for rank, kernel in enumerate(chosen[: view.kernels]):
        item = node.add(_kernel_line("", kernel, width, layer.relevance[kernel] / scale))
        edge = view.edges.get((layer.name, kernel))
        if edge is not None and rank < LINKED:
            _add_links(item, edge, view.links)
    if len(chosen) > view.kernels:
        node.add(Text(f"... {len(chosen) - view.kernels} more chosen", style="dim"))
    against = min(range(layer.kernels), key=lambda k: layer.relevance[k])
    if layer.relevance[against] < 0:
        node.add(_kernel_line("against: ", against, width, layer.relevance[against] / scale))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _layer_title(layer: LayerResult | KernelLayer, tail: str, *, style: str = "") -> Text:
    text = Text(printable(layer.name), style=style or "bold")
    if module := module_of(layer.name, layer.weight):
        text.append(f"  {printable(module)}", style=style or "not bold italic")
    return text.append(f"  {_kind(layer)}  {tail}", style=style or "not bold")


def _kind(layer: LayerResult | KernelLayer) -> str:
    shape = "x".join(map(str, layer.kernel_shape))
    groups = f" in {layer.groups} groups" if layer.groups > 1 and layer.family != "depthwise" else ""
    family = "" if layer.family == "dense" and not shape else f" {layer.family}"
    return f"{layer.op}{' ' + shape if shape else ''}{family}{groups}"


def _kernel_line(before: str, kernel: int, width: int, share: float) -> Text:
    text = Text(f"{before}kernel {kernel:>{width}}  {100 * share:+6.0f} %  ")
    return text.append(_bar(share), style="red" if share < 0 else "green")


def _bar(share: float) -> str:
    """Eighths of a block; at least a sliver for what is not zero, and a mark for what is cut off."""
    eighths = min(8 * BAR, max(1, round(abs(share) * 8 * BAR))) if share else 0
    if abs(share) > 1.005:
        return "█" * BAR + "»"
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def _add_links(item: Tree, edge: Edge, links: int) -> None:
    ordered = sorted(edge.channels, key=lambda c: -c.weight)
    top = max((abs(c.weight) for c in ordered), default=0.0) or 1.0
    for link in ordered[:links]:
        _add_link(item, link, top)
    if len(ordered) > links:
        item.add(Text(f"... {_count(len(ordered) - links, 'more channel')}", style="dim"))
    if not ordered:
        item.add(Text("no channel speaks for it", style="dim"))


def _add_link(item: Tree, link: Link, top: float) -> None:
    """One channel and what feeds it: on one line, or a line per source where that is too long."""
    head = Text(f"channel {link.channel}  {100 * link.weight / top:+.0f} %  from ")
    sources = sorted(link.sources, key=lambda s: -s.share)
    if not sources:
        item.add(head.append("unknown (not traced)", style="red"))
        return
    alone = sum(s.via != "gate" for s in sources) == 1
    parts = [_source(s, alone=alone) for s in sources[:SOURCES]]
    if len(sources) > SOURCES:
        parts.append(f"{len(sources) - SOURCES} more")
    if len(parts) == 1 or sum(map(len, parts)) <= LINE:
        item.add(head.append(", ".join(parts)))
        return
    node = item.add(head)
    for part in parts:
        node.add(Text(part))


def _source(source: LinkSource, *, alone: bool) -> str:
    if source.layer is None:
        name = f"the input's channel {source.kernel}"
    else:
        name = f"{printable(source.layer)}:{source.kernel}"
    share = f"{100 * source.share:.0f} %" if source.share >= 0.005 else "<1 %"
    notes = [] if alone else [share]
    if source.via == "gate":
        notes = ["gate, held"]
    elif source.via != "chain":
        notes.append(source.via)
    return f"{name} ({' '.join(notes)})" if notes else name


def topology_tree(engine: Analysed) -> RenderableType:
    """A network in execution order: what each layer reads, where paths meet, counts and coverage."""
    topology = engine.topology
    root = Tree(_line(PurePath(engine.file.path).name, style="bold"))
    names = [printable(layer.name) for layer in topology.layers]
    for layer in topology.layers:
        depth = engine.depths.get(layer.index)
        place = "not upstream of the output" if depth is None else f"depth {depth}"
        split = " (Split + Concat)" if layer.split else ""
        node = root.add(_layer_title(layer, f"{layer.channels} > {layer.kernels}{split}  {place}"))
        for via, read in _reads(engine, layer).items():
            label = "reads" if via == "chain" else f"reads by {via}"
            node.add(Text(f"{label} {_short_list(read, 6)}"))
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


def _short_list(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _model_header(engine: Analysed) -> list[RenderableType]:
    file = engine.file
    shapes = ", ".join(f"{p.name} {'x'.join(map(str, engine.program.shapes[p.name]))}" for p in file.inputs)
    count, _ = engine.classes()
    coverage = engine.coverage
    rows: list[tuple[str, str | Text]] = [
        ("model", f"{file.path.name}  ({file.producer or 'unknown producer'}, opset {file.opset})"),
        ("inputs", f"{shapes}  (open sizes were filled in)" if _open(engine) else shapes),
        ("output", f"{engine.output}  ({count} class{'' if count == 1 else 'es'})"),
        ("coverage", _coverage(asdict(coverage))),
    ]
    return [_table(rows)]


def _open(engine: Analysed) -> bool:
    return any(p.shape is None or None in p.shape for p in engine.file.inputs)


def _joint_tree(title: str, joints: Sequence[Joint], names: Sequence[str]) -> list[RenderableType]:
    if not joints:
        return []
    kinds = Counter(j.kind for j in joints)
    summary = "" if set(kinds) == {"gate"} else ": " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    tree = Tree(_line(f"{len(joints)} {title if len(joints) > 1 else _singular(title)}{summary}", style="bold"))
    for joint in joints:
        kind = "" if joint.kind == "gate" else f" {joint.kind}"
        paths = " | ".join(_short_list([names[i] for i in path], 3) or "the input" for path in joint.paths)
        tree.add(Text(f"{printable(joint.node)}{kind}: {paths}"))
    return [tree, Text()]


def _singular(title: str) -> str:
    return title.removesuffix("es") if title == "branches" else title.removesuffix("s")


def _counts(engine: Analysed) -> list[RenderableType]:
    layers = engine.topology.layers
    families = ", ".join(f"{n} {family}" for family, n in Counter(x.family for x in layers).most_common())
    fibers = sum(x.groups for x in layers if x.groups > 1)
    lines = [f"{_count(len(layers), 'layer')}: {families}", f"{sum(x.kernels for x in layers)} kernels"]
    if fibers:
        lines.append(f"{fibers} fibers in {_count(sum(x.groups > 1 for x in layers), 'layer')}")
    return [Text(line) for line in lines]


def _class_name(index: int, label: str | None) -> str:
    return str(index) if label is None else f"{index} {label}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _line(*parts: object, style: str = "") -> Text:
    return Text("".join(printable(p) for p in parts), style=style)


def _note(text: str) -> Text:
    return Text(f"note      {printable(text)}", style="yellow")


__all__ = ["BAR", "HELD", "LINE", "LINKED", "SOURCES", "TOP_LINE", "pyramid_tree", "topology_tree"]
