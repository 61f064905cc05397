"""Two files of one network: do they compute the same, and if not, where do they part?

Numbers decide: what each layer reads and what it makes of it, on the same clips, kernel by kernel under the alignment.
Weights, windows and wires explain, and tell what these clips happen not to show.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.comparison.differences import weigh
from cfp_onnx.comparison.inputs import fed_alike, same_sizes
from cfp_onnx.comparison.judge import Case, Judge, Seen, results
from cfp_onnx.comparison.measure import chunks_of, compare_relevance, compare_tensors, tensors_of
from cfp_onnx.comparison.result import Comparison
from cfp_onnx.comparison.side import Side
from cfp_onnx.comparison.values import ComparedClass, ComparedClip, ComparedFile, Outputs, Parting, Tolerance
from cfp_onnx.errors import RunError, UsageError
from cfp_onnx.explanation.options import deepest
from cfp_onnx.explanation.shared_clip import ModelInputs, Source, read_both
from cfp_onnx.matching.agreement import agreement
from cfp_onnx.matching.alignment import align
from cfp_onnx.matching.pairs import Alignment
from cfp_onnx.model import Model, load
from cfp_onnx.pyramid.tube_collector import clip_size
from cfp_onnx.values import Array, Progress

if TYPE_CHECKING:
    from cfp_onnx.clips.load import Clip, Preprocess


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
        clips: One clip or several (see `cfp_onnx.clips.load.load_clip`); arrays have the first model's layout.
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
    levels = deepest(depth)
    one, two = (m if isinstance(m, Model) else load(m) for m in (a, b))
    takers = ModelInputs.of(one, preprocess), ModelInputs.of(two, preprocess_b or preprocess)
    listed = _listed(clips)
    if not listed:
        raise UsageError("there is no clip to compare on; give at least one")
    run = _Run(
        (one, two), runtime.Device(device, threads), output, labels, levels, barriers=barriers, tubes=tubes,
        keep=len(listed) > 1,
    )  # fmt: skip
    for n, source in enumerate(listed):
        if progress is not None:
            progress("comparing", n, len(listed))
        run.clip(read_both(source, *takers, layout=layout), target)
    return run.finish(tolerance, theta)


def _listed(clips: Source | Sequence[Source]) -> list[Source]:
    if isinstance(clips, str | os.PathLike | np.ndarray | Mapping):
        return [clips]
    return list(clips)


class _Run:
    """Both files, and what the clips so far said."""

    def __init__(
        self, models: tuple[Model, Model], device: runtime.Device, output: str | None, labels: Sequence[str] | None,
        depth: int | None, *, barriers: bool, tubes: bool, keep: bool,
    ) -> None:  # fmt: skip
        self.models, self.device, self.output = models, device, output
        self.labels = labels if labels is not None else models[0].labels
        self.depth, self.barriers, self.tubes, self.keep = depth, barriers, tubes, keep
        self.index: int | None = None
        self.clips: list[ComparedClip] = []
        self.outputs: list[tuple[Array, Array]] = []
        self.seen: dict[int, Seen] = {}
        self.fed = True
        self._shapes: tuple[Any, ...] = ()
        self._sides: tuple[Side, Side] | None = None
        self._alignment: Alignment | None = None

    def sides(self, clips: tuple[Clip, Clip]) -> tuple[Side, Side]:
        """Engines for these clips; the old ones where the sizes are the same."""
        shapes = tuple(tuple(sorted((k, v.shape) for k, v in c.feeds.items())) for c in clips)
        if self._sides is None or shapes != self._shapes:
            a, b = (
                Side.of(m, c, self.device, o, barriers=self.barriers, keep=self.keep)
                for m, c, o in zip(self.models, clips, (self.output, self._other_output()), strict=True)
            )
            same_sizes(a, b)
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
        self.fed = self.fed and fed_alike(a, b, clips)
        plain = a.engine.plain(clips[0].feeds), b.engine.plain(clips[1].feeds)
        if self.index is None:
            self.index = a.engine.pick_class(plain[0], target, self.labels)
        scores = a.engine.scores(plain[0][a.engine.output]), b.engine.scores(plain[1][b.engine.output])
        self.outputs.append(scores)
        pairs = self._aligned(a, b, clips).pairs
        first, *others = chunks_of(a, b, pairs)
        tapped = tensors_of(first)
        ours, theirs = (
            side.relevance(clip.feeds, self.index, self.depth, tensors, tubes=self.tubes)
            for side, clip, tensors in zip((a, b), clips, tapped, strict=True)
        )
        compare_tensors(first, ours.tensors, theirs.tensors, self.seen)
        for chunk in others:
            one, two = (s.fetch(t, c.feeds) for s, c, t in zip((a, b), clips, tensors_of(chunk), strict=True))
            compare_tensors(chunk, one, two, self.seen)
        size = clip_size(a.engine.program.shapes[a.main], a.engine.axes[a.main])
        compare_relevance(pairs, ours, theirs, self.seen, size or (1, 1, 1))
        self.clips.append(ComparedClip(clips[0].file, clips[0].sha256, clips[0].feeds[a.main].shape))

    def _aligned(self, a: Side, b: Side, clips: tuple[Clip, Clip]) -> Alignment:
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
        case = Case(a.network, b.network, alignment, self.seen, weighed, judge)
        outputs = _outputs(self.outputs, index)
        first = case.first() if self.fed else _OTHER_INPUT
        if first is None and outputs.difference > judge.outputs:
            first = _behind(a, b)
        names = self.labels or ()
        return Comparison(
            models=(_described(a, judge), _described(b, judge)), clips=tuple(self.clips),
            target=ComparedClass(
                a.engine.output, index, names[index] if index < len(names) else None,
                "all" if self.depth is None else self.depth,
            ),
            tolerance=Tolerance(judge.outputs, judge.weights, tolerance is not None, judge.precision),
            layers=results(case, theta), first=first, outputs=outputs,
            only_a=tuple(u.name for u in alignment.only_a), only_b=tuple(u.name for u in alignment.only_b),
            same=first is None, notes=_notes(a, b),
        )  # fmt: skip


_OTHER_INPUT = Parting(
    "input", None, None, (), None,
    "the two files' own preprocessing makes different inputs of the clip; give one with --preprocess",
)  # fmt: skip


def _behind(a: Side, b: Side) -> Parting:
    """Every layer agrees, the answers do not."""
    head = max(a.network.heads)
    one, two = (", ".join(s.network.behind) or "nothing" for s in (a, b))
    cause = "every layer agrees, but what follows the classifier does not"
    if one != two:
        cause = f"the classifier is followed by {one} in A and by {two} in B"
    return Parting("output", a.engine.topology.layers[head].name, None, (), None, cause)


def _described(side: Side, judge: Judge) -> ComparedFile:
    precision = side.network.precision
    if precision == "float32" and judge.precision == "float16" and side.network.rounded:
        precision = "float16"
    file = side.model
    return ComparedFile(
        str(file.path), file.sha256, file.producer, file.opset, precision, len(side.network.units)
    )  # fmt: skip


def _notes(a: Side, b: Side) -> tuple[str, ...]:
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


__all__ = ["compare"]
