"""A pyramid as a text tree for people, from the class down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from cfp_onnx.pyramid.headers import InputHeader, RunHeader, TopClass, class_name, target_title
from cfp_onnx.pyramid.question import ALWAYS_HELD, HELD, held, question, rather_than
from cfp_onnx.pyramid.tree_lines import counted, coverage_text, layer_title, text_line
from cfp_onnx.pyramid.values import Edge, Findings, LayerResult, Link, LinkSource
from cfp_onnx.text import either, fact_table, listed, printable

BAR = 12
"""Characters of the longest bar."""

LINKED = 2
"""Kernels of a layer for which the links are shown."""

SOURCES = 3
"""Sources of a channel that are named."""

LINE = 56
"""Characters that the sources of a channel may take on its own line."""

FED = 6
"""Most inputs that are named one by one, and most names of a row of inputs that nobody gave."""

TOP_LINE = 85
"""Characters that the strongest classes may take on one line."""


@dataclass(frozen=True)
class _View:
    """A pyramid with what its tree looks up again and again, and the limits of the tree.

    Attributes:
        pyramid: The result to show.
        edges: Edges by layer and kernel.
        gates: Layers that feed a gate.
        held: What was held at its recorded value.
        kernels: Most kernels per layer.
        links: Most channels per kernel.
    """

    pyramid: Findings
    edges: Mapping[tuple[str, int], Edge]
    gates: set[str | None]
    held: tuple[str, ...]
    kernels: int
    links: int

    def why_silent(self, layer: LayerResult) -> str:
        """Why no kernel of a layer has any relevance."""
        if not layer.known:
            passed = ", ".join(self.pyramid.coverage.operators_unknown)
            return f"unknown: it lies behind {passed or 'what could not be followed'}"
        if "gates" in self.held and layer.name in self.gates:
            return "held (gate)"
        return "held, or nothing of it fires" if self.held else "nothing arrives, or nothing of it fires"


def pyramid_tree(pyramid: Findings, *, kernels: int = 5, links: int = 3, notes: Sequence[str] = ()) -> RenderableType:
    """A pyramid as a tree.

    Args:
        pyramid: The result to show.
        kernels: Most kernels per layer.
        links: Most channels per kernel.
        notes: What its tubes leave out, in sentences.
    """
    view = _View(
        pyramid=pyramid,
        edges={(e.layer, e.kernel): e for e in pyramid.edges},
        gates={s.layer for e in pyramid.edges for c in e.channels for s in c.sources if s.via == "gate"},
        held=held(pyramid.run),
        kernels=kernels,
        links=links,
    )
    root = Tree(text_line("", target_title(pyramid.target), style="bold"))
    by_depth: dict[int, list[LayerResult]] = {}
    for layer in pyramid.layers:
        by_depth.setdefault(layer.depth, []).append(layer)
    for depth in sorted(by_depth):
        title = "classifier" if depth == 0 else f"depth {depth}"
        branch = root.add(text_line(title, style="bold cyan"))
        for layer in reversed(by_depth[depth]):
            if depth == 0:
                _add_classifier(branch, layer, view)
            else:
                _add_layer(branch, layer, view)
    answer = text_line("" if pyramid.target.title else "class ", question(pyramid.target, pyramid.run), style="bold")
    return Group(answer, Text(), *_header(pyramid), Text(), root, Text(), *_footer(pyramid, notes))


def _header(pyramid: Findings) -> list[RenderableType]:
    model, clip, run, target = pyramid.model, pyramid.input, pyramid.run, pyramid.target
    produced = f"{model.producer or 'unknown producer'}, opset {model.opset}"
    shape = "x".join(map(str, clip.shape))
    named = target.title or class_name(target.index, target.label)
    rows: list[tuple[str, str | Text, str]] = [
        ("model", f"{PurePath(model.file).name}  ({produced})", ""),
        ("clip", f"{clip.file}  ({shape}{' ' + clip.layout if clip.layout else ''})", ""),
        *_fed(clip),
        ("value" if target.title and not target.top else "class", f"{named}   score {_number(target.score)}", ""),
        *([("top 5", _top(target.top), "")] if target.top else []),
        ("rule", _rule(run), ""),
        ("holds", ", ".join(held(run)) or "nothing", ""),
    ]  # fmt: skip
    if pyramid.rather:
        also = [printable(rather_than(target, a.run)) for a in pyramid.rather]
        rows.append(("also", Text("\n".join(also)), ""))
    out: list[RenderableType] = [fact_table([*rows, ("coverage", coverage_text(pyramid.coverage), "")])]
    top = target.top[0] if target.top else None
    if top is not None and top.class_index != target.index:
        where = "on this clip" if target.place is None else "at this place"
        out.append(_note(f"the model itself answers {class_name(top.class_index, top.label)} {where}"))
    out += [_note(note) for note in target.notes or ()]
    if run.output_difference > 1e-3 * max(1.0, abs(target.score)):
        out.append(_note(f"the probes moved the outputs by {_number(run.output_difference)}"))
    if run.labels:
        out.append(_note(f"labels: {run.labels}"))
    if run.undefined:
        out.append(_note(f"the rule is undefined for {run.undefined} expanded kernels; they have no links"))
    if run.negative_sums:
        out.append(_note(f"a negative sum turns the order round in {run.negative_sums} expanded kernels"))
    return out


def _fed(clip: InputHeader) -> list[tuple[str, str | Text, str]]:
    """What the inputs got, where there are several or something was done to the clip's array."""
    fed = clip.fed or {}
    if len(fed) < 2 and not any("note" in found for found in fed.values()):
        return []
    lines = []
    filled: dict[str, list[str]] = {}
    for name, found in fed.items():
        if found["source"] in {"clip", "given"} or len(fed) <= FED:
            size = "x".join(map(str, found["shape"])) or "a number"
            note = f", {found['note']}" if "note" in found else ""
            lines.append(printable(f"{name}: {found['source']} ({size}){note}"))
        else:
            filled.setdefault(found["source"], []).append(name)
    for source, names in filled.items():
        lines.append(printable(f"{source}: {listed(names, FED)}; nobody gave them, --input NAME=... does"))
    return [("fed", Text("\n".join(lines)), "")]


def _top(top: Sequence[TopClass]) -> Text:
    """The strongest classes, on one line where that is short enough."""
    parts = [printable(f"{class_name(c.class_index, c.label)} {_number(c.score)}") for c in top]
    line = "   ".join(parts)
    return Text(line if len(line) <= TOP_LINE else "\n".join(parts))


def _rule(run: RunHeader) -> str:
    top = "" if run.top_k is None else f", top-k {run.top_k}"
    where = run.provider.removesuffix("ExecutionProvider")
    order = ", second order" if run.order == 2 else ""
    return f"{run.rule}{order}, class step {run.class_step}, theta {run.theta}{top}, depth {run.depth}, on {where}"


def _footer(pyramid: Findings, notes: Sequence[str]) -> list[RenderableType]:
    lines = ["Ranks hold within a layer (% of its strongest kernel); never compare numbers across layers."]
    silent = any(x.known and not any(x.relevance) for x in pyramid.layers if x.depth > 0)
    names = [{**HELD, **ALWAYS_HELD}.get(name, name) for name in held(pyramid.run)]
    if silent and names:
        lines.append(f"held: it only steers {either(names)}, which the rule keeps fixed.")
    lines += [f"tubes: {note}." for note in notes]
    return [Text(printable(line), style="dim") for line in lines]


def _add_classifier(branch: Tree, layer: LayerResult, view: _View) -> None:
    node = branch.add(layer_title(layer, counted(layer.kernels, "output")))
    for (name, _), edge in view.edges.items():
        if name == layer.name:
            text = f"{len(edge.channels)} of {counted(layer.channels, 'feature')} chosen"
            node.label = layer_title(layer, text)
            _add_links(node, edge, max(view.links, 5), view)


def _add_layer(branch: Tree, layer: LayerResult, view: _View) -> None:
    chosen = [k for name, k, _ in view.pyramid.kernels(layer.depth) if name == layer.name]
    top = max((abs(r) for r in layer.relevance), default=0.0)
    if top == 0.0 or not layer.known:
        text = f"{counted(layer.kernels, 'kernel')}, {view.why_silent(layer)}"
        branch.add(layer_title(layer, text, style="dim"))
        return
    strongest = max(layer.relevance)
    scale = strongest if strongest > 0 else top
    part = "" if layer.paths == "all" else ", known in part: other paths lie behind what was passed over"
    node = branch.add(layer_title(layer, f"{len(chosen)} of {counted(layer.kernels, 'kernel')} chosen{part}"))
    width = len(str(layer.kernels - 1))
    for rank, kernel in enumerate(chosen[: view.kernels]):
        item = node.add(_kernel_line("", kernel, width, layer.relevance[kernel] / scale))
        edge = view.edges.get((layer.name, kernel))
        if edge is not None and rank < LINKED:
            _add_links(item, edge, view.links, view)
    if len(chosen) > view.kernels:
        node.add(Text(f"... {len(chosen) - view.kernels} more chosen", style="dim"))
    against = min(range(layer.kernels), key=lambda k: layer.relevance[k])
    if layer.relevance[against] < 0:
        node.add(_kernel_line("against: ", against, width, layer.relevance[against] / scale))


def _kernel_line(before: str, kernel: int, width: int, share: float) -> Text:
    text = Text(f"{before}kernel {kernel:>{width}}  {100 * share:+6.0f} %  ")
    return text.append(_bar(share), style="red" if share < 0 else "green")


def _bar(share: float) -> str:
    """A bar in eighths of a character: at least one for what is not zero, with a mark where it is cut off."""
    eighths = min(8 * BAR, max(1, round(abs(share) * 8 * BAR))) if share else 0
    if abs(share) > 1.005:
        return "█" * BAR + "»"
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def _add_links(item: Tree, edge: Edge, links: int, view: _View) -> None:
    ordered = sorted(edge.channels, key=lambda c: -c.weight)
    top = max((abs(c.weight) for c in ordered), default=0.0) or 1.0
    for link in ordered[:links]:
        _add_link(item, link, top, view)
    if len(ordered) > links:
        item.add(Text(f"... {counted(len(ordered) - links, 'more channel')}", style="dim"))
    if not ordered:
        item.add(Text("no channel speaks for it", style="dim"))


def _add_link(item: Tree, link: Link, top: float, view: _View) -> None:
    """One channel and what feeds it: on one line, or a line per source where that is too long."""
    head = Text(f"channel {link.channel}  {100 * link.weight / top:+.0f} %  from ")
    sources = sorted(link.sources, key=lambda s: -s.share)
    if not sources:
        item.add(head.append("unknown (not traced)", style="red"))
        return
    alone = sum(s.via != "gate" for s in sources) == 1
    parts = [_source(s, alone=alone, held="gates" in view.held) for s in sources[:SOURCES]]
    if len(sources) > SOURCES:
        parts.append(f"{len(sources) - SOURCES} more")
    if len(parts) == 1 or sum(map(len, parts)) <= LINE:
        item.add(head.append(", ".join(parts)))
        return
    node = item.add(head)
    for part in parts:
        node.add(Text(part))


def _source(source: LinkSource, *, alone: bool, held: bool) -> str:
    if source.layer is None:
        name = f"the input's channel {source.kernel}"
    else:
        name = f"{printable(source.layer)}:{source.kernel}"
    share = f"{100 * source.share:.0f} %" if source.share >= 0.005 else "<1 %"
    notes = [] if alone else [share]
    if source.via == "gate":
        notes = ["gate, held" if held else "gate"]
    elif source.via != "chain":
        notes.append(source.via)
    return f"{name} ({' '.join(notes)})" if notes else name


def _number(value: float) -> str:
    return f"{value:.4g}"


def _note(text: str) -> RenderableType:
    return fact_table([("note    ", text, "yellow")])


__all__ = ["BAR", "LINE", "LINKED", "SOURCES", "TOP_LINE", "pyramid_tree"]
