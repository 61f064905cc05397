"""Two files of one network: do they compute the same, and if not, where do they part?

Numbers decide: what each layer reads and what it makes of it, on the same clips, kernel by kernel under the alignment.
Weights, windows and wires explain, and tell what these clips happen not to show.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfp_onnx import record, rules
from cfp_onnx.align import (
    PRECISIONS,
    Alignment,
    Network,
    Pair,
    Place,
    Unit,
    align,
    assign,
    directions,
    network,
    reordered,
)
from cfp_onnx.errors import CfpError, ClipError, ModelError, RunError, UsageError
from cfp_onnx.explain import Engine, Wanted, pick_class, specs
from cfp_onnx.files import write_json, write_text
from cfp_onnx.model import Model, load
from cfp_onnx.probe import SEED, TUBE_SEED, Probe, Values
from cfp_onnx.results import Progress
from cfp_onnx.saliency import Collector, clip_size
from cfp_onnx.tree import printable
from cfp_onnx.tubes import Tube

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cfp_onnx.media import Clip, InputSpec, Preprocess

Array = npt.NDArray[Any]
Source = str | os.PathLike[str] | Array | Mapping[str, Array]

SCHEMA = "cfp-onnx/comparison"
SCHEMA_VERSION = 1

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "int8": 2e-2}
"""Largest difference of a layer's output, as part of its largest value, that counts as the same."""

WEIGHTS = 3e-5
"""The same for a kernel's weights, where both files keep them in float32; rounded ones are judged by what they do."""

BIASES = 3e-4
"""The same for biases."""

STRONGEST = 0.1
"""Part of a layer's kernels whose overlap is reported."""

TAP_BUDGET = 2**28
"""Bytes of activations of both files that are held at a time."""

NAMED = 8
"""Most kernels that a sentence or a list names."""


# -------------------------------------------------------------------------------------------- measures


@dataclass(frozen=True)
class Agreement:
    """How far two tensors agree.

    Attributes:
        cosine: Of all their elements; 1 where both are zero.
        difference: Largest difference over the largest value of either.
        max_abs: Largest difference.
        rows: The same as `difference`, kernel by kernel, over the same largest value.
        resized: Whether they have different sizes, so that only the kernels' means could be compared.
    """

    cosine: float
    difference: float
    max_abs: float
    rows: Array
    resized: bool = False


def agreement(a: Array, b: Array) -> Agreement:
    """Compare two tensors.

    Args:
        a: (kernels, positions).
        b: The same, in the order of the first's kernels.
    """
    resized = a.shape != b.shape
    if resized:
        a, b = a.mean(axis=1, keepdims=True), b.mean(axis=1, keepdims=True)
    far = np.abs(a - b).max(axis=1, initial=0.0).astype(np.float64)
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
    rows = far / scale if scale > 0 else far
    return Agreement(cosine(a, b), float(rows.max(initial=0.0)), float(far.max(initial=0.0)), rows, resized)


def cosine(a: Array, b: Array) -> float:
    """Cosine of two arrays of one size; 1 where both are zero, 0 where one is."""
    one, two = a.reshape(-1), b.reshape(-1)
    sizes = float(np.linalg.norm(one)), float(np.linalg.norm(two))
    if min(sizes) == 0:
        return float(sizes[0] == sizes[1])
    return float(np.clip(np.dot(one / sizes[0], two / sizes[1]), -1.0, 1.0))


def spearman(a: Array, b: Array) -> float | None:
    """Rank correlation with ties at their mean rank; None where one of them does not vary."""
    one, two = (_ranks(np.asarray(v, np.float64)) for v in (a, b))
    one, two = one - one.mean(), two - two.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(np.clip(one @ two / size, -1.0, 1.0)) if size > 0 else None


def _ranks(values: Array) -> Array:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place.reshape(-1)])


def overlap(a: Array, b: Array, part: float = STRONGEST) -> float | None:
    """Share of the strongest kernels of one that are among the strongest of the other; None where nothing is relevant.

    Args:
        a: (kernels,) relevance.
        b: The same in the order of the first's kernels.
        part: Part of the kernels that counts as the strongest; at least one.
    """
    if not (a > 0).any() or not (b > 0).any():
        return None
    count = max(1, round(part * len(a)))
    best = [set(np.argsort(-v, kind="stable")[:count].tolist()) for v in (a, b)]
    return len(best[0] & best[1]) / count


def tube_cosine(a: Tube, b: Tube, size: tuple[int, int, int]) -> float:
    """Cosine of two tubes, on their own grid where they share it, else over the clip."""
    own = all(len(x) == len(y) and np.allclose(x, y) for x, y in zip(a.centres, b.centres, strict=True))
    return cosine(a.values, b.values) if own else cosine(a.at(size), b.at(size))


@dataclass(frozen=True)
class Weighed:
    """How far the weights of a pair agree once affine maps are folded in, per kernel of the first.

    Attributes:
        weights: Largest difference over the kernel's largest weight.
        bias: Difference over the layer's largest bias.
        bad: Kernels whose weights differ by more than the limit.
        ours: (bad, n) their effective weights in the first file.
        theirs: Those in the second, channels in the order of the first.
    """

    weights: Array
    bias: Array
    bad: Array
    ours: Array
    theirs: Array


def weigh(pair: Pair, limit: float) -> Weighed:
    """Compare the effective weights and biases of a pair.

    Args:
        pair: A layer of both files.
        limit: Largest difference that is none.
    """
    a, b = pair.a, pair.b
    ours, raw = a.effective().reshape(a.kernels, -1), b.effective()
    table, group = reordered(raw, b.groups, pair.channels)
    theirs = table.reshape(a.kernels, -1)
    if not np.array_equal(pair.kernels, np.arange(a.kernels)) or (group != np.arange(a.groups)).any():
        per = a.kernels // a.groups
        mine = np.arange(a.kernels) // per
        fits = group[mine] == pair.kernels // per
        rows = theirs[mine * per + pair.kernels % per]
        theirs = np.where(fits[:, None], rows, raw.reshape(b.kernels, -1)[pair.kernels])
    top = np.abs(ours).max(axis=1, initial=0.0)
    floor = 1e-3 * float(top.max(initial=0.0)) + 1e-30
    far = np.abs(ours - theirs).max(axis=1, initial=0.0) / np.maximum(top, floor)
    bias = np.zeros(a.kernels)
    if a.bias is not None and b.bias is not None:
        largest = max(float(np.abs(a.bias).max(initial=0.0)), float(np.abs(b.bias).max(initial=0.0)))
        least = floor * ours.shape[1] ** 0.5  # of what such weights make of inputs of size 1
        bias = np.abs(a.bias - b.bias[pair.kernels]) / max(largest, least)
    bad = np.flatnonzero(far > limit)
    return Weighed(far, bias, bad, ours[bad], theirs[bad])


# ---------------------------------------------------------------------------------------------- causes


@dataclass(frozen=True)
class Finding:
    """Something that differs: a sentence, and the kernels it is about (none where it is about all)."""

    text: str
    kernels: tuple[int, ...] = ()


def explain_weights(pair: Pair, weighed: Weighed, *, limit_bias: float = BIASES) -> list[Finding]:
    """What differs in the weights and biases of a pair."""
    bad, biased = weighed.bad, np.flatnonzero(weighed.bias > limit_bias)
    if not bad.size and not biased.size:
        return []
    if (order := _exchanged(weighed)) is not None:
        return [order]
    ratio, rest = _factors(weighed)
    scaled = bool((rest <= 1e-3 * np.maximum(np.abs(ratio), 1e-3)).all())
    if scaled and (epsilon := _epsilons(pair)):
        return [Finding(epsilon)]
    if not bad.size:
        return [Finding(f"bias differs in {_some(biased, pair.a.kernels)}", _few(biased))]
    if scaled:
        return [_scaled(ratio, bad, pair.a.kernels)]
    most = 100 * float(weighed.weights[bad].max())
    return [Finding(f"weights differ in {_some(bad, pair.a.kernels)}, by up to {most:.3g} %", _few(bad))]


def _factors(weighed: Weighed) -> tuple[Array, Array]:
    """The factor between differing kernels that fits best, and what it leaves over the size of the first."""
    size = np.einsum("kn,kn->k", weighed.ours, weighed.ours, dtype=np.float64)
    ratio = np.einsum("kn,kn->k", weighed.ours, weighed.theirs, dtype=np.float64) / np.maximum(size, 1e-30)
    left = np.linalg.norm(weighed.theirs - ratio[:, None].astype(np.float32) * weighed.ours, axis=1)
    return ratio, left / np.sqrt(np.maximum(size, 1e-30))


def _epsilons(pair: Pair) -> str | None:
    one, two = pair.a.epsilon, pair.b.epsilon
    if one is None or two is None or abs(one - two) <= 1e-6 * max(one, two):
        return None
    return f"the batch norm's epsilon is {one:.3g} in A and {two:.3g} in B"


def _exchanged(weighed: Weighed) -> Finding | None:
    """Kernels that stand in each other's place."""
    bad = weighed.bad
    if not 2 <= bad.size <= 1024:
        return None
    chosen = assign(directions(weighed.ours) @ directions(weighed.theirs).T)
    ours, theirs = weighed.ours, weighed.theirs[chosen]
    size = np.abs(ours).max(axis=1)
    fits = np.abs(ours - theirs).max(axis=1) <= 1e-3 * np.maximum(size, 1e-30)
    if not fits.all() or np.array_equal(chosen, np.arange(bad.size)):
        return None
    words = "are swapped" if bad.size == 2 else "stand in another order"
    return Finding(f"{_kernels(bad)} {words}, and what reads them was not changed with them", _few(bad))


def _scaled(ratios: Array, bad: Array, kernels: int) -> Finding:
    low, high = float(ratios.min()), float(ratios.max())
    if bad.size == 1 or high - low <= 1e-4 * abs(high):
        return Finding(f"{_some(bad, kernels)}: weights scaled by {high:.5g}", _few(bad))
    one_way = low > 0.5 and high < 2 and (high <= 1 or low >= 1)
    hint = ", as another epsilon of a batch norm does" if one_way else ""
    return Finding(f"scale differs in {_some(bad, kernels)}, by factors {low:.5g} to {high:.5g}{hint}", _few(bad))


def explain_window(a: Unit, b: Unit) -> list[Finding]:
    """What differs in strides, dilations and padding."""
    one, two = a.geometry, b.geometry
    if len(one.kernel) != len(two.kernel):
        return []
    found = []
    for word in ("strides", "dilations"):
        here, there = getattr(one, word), getattr(two, word)
        if here != there:
            found.append(Finding(f"{word} differ: {_sizes(here)} in A, {_sizes(there)} in B"))
    if (one.begins, one.ends) != (two.begins, two.ends):
        here, there = (_pads(g.begins, g.ends) for g in (one, two))
        lopsided = [g.begins != g.ends for g in (one, two)]
        hint = " (SAME against symmetric)" if lopsided[0] != lopsided[1] else ""
        found.append(Finding(f"padding differs: {here} in A, {there} in B{hint}"))
    return found


def _sizes(values: Sequence[int]) -> str:
    return "x".join(map(str, values))


def _pads(begins: Sequence[int], ends: Sequence[int]) -> str:
    return " ".join(f"{b}+{e}" for b, e in zip(begins, ends, strict=True)) or "none"


def explain_activation(a: Unit, b: Unit) -> list[Finding]:
    """An activation that only one of them has; not where an Add stands between in one of the files."""
    if bool(a.activation) == bool(b.activation) or (a.joined != b.joined and (b if a.activation else a).joined):
        return []
    name, side = (a.activation, "B") if a.activation else (b.activation, "A")
    return [Finding(f"an activation ({name}) is missing after it in {side}")]


@dataclass(frozen=True)
class Names:
    """What a sentence calls the layers and inputs of a file: names by index, and the number of layers."""

    layers: Mapping[int, str]
    count: int

    def of(self, owner: int) -> str:
        """What it is called."""
        return "the input" if owner >= self.count else repr(self.layers.get(owner, "?"))


def explain_path(pair: Pair, owners: Mapping[int, int], names: tuple[Names, Names]) -> list[Finding]:
    """What differs between the layers above and this one.

    Args:
        pair: The layer that reads.
        owners: Layers and inputs of the first file to those of the second.
        names: What both files' layers are called.
    """
    a, b = pair.a, pair.b
    ours, theirs = above(a), above(b)
    lost = sorted(o for o in ours if owners.get(o) not in theirs)
    gained = sorted(theirs - {owners.get(o) for o in ours})
    found = [
        *(_missing(names[0].of(o), "B", a.path, b.path) for o in lost),
        *(_missing(names[1].of(o), "A", b.path, a.path) for o in gained),
    ]
    if found:
        return found
    if pair.reordered:
        return [_order(pair, at_input=all(o >= names[0].count for o in ours))]
    return _steps(a.path, b.path)


def above(unit: Unit) -> set[int]:
    """Layers and inputs that arrive at a layer, gates included."""
    return {int(o) for x in unit.arrivals for o in np.unique(x.owner) if o >= 0}


def _missing(who: str, side: str, here: Mapping[str, int], there: Mapping[str, int]) -> Finding:
    if here.get("a product", 0) > there.get("a product", 0):
        return Finding(f"the gate from {who} is missing in {side}")
    if here.get("an Add", 0) > there.get("an Add", 0):
        return Finding(f"the shortcut from {who} is missing in {side} at the Add that follows")
    return Finding(f"what comes from {who} does not arrive in {side}")


def _order(pair: Pair, *, at_input: bool) -> Finding:
    """Channels that arrive in another order than the weights expect."""
    if at_input:
        places = np.empty_like(pair.wired)
        places[pair.wired] = np.arange(pair.wired.size)
        order = ", ".join(map(str, places[pair.channels].tolist()[:NAMED]))
        hint = " (RGB against BGR)" if order == "2, 1, 0" else ""
        return Finding(f"the input's channels arrive in the order {order} in B{hint}")
    moved = int((pair.channels != pair.wired).sum())
    return Finding(f"{moved} of {pair.a.channels} channels arrive from other kernels: the order of a shuffle differs")


def _steps(ours: Mapping[str, int], theirs: Mapping[str, int]) -> list[Finding]:
    """Activations, pools and the like that only one of two paths has."""
    lost, gained = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    pools = [[w for w in side if " pool " in w] for side in (lost, gained)]
    if all(pools):
        return [Finding(f"what is pooled differs: {pools[0][0]} in A, {pools[1][0]} in B")]
    found = []
    for words, side in ((lost, "B"), (gained, "A")):
        for word in words:
            kind, _, name = word.partition(" ")
            text = f"an activation ({name})" if kind == "activation" else word
            found.append(Finding(f"{text} is missing in {side}"))
    return found


def _kernels(which: Array) -> str:
    listed = [str(int(k)) for k in which[:NAMED]]
    if len(listed) == 1:
        return f"kernel {listed[0]}"
    if which.size > NAMED:
        return f"kernels {', '.join(listed)} and {which.size - NAMED} more"
    return f"kernels {', '.join(listed[:-1])} and {listed[-1]}"


def _some(which: Array, of: int) -> str:
    if which.size == of > 1:
        return f"all {of} kernels"
    return _kernels(which) if which.size <= NAMED else f"{which.size} of {of} kernels"


def _few(which: Array) -> tuple[int, ...]:
    """Kernels to name; none where there are too many."""
    return tuple(int(k) for k in which) if which.size <= NAMED else ()


# --------------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class ComparedLayer:
    """One layer in both files.

    Attributes:
        a: Its name in the first file.
        b: Its name in the second.
        op: Operators, first and second.
        evidence: ``weights``, ``names``, ``activations`` or ``position``: what says that they are the same layer.
        depth: Depths, first and second; None where it lies beside every path.
        kernels: Kernel of the second for each kernel of the first.
        cosine: Of its outputs, the lowest of all clips.
        difference: Largest difference of its outputs over their largest value.
        max_abs: The same as it is.
        input_difference: `difference` of what it reads.
        weight_difference: Largest difference of effective weights over the kernel's largest; None where not comparable.
        bias_difference: The same of biases, over the layer's largest.
        rank_correlation: Spearman's, of the kernels' relevance, mean of all clips; None where there is none.
        overlap: Share of the strongest tenth of kernels that both have, mean of all clips.
        tube_cosine: Of where the class's relevance lies, mean of all clips.
        chosen: Kernels above theta in both, only in the first, only in the second (numbered as in the first).
        relevance: Relevance per kernel on the first clip, first and second file, both in the first's order.
        agrees: Whether its outputs and its weights are the same within the tolerance.
        worst: Kernels whose outputs differ by more, the worst first.
        findings: What differs, in sentences.
    """

    a: str
    b: str
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
class Parting:
    """The first place where two files part.

    Attributes:
        where: ``layer`` (what it reads agrees, what it makes of it does not), ``between`` (what comes out of the layers
            above agrees, what the next one reads does not), ``input``, ``output``, ``only_a`` or ``only_b``.
        layer: The layer, by its name in the first file; of ``between`` the last one above.
        other: Its name in the second file, where it has one.
        kernels: Kernels concerned, numbered as in the first file; empty for all.
        reader: Of ``between`` and ``input`` the first layer that sees it.
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


@dataclass(frozen=True, repr=False)
class Comparison:
    """What two files have in common, and where they part.

    Attributes:
        models: file, sha256, producer, opset, precision and layers of both.
        clips: file, sha256, shape of each clip, as the first file gets it.
        target: output, index and label of the class whose relevance is compared, and to which depth.
        tolerance: What counts as the same: ``outputs``, and ``weights`` (None where weights are not judged).
        layers: Layers that both have, in the first file's order.
        first: Where they part first; None where they do not.
        outputs: How far the answers agree.
        only_a: Layers of the first file only.
        only_b: Layers of the second file only.
        same: Whether nothing differs by more than the tolerance.
        notes: What else a reader should know, in sentences.
    """

    models: tuple[Mapping[str, Any], Mapping[str, Any]]
    clips: tuple[Mapping[str, Any], ...]
    target: Mapping[str, Any]
    tolerance: Mapping[str, Any]
    layers: tuple[ComparedLayer, ...]
    first: Parting | None
    outputs: Outputs
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    same: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The result under the published schema."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "same": self.same,
            "models": [dict(m) for m in self.models],
            "clips": [dict(c) for c in self.clips],
            "target": dict(self.target),
            "tolerance": dict(self.tolerance),
            "first": None if self.first is None else _plain(self.first),
            "outputs": _plain(self.outputs),
            "layers": [_layer_json(x) for x in self.layers],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "notes": list(self.notes),
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``comparison.html`` and ``comparison.json`` into a folder, which is made where it is missing.

        Returns:
            The page.

        Raises:
            OutputError: If a file cannot be written; each file is whole or not there.
        """
        from cfp_onnx.report.compare import render_comparison

        value = self.to_json()
        page = render_comparison(value)
        write_json(Path(folder) / "comparison.json", value)
        return write_text(Path(folder) / "comparison.html", page)

    def __repr__(self) -> str:
        verdict = "same" if self.same else "different"
        return f"<Comparison: {verdict}, {len(self.layers)} layers in both>"

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(
            file=io.StringIO(), width=100, record=True, color_system=None, force_terminal=False, force_jupyter=False,
            highlight=False, markup=False, emoji=False,
        )  # fmt: skip
        console.print(comparison_text(self))
        return "\n".join(line.rstrip() for line in console.export_text().splitlines()).rstrip()


def _plain(value: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(value).items()}


def _layer_json(layer: ComparedLayer) -> dict[str, Any]:
    shared, only_a, only_b = layer.chosen
    return {
        **{k: v for k, v in _plain(layer).items() if k not in {"chosen", "relevance"}},
        "chosen": {"shared": list(shared), "only_a": list(only_a), "only_b": list(only_b)},
        "relevance": [list(r) for r in layer.relevance],
    }


# ------------------------------------------------------------------------------------------------ text


def comparison_text(result: Comparison) -> RenderableType:
    """A comparison as a header, the first parting, and a table of layers."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")

    def row(name: str, text: str, style: str = "") -> None:
        grid.add_row(Text(name, style="dim"), Text(printable(text), style=style))

    for letter, model in zip("AB", result.models, strict=True):
        made = model["producer"] or "unknown producer"
        row(letter, f"{PurePath(model['file']).name}  ({made}, opset {model['opset']}, {model['precision']})")
    clips = [str(c["file"]) for c in result.clips]
    row("clips", ", ".join(clips[:3]) + (f" and {len(clips) - 3} more" if len(clips) > 3 else ""))
    row("class", str(result.target["index"]) + (f" {result.target['label']}" if result.target["label"] else ""))
    out = result.outputs
    top = "same" if out.same_top else "another"
    row("outputs", f"differ by {out.difference:.2g} of the largest score, cosine {out.cosine:.6f}, {top} top class")
    weights = result.tolerance["weights"]
    row("tolerance", f"{result.tolerance['outputs']:g}" + ("" if weights is None else f", weights {weights:g}"))
    if result.same:
        row("verdict", "the same within the tolerance", "bold green")
    else:
        row("verdict", "DIFFERENT", "bold red")
        if result.first is not None:
            row("first", parting_text(result.first), "red")
    for side, names in (("only in A", result.only_a), ("only in B", result.only_b)):
        if names:
            row(side, ", ".join(names))
    for note in result.notes:
        row("note", note, "yellow")
    return Group(grid, Text(), _layer_table(result))


def parting_text(first: Parting) -> str:
    """One sentence on where two files part."""
    if first.where == "between":
        return f"after {first.layer}, as {first.reader} sees it: {first.cause}"
    if first.where == "input":
        return f"at the input{f', as {first.reader} sees it' if first.reader else ''}: {first.cause}"
    if first.layer is None:
        return first.cause
    other = "" if first.where != "layer" or first.other in {None, first.layer} else f" ({first.other} in B)"
    return f"at {first.layer}{other}: {first.cause}"


def _layer_table(result: Comparison) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer", overflow="fold")
    for name in ("depth", "difference", "cosine", "ranks", "top 10 %", "tubes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    first = result.first
    for layer in result.layers:
        place = first is not None and first.layer == layer.a
        style = "bold red" if place else "" if layer.agrees else "red"
        name = layer.a if layer.a == layer.b else f"{layer.a} | {layer.b}"
        mark = "<- first" if place else "" if layer.agrees else "differs"
        table.add_row(
            Text(printable(name), style=style), _maybe(layer.depth[0], "d"), f"{layer.difference:.1e}",
            f"{layer.cosine:.5f}", _maybe(layer.rank_correlation, ".3f"), _maybe(layer.overlap, ".0%"),
            _maybe(layer.tube_cosine, ".3f"), Text(mark, style=style),
        )  # fmt: skip
    return table


def _maybe(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


# -------------------------------------------------------------------------------------------- running


@dataclass
class _Side:
    """One of the two files, with what was made of it once."""

    model: Model
    engine: Engine
    network: Network
    taps: dict[tuple[str, ...], tuple[Any, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, clip: Clip, device: record.Device, output: str | None, *, barriers: bool) -> _Side:
        engine = Engine(model, clip.feeds, device=device, output=output, barriers=barriers)
        return cls(model, engine, network(engine.topology, engine.output, engine.target, engine.depths))

    @property
    def main(self) -> str:
        """The input that is the clip: the first with most axes."""
        shapes = self.engine.program.shapes
        return max((p.name for p in self.model.inputs), key=lambda name: len(shapes[name]))

    def bytes(self, place: Place) -> int:
        return 4 * int(np.prod(self.engine.program.shapes[place.tensor], dtype=np.int64))

    def fetch(self, places: Iterable[Place], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors of one forward pass, as float32."""
        tensors = tuple(dict.fromkeys(p.tensor for p in places))
        if tensors not in self.taps:
            probe = Probe(self.engine.model.opset)
            value = Values(self.engine.topology, probe)
            names = {t: value(t) for t in tensors if t not in feeds}
            probe.outputs = list(dict.fromkeys(names.values()))
            session = self.engine.graph.with_probe(probe, keep_outputs=False).session(self.engine.device)
            self.taps[tensors] = session, names
        session, names = self.taps[tensors]
        wanted = list(dict.fromkeys(names.values()))
        found = dict(zip(wanted, record.run(session, wanted, feeds), strict=True))
        return {t: np.asarray(found[names[t]] if t in names else feeds[t], np.float32) for t in tensors}

    def means(self, feeds: Mapping[str, Array]) -> dict[int, Array]:
        """Mean output of every kernel, by layer index."""
        out = {}
        for unit in self.network.units:
            found = self.fetch([unit.output], feeds)[unit.output.tensor]
            out[unit.index] = rows_of(found, unit.output.axis, 1).mean(axis=1)
        return out

    def relevance(
        self, feeds: Mapping[str, Array], plain: Mapping[str, Array], index: int, depth: int | None, *, tubes: bool
    ) -> tuple[dict[int, Array], dict[str, Tube]]:
        """Relevance of every kernel by layer index, and the class's tube by layer name."""
        engine = self.engine
        probe = engine.field_probe("positional", depth, Wanted(maps=tubes))
        seeds = {SEED: engine.seed(index, "contrast")}
        if probe.maps:
            seeds[TUBE_SEED] = engine.seed(index, "contrast", engine.rivals(plain[engine.output], index))
        names = [*probe.relevance.values(), *probe.maps.values()]
        found = dict(zip(names, record.run(probe.session, names, {**feeds, **seeds}), strict=True))
        scored = {i: np.asarray(found[n], np.float64).reshape(-1) for i, n in probe.relevance.items()}
        collector = Collector.of(engine.topology, engine.depths, self.main, engine.axes[self.main]) if tubes else None
        if collector is None:
            return scored, {}
        for i, name in probe.maps.items():
            collector.add_relevance(engine.topology.layers[i], probe.features[i], found[name])
        maps = collector.finish().of("relevance", "layer")
        return scored, {t.layer: t for t in maps if t.layer is not None}


def rows_of(value: Array, axis: int, batch: int) -> Array:
    """A tensor as (kernels, positions); `batch` items of it where the first axis is not the kernels'."""
    if axis != 0 and value.shape[0] > batch:
        value = value[:batch]
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)


@dataclass
class _Seen:
    """What all clips said of one pair."""

    output: Agreement
    input: Agreement
    ranks: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    tubes: list[float] = field(default_factory=list)
    relevance: tuple[Array, Array] | None = None


def _worse(old: Agreement, new: Agreement) -> Agreement:
    return Agreement(
        min(old.cosine, new.cosine), max(old.difference, new.difference), max(old.max_abs, new.max_abs),
        np.maximum(old.rows, new.rows), old.resized or new.resized,
    )  # fmt: skip


def places(pair: Pair) -> tuple[Place, Place]:
    """Where the outputs of a pair are compared: after the activation, before it where only one has any."""
    a, b = pair.a, pair.b
    if bool(a.activation) != bool(b.activation) and a.before is not None and b.before is not None:
        return a.before, b.before
    return a.output, b.output


def _chunks(a: _Side, b: _Side, pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Pairs whose tensors together stay within `TAP_BUDGET`."""
    chunks: list[list[Pair]] = [[]]
    size = 0
    for pair in pairs:
        here, there = places(pair)
        need = a.bytes(here) + a.bytes(pair.a.input) + b.bytes(there) + b.bytes(pair.b.input)
        if chunks[-1] and size + need > TAP_BUDGET:
            chunks.append([])
            size = 0
        chunks[-1].append(pair)
        size += need
    return chunks


def _look(a: _Side, b: _Side, pairs: Sequence[Pair], clips: tuple[Clip, Clip], seen: dict[int, _Seen]) -> None:
    """Compare inputs and outputs of all pairs on one clip."""
    for chunk in _chunks(a, b, pairs):
        ours = a.fetch([p for x in chunk for p in (x.a.input, places(x)[0])], clips[0].feeds)
        theirs = b.fetch([p for x in chunk for p in (x.b.input, places(x)[1])], clips[1].feeds)
        for pair in chunk:
            here, there = places(pair)
            output = _agree(ours, here, theirs, there, pair.kernels)
            read = _agree(ours, pair.a.input, theirs, pair.b.input, pair.channels)
            old = seen.get(pair.a.index)
            if old is None:
                seen[pair.a.index] = _Seen(output, read)
            else:
                old.output, old.input = _worse(old.output, output), _worse(old.input, read)


def _agree(
    ours: Mapping[str, Array], here: Place, theirs: Mapping[str, Array], there: Place, order: Array
) -> Agreement:
    a, b = ours[here.tensor], theirs[there.tensor]
    batch = min(a.shape[0] if here.axis else 1, b.shape[0] if there.axis else 1)
    one, two = rows_of(a, here.axis, batch), rows_of(b, there.axis, batch)
    if len(one) != len(order) or len(two) != len(order):  # numbered over something else: not comparable
        return Agreement(0.0, 1.0, 0.0, np.ones(len(order)), resized=True)
    return agreement(one, two if np.array_equal(order, np.arange(len(order))) else two[order])


def _weigh_relevance(
    pairs: Sequence[Pair],
    ours: tuple[dict[int, Array], dict[str, Tube]],
    theirs: tuple[dict[int, Array], dict[str, Tube]],
    seen: Mapping[int, _Seen],
    size: tuple[int, int, int],
) -> None:
    """Compare relevance and tubes of all pairs on one clip."""
    for pair in pairs:
        mine, other = ours[0].get(pair.a.index), theirs[0].get(pair.b.index)
        if mine is None or other is None:
            continue
        other = other[pair.kernels]
        found = seen[pair.a.index]
        found.relevance = found.relevance or (mine, other)
        if (rank := spearman(mine, other)) is not None:
            found.ranks.append(rank)
        if (both := overlap(mine, other)) is not None:
            found.overlaps.append(both)
        tubes = ours[1].get(pair.a.name), theirs[1].get(pair.b.name)
        if tubes[0] is not None and tubes[1] is not None:
            found.tubes.append(tube_cosine(tubes[0], tubes[1], size))


# --------------------------------------------------------------------------------------------- parting


@dataclass(frozen=True)
class Judge:
    """What decides whether two things are the same.

    Attributes:
        outputs: Largest difference of outputs.
        weights: Largest difference of weights; None where only outputs count.
        biases: Largest difference of biases.
        precision: The coarsest numbers that one of the files keeps.
    """

    outputs: float
    weights: float | None
    biases: float | None
    precision: str

    @classmethod
    def of(cls, a: Network, b: Network, tolerance: float | None) -> Judge:
        """Tolerances for two files: as asked for, else by the coarsest numbers that one of them keeps."""
        precision = min((a.precision, b.precision), key=PRECISIONS.index)
        if precision == "float32" and a.rounded != b.rounded:
            precision = "float16"
        outputs = TOLERANCE[precision] if tolerance is None else tolerance
        if precision != "float32":
            return cls(outputs, None, None, precision)
        return cls(outputs, tolerance or WEIGHTS, tolerance or BIASES, precision)

    def agrees(self, value: Agreement) -> bool:
        """Whether two tensors are the same."""
        return value.difference <= self.outputs and not value.resized

    def findings(self, pair: Pair, weighed: Weighed | None) -> list[Finding]:
        """What differs in weights and biases by more than is allowed."""
        if weighed is None or self.weights is None or self.biases is None:
            return []
        return explain_weights(pair, weighed, limit_bias=self.biases)


@dataclass(frozen=True)
class _Case:
    """All that is known when the first parting is looked for."""

    a: Network
    b: Network
    alignment: Alignment
    seen: Mapping[int, _Seen]
    weighed: Mapping[int, Weighed]
    judge: Judge

    @property
    def names(self) -> tuple[Names, Names]:
        """What layers are called."""
        a, b = ({u.index: u.name for u in n.units} for n in (self.a, self.b))
        return Names(a, self.a.count), Names(b, self.b.count)

    def first(self) -> Parting | None:
        """Where the two part first, in the first file's order."""
        lone_a = {u.index: u for u in self.alignment.only_a}
        lone_b = {u.index: u for u in self.alignment.only_b}
        pairs = {p.a.index: p for p in self.alignment.pairs}
        for index in sorted([*pairs, *lone_a]):
            if index in lone_a:
                return Parting("only_a", lone_a[index].name, None, (), None, "this layer is only in A")
            pair = pairs[index]
            if new := sorted(above(pair.b) & set(lone_b)):
                return _only_b(lone_b[new[0]], pair.a.name)
            if (found := self._at(pair)) is not None:
                return found
        return _only_b(next(iter(lone_b.values())), None) if lone_b else None

    def _at(self, pair: Pair) -> Parting | None:
        seen = self.seen[pair.a.index]
        read, made = self.judge.agrees(seen.input), self.judge.agrees(seen.output)
        sources = [o for o in above(pair.a) if o in self.seen]
        if not read and all(self.judge.agrees(self.seen[o].output) for o in sources):
            return self._between(pair, self._concerned(pair, seen.input, sources))
        if (read and not made) or self.judge.findings(pair, self.weighed.get(pair.a.index)):
            return self._here(pair, seen)
        return None

    def _concerned(self, pair: Pair, read: Agreement, sources: Sequence[int]) -> list[int]:
        """Those of the layers above whose channels differ."""
        bad = read.rows > self.judge.outputs
        if read.resized or not bad.any():
            return list(sources)
        found = {int(o) for x in pair.a.arrivals for o in np.unique(x.owner[bad])}
        return [o for o in sources if o in found] or list(sources)

    def _between(self, pair: Pair, sources: Sequence[int]) -> Parting:
        pairs = {p.a.index: p for p in self.alignment.pairs}
        for index in sources:
            if silent := explain_activation(pairs[index].a, pairs[index].b):
                return Parting("layer", pairs[index].a.name, pairs[index].b.name, (), None, silent[0].text)
        found = explain_path(pair, self.alignment.owners, self.names) or explain_window(pair.a, pair.b)
        cause = "; ".join(f.text for f in found) or "what it reads differs, and nothing that can be seen explains it"
        if not sources:
            return Parting("input", pair.a.name, pair.b.name, (), pair.a.name, cause)
        last = pairs[max(sources)]
        return Parting("between", last.a.name, last.b.name, (), pair.a.name, cause)

    def _here(self, pair: Pair, seen: _Seen) -> Parting:
        found = self.findings(pair)
        if not found:
            bad = np.flatnonzero(seen.output.rows > self.judge.outputs)
            drift = {"int8": "numbers are rounded to 8 bits", "float16": "numbers are rounded to 16 bits"}
            why = drift.get(self.judge.precision, "nothing that can be seen in the file explains it")
            text = f"outputs differ in {_some(bad, pair.a.kernels)} by up to {seen.output.difference:.2g}; {why}"
            found = [Finding(text, _few(bad))]
        kernels = next((f.kernels for f in found if f.kernels), ())
        return Parting("layer", pair.a.name, pair.b.name, kernels, None, "; ".join(f.text for f in found))

    def findings(self, pair: Pair) -> list[Finding]:
        """What differs in a layer itself."""
        weights = self.judge.findings(pair, self.weighed.get(pair.a.index))
        return [*weights, *explain_window(pair.a, pair.b), *explain_activation(pair.a, pair.b)]


def _only_b(unit: Unit, reader: str | None) -> Parting:
    more = f"; {reader} reads it" if reader else ""
    return Parting("only_b", unit.name, unit.name, (), reader, f"this layer is only in B{more}")


def _results(case: _Case, theta: float) -> tuple[ComparedLayer, ...]:
    out = []
    for pair in case.alignment.pairs:
        seen, weighed = case.seen[pair.a.index], case.weighed.get(pair.a.index)
        bad = np.flatnonzero(seen.output.rows > case.judge.outputs)
        worst = bad[np.argsort(-seen.output.rows[bad], kind="stable")][:NAMED]
        texts = [f.text for f in case.findings(pair)]
        if seen.output.resized:
            texts.append("the outputs have different sizes; means over positions are compared")
        out.append(
            ComparedLayer(
                a=pair.a.name, b=pair.b.name, op=(pair.a.op, pair.b.op), evidence=pair.evidence,
                depth=(pair.a.depth, pair.b.depth), kernels=tuple(int(k) for k in pair.kernels),
                cosine=seen.output.cosine, difference=seen.output.difference, max_abs=seen.output.max_abs,
                input_difference=seen.input.difference,
                weight_difference=None if weighed is None else float(weighed.weights.max()),
                bias_difference=None if weighed is None else float(weighed.bias.max()),
                rank_correlation=_mean(seen.ranks), overlap=_mean(seen.overlaps), tube_cosine=_mean(seen.tubes),
                chosen=_chosen(seen.relevance, theta),
                relevance=((), ()) if seen.relevance is None else _both(seen.relevance),
                agrees=case.judge.agrees(seen.output) and not case.judge.findings(pair, weighed),
                worst=tuple(int(k) for k in worst), findings=tuple(texts),
            )
        )  # fmt: skip
    return tuple(out)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _both(pair: tuple[Array, Array]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(float(x) for x in pair[0]), tuple(float(x) for x in pair[1])


def _chosen(
    relevance: tuple[Array, Array] | None, theta: float
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernels chosen in both, only in the first, only in the second; the strongest first."""
    if relevance is None:
        return (), (), ()
    one, two = (rules.choose(r, theta=theta, top_k=None).tolist() for r in relevance)
    return (
        tuple(k for k in one if k in set(two)),
        tuple(k for k in one if k not in set(two)),
        tuple(k for k in two if k not in set(one)),
    )


# ---------------------------------------------------------------------------------------- public call


def compare(
    a: Model | str | os.PathLike[str],
    b: Model | str | os.PathLike[str],
    clips: Source | Sequence[Source],
    *,
    target: int | str | None = None,
    output: str | None = None,
    tolerance: float | None = None,
    theta: float = 0.6,
    depth: int | str = "all",
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    preprocess_b: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    tubes: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two files of one network on clips.

    Args:
        a: A model or its path.
        b: The other.
        clips: One clip or several (see `cfp_onnx.media.load_clip`); arrays have the first model's layout.
        target: Class whose relevance is compared; the first model's top-1 class on the first clip by default.
        output: Output to compare; the first by default.
        tolerance: Largest difference, as part of the largest value, that counts as the same; by default it depends
            on the numbers that the files keep (`TOLERANCE`).
        theta: Threshold of chosen kernels.
        depth: Deepest level whose relevance and tubes are compared, or ``"all"``; outputs and weights are compared
            everywhere.
        layout: Axes of an input, where they are ambiguous.
        labels: Class names; the first model's metadata by default.
        preprocess: How footage becomes input; each model's metadata by default.
        preprocess_b: The same for the second model, where it differs.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over.
        tubes: Whether tubes are compared.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    if tolerance is not None and not 0.0 < tolerance < np.inf:
        raise UsageError(f"tolerance is {tolerance}, it must be above 0")
    if not 0.0 <= theta <= 1.0:
        raise UsageError(f"theta is {theta}, it must lie between 0 and 1")
    levels = None if str(depth) == "all" else _level(depth)
    one, two = (m if isinstance(m, Model) else load(m) for m in (a, b))
    reader = _Reader(one, two, layout, preprocess, preprocess_b)
    listed = _listed(clips)
    if not listed:
        raise UsageError("there is no clip to compare on; give at least one")
    run = _Run((one, two), record.Device(device, threads), output, labels, levels, barriers=barriers, tubes=tubes)
    for n, source in enumerate(listed):
        if progress is not None:
            progress("comparing", n, len(listed))
        run.clip(reader.read(source), target)
    return run.finish(tolerance, theta)


def _level(depth: int | str) -> int:
    text = str(depth)
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"depth is {depth!r}, it must be a whole number of at least 1, or all")
    return int(text)


def _listed(clips: Source | Sequence[Source]) -> list[Source]:
    if isinstance(clips, str | os.PathLike | np.ndarray | Mapping):
        return [clips]
    return list(clips)


class _Run:
    """Both files, and what the clips so far said."""

    def __init__(
        self, models: tuple[Model, Model], device: record.Device, output: str | None, labels: Sequence[str] | None,
        depth: int | None, *, barriers: bool, tubes: bool,
    ) -> None:  # fmt: skip
        self.models, self.device, self.output = models, device, output
        self.labels = labels if labels is not None else models[0].labels
        self.depth, self.barriers, self.tubes = depth, barriers, tubes
        self.index: int | None = None
        self.clips: list[dict[str, Any]] = []
        self.outputs: list[tuple[Array, Array]] = []
        self.seen: dict[int, _Seen] = {}
        self.fed = True
        self._shapes: tuple[Any, ...] = ()
        self._sides: tuple[_Side, _Side] | None = None
        self._alignment: Alignment | None = None

    def sides(self, clips: tuple[Clip, Clip]) -> tuple[_Side, _Side]:
        """Engines for these clips; the old ones where the sizes are the same."""
        shapes = tuple(tuple(sorted((k, v.shape) for k, v in c.feeds.items())) for c in clips)
        if self._sides is None or shapes != self._shapes:
            a, b = (
                _Side.of(m, c, self.device, o, barriers=self.barriers)
                for m, c, o in zip(self.models, clips, (self.output, self._other_output()), strict=True)
            )
            _same_sizes(a, b)
            self._sides, self._shapes = (a, b), shapes
        return self._sides

    def _other_output(self) -> str | None:
        """The second file's output of the name asked for, or the one in its place."""
        ours, theirs = ([p.name for p in m.outputs] for m in self.models)
        if self.output is None or self.output in theirs or self.output not in ours:
            return self.output
        return theirs[min(ours.index(self.output), len(theirs) - 1)]

    def clip(self, clips: tuple[Clip, Clip], target: int | str | None) -> None:
        """Compare on one clip."""
        a, b = self.sides(clips)
        self.fed = self.fed and _fed_alike(a, b, clips)
        plain = a.engine.plain(clips[0].feeds), b.engine.plain(clips[1].feeds)
        if self.index is None:
            self.index = pick_class(a.engine, plain[0], target, self.labels)
        scores = a.engine.scores(plain[0][a.engine.output]), b.engine.scores(plain[1][b.engine.output])
        self.outputs.append(scores)
        pairs = self._aligned(a, b, clips).pairs
        _look(a, b, pairs, clips, self.seen)
        ours = a.relevance(clips[0].feeds, plain[0], self.index, self.depth, tubes=self.tubes)
        theirs = b.relevance(clips[1].feeds, plain[1], self.index, self.depth, tubes=self.tubes)
        size = clip_size(a.engine.program.shapes[a.main], a.engine.axes[a.main])
        _weigh_relevance(pairs, ours, theirs, self.seen, size or (1, 1, 1))
        shape = list(clips[0].feeds[a.main].shape)
        self.clips.append({"file": clips[0].file, "sha256": clips[0].sha256, "shape": shape})

    def _aligned(self, a: _Side, b: _Side, clips: tuple[Clip, Clip]) -> Alignment:
        """Which layer is which; activations are looked at only where weights and names leave something open."""
        if self._alignment is None:
            found = align(a.network, b.network)
            if found.only_a or found.only_b or any(p.evidence == "position" for p in found.pairs):
                found = align(a.network, b.network, means=(a.means(clips[0].feeds), b.means(clips[1].feeds)))
            self._alignment = found
        return self._alignment

    def finish(self, tolerance: float | None, theta: float) -> Comparison:
        """The result."""
        if self._sides is None or self._alignment is None or self.index is None:
            raise RunError("nothing was compared")
        (a, b), alignment, index = self._sides, self._alignment, self.index
        judge = Judge.of(a.network, b.network, tolerance)
        limit = np.inf if judge.weights is None else judge.weights
        folded = [p for p in alignment.pairs if p.a.scale is not None and p.b.scale is not None]
        weighed = {p.a.index: weigh(p, limit) for p in folded}
        case = _Case(a.network, b.network, alignment, self.seen, weighed, judge)
        outputs = _outputs(self.outputs, index)
        first = case.first() if self.fed else _OTHER_INPUT
        if first is None and outputs.difference > judge.outputs:
            first = _behind(a, b)
        names = self.labels or ()
        return Comparison(
            models=(_described(a, judge), _described(b, judge)), clips=tuple(self.clips),
            target={
                "output": a.engine.output, "index": index, "label": names[index] if index < len(names) else None,
                "depth": "all" if self.depth is None else self.depth,
            },
            tolerance={
                "outputs": judge.outputs, "weights": judge.weights, "given": tolerance is not None,
                "precision": judge.precision,
            },
            layers=_results(case, theta), first=first, outputs=outputs,
            only_a=tuple(u.name for u in alignment.only_a), only_b=tuple(u.name for u in alignment.only_b),
            same=first is None, notes=_notes(a, b),
        )  # fmt: skip


_OTHER_INPUT = Parting(
    "input", None, None, (), None,
    "the two files' own preprocessing makes different inputs of the clip; give one with --preprocess",
)  # fmt: skip


def _behind(a: _Side, b: _Side) -> Parting:
    """Every layer agrees, the answers do not."""
    head = max(a.network.heads)
    one, two = (", ".join(s.network.behind) or "nothing" for s in (a, b))
    cause = "every layer agrees, but what follows the classifier does not"
    if one != two:
        cause = f"the classifier is followed by {one} in A and by {two} in B"
    return Parting("output", a.engine.topology.layers[head].name, None, (), None, cause)


def _described(side: _Side, judge: Judge) -> dict[str, Any]:
    precision = side.network.precision
    if precision == "float32" and judge.precision == "float16" and side.network.rounded:
        precision = "float16"
    file = side.model
    return {
        "file": str(file.path), "sha256": file.sha256, "producer": file.producer, "opset": file.opset,
        "precision": precision, "layers": len(side.network.units),
    }  # fmt: skip


def _notes(a: _Side, b: _Side) -> tuple[str, ...]:
    out = []
    for letter, side in (("A", a), ("B", b)):
        coverage = side.engine.coverage
        if not coverage.complete:
            out.append(f"{letter} could be followed in part only: {100 * coverage.channels:.1f} % of its channels")
        if others := len(side.model.outputs) - 1:
            out.append(f"{letter} has {others} more output{'s' * (others > 1)}, not compared")
    return tuple(out)


def _outputs(scores: Sequence[tuple[Array, Array]], index: int) -> Outputs:
    found = [agreement(x[None], y[None]) for x, y in scores]
    first = scores[0]
    return Outputs(
        cosine=min(f.cosine for f in found),
        difference=max(f.difference for f in found),
        max_abs=max(f.max_abs for f in found),
        same_top=all(int(x.argmax()) == int(y.argmax()) for x, y in scores),
        scores=(float(first[0][index]), float(first[1][index])),
    )


# ---------------------------------------------------------------------------------------------- inputs


def _fed_alike(a: _Side, b: _Side, clips: tuple[Clip, Clip]) -> bool:
    """Whether both get the same numbers."""
    for name, other in _partners([p.name for p in a.model.inputs], [p.name for p in b.model.inputs]):
        one, two = (
            _channels_first(np.asarray(c.feeds[n], np.float32), s.engine.axes[n])
            for c, s, n in ((clips[0], a, name), (clips[1], b, other))
        )
        if one.shape != two.shape or agreement(one, two).difference > TOLERANCE["float32"]:
            return False
    return True


def _channels_first(value: Array, axis: int) -> Array:
    return rows_of(value, axis, 1) if value.ndim else value.reshape(1, 1)


def _partners(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, str]]:
    """Inputs of both files that belong together: by name, else by place."""
    return [(n, n if n in theirs else theirs[i]) for i, n in enumerate(ours)]


def _same_sizes(a: _Side, b: _Side) -> None:
    """Refuses two models that do not take and answer the same.

    Raises:
        UsageError: If their inputs or their class counts differ.
    """
    for name, other in _partners([p.name for p in a.model.inputs], [p.name for p in b.model.inputs]):
        one, two = _size_of(a, name), _size_of(b, other)
        if one != two:
            raise UsageError(
                f"{a.model.path} takes {name!r} with channels and sizes {_sizes(one)}, {b.model.path} takes {other!r} "
                f"with {_sizes(two)}; only networks with the same input can be compared"
            )
    ours, theirs = a.engine.classes()[0], b.engine.classes()[0]
    if ours != theirs:
        raise UsageError(
            f"{a.model.path} has {ours} classes and {b.model.path} has {theirs}; only networks with the same classes "
            "can be compared"
        )


def _size_of(side: _Side, name: str) -> tuple[int, ...]:
    """Channels, then the sizes of the other axes without the batch."""
    shape, axis = side.engine.program.shapes[name], side.engine.axes[name]
    return (*shape[axis : axis + 1], *(n for k, n in enumerate(shape) if k not in {0, axis}))


@dataclass(frozen=True)
class _Reader:
    """Makes what both models take of one clip."""

    a: Model
    b: Model
    layout: str | None
    preprocess: Preprocess | None
    preprocess_b: Preprocess | None

    def read(self, source: Source) -> tuple[Clip, Clip]:
        """The clip for the first and for the second model.

        Raises:
            UsageError: If the models have different numbers of inputs.
            ClipError: If one of them cannot take the clip.
        """
        from cfp_onnx.media import load_clip

        if len(self.a.inputs) != len(self.b.inputs):
            raise UsageError(
                f"{self.a.path} has {len(self.a.inputs)} inputs and {self.b.path} has {len(self.b.inputs)}; only "
                "networks with the same input can be compared"
            )
        ours, theirs = specs(self.a), specs(self.b)
        own = self._preprocess(self.a, self.preprocess)
        other = self._preprocess(self.b, self.preprocess_b or self.preprocess)
        here, there = self._layout(ours, own), self._layout(theirs, other)
        if self.layout is not None and self.layout.upper() not in {here, there}:
            here = self.layout  # which is refused in a sentence
        clip = load_clip(source, ours, preprocess=own, layout=here)
        if clip.frames is not None:
            return clip, load_clip(source, theirs, preprocess=other, layout=there)
        handed = _turned(clip, ours, theirs, there)
        try:
            return clip, load_clip(handed, theirs, preprocess=other, layout=there)
        except ClipError as error:
            raise ClipError(f"{self.b.path} cannot take what {self.a.path} takes: {error}") from error

    @staticmethod
    def _preprocess(model: Model, given: Preprocess | None) -> Preprocess:
        from cfp_onnx.media import Preprocess

        if given is not None:
            return given
        return Preprocess() if model.preprocess is None else Preprocess.from_json(dict(model.preprocess))

    def _layout(self, inputs: Sequence[InputSpec], preprocess: Preprocess) -> str | None:
        """The layout asked for, where this model can have it."""
        from cfp_onnx.media import layout_of

        if self.layout is None:
            return preprocess.layout
        try:
            return layout_of(inputs[0], self.layout)
        except CfpError:
            return preprocess.layout


def _turned(
    clip: Clip, ours: Sequence[InputSpec], theirs: Sequence[InputSpec], layout: str | None
) -> Array | dict[str, Array]:
    """The first model's arrays by the second's names, with their axes in its order where both orders are known."""
    from cfp_onnx.media import layout_of

    specs_of = {s.name: s for s in theirs}
    out: dict[str, Array] = {}
    for spec, (name, other) in zip(ours, _partners([s.name for s in ours], list(specs_of)), strict=True):
        array = clip.feeds[name]
        try:
            here = clip.layout if spec is ours[0] and clip.layout else layout_of(spec)
            there = layout_of(specs_of[other], layout if specs_of[other] is theirs[0] else None)
        except (UsageError, ModelError):
            here = there = ""
        if here != there and sorted(here) == sorted(there):
            array = np.ascontiguousarray(array.transpose([here.index(letter) for letter in there]))
        out[other] = array
    return out if len(out) > 1 else next(iter(out.values()))


__all__ = [
    "SCHEMA", "TOLERANCE", "Agreement", "ComparedLayer", "Comparison", "Finding", "Judge", "Names", "Outputs",
    "Parting", "Weighed", "agreement", "compare", "comparison_text", "cosine", "explain_activation", "explain_path",
    "explain_weights", "explain_window", "overlap", "parting_text", "places", "spearman", "tube_cosine", "weigh",
]  # fmt: skip
