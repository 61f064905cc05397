"""What clips show of two files: their scores, and how far tensors and relevance of the same layers agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cfp_onnx.comparison.inputs import fed_alike, same_sizes
from cfp_onnx.comparison.judge import Seen
from cfp_onnx.comparison.measure import chunks_of, compare_relevance, compare_tensors, tensors_of
from cfp_onnx.comparison.side import Side
from cfp_onnx.comparison.values import ComparedClip
from cfp_onnx.matching.alignment import align
from cfp_onnx.matching.pairs import Alignment
from cfp_onnx.pyramid.tube_collector import clip_size
from cfp_onnx.values import Array

if TYPE_CHECKING:
    from cfp_onnx.clips.clip import Clip


@dataclass(frozen=True)
class ClipRequest:
    """What is looked at on every clip.

    Attributes:
        target: The class by index or label; the first file's strongest on the first clip where None.
        labels: Class names.
        depth: Deepest level whose relevance is compared; None for all.
        tubes: Whether tubes are compared.
    """

    target: int | str | None
    labels: Sequence[str] | None
    depth: int | None
    tubes: bool


@dataclass
class Observed:
    """What the clips so far showed.

    Attributes:
        index: The class.
        alignment: Which layer of one file is which of the other.
        clips: The clips.
        scores: (classes,) scores of both files on each clip.
        seen: How far each pair of layers agrees, by index of the first file's layer.
        fed_alike: Whether both files got the same numbers of every clip.
    """

    index: int
    alignment: Alignment
    clips: list[ComparedClip] = field(default_factory=list)
    scores: list[tuple[Array, Array]] = field(default_factory=list)
    seen: dict[int, Seen] = field(default_factory=dict)
    fed_alike: bool = True


def observe(a: Side, b: Side, clips: tuple[Clip, Clip], wanted: ClipRequest, before: Observed | None) -> Observed:
    """Look at one clip.

    Args:
        a: The first file at the clip's sizes.
        b: The second.
        clips: The clip as each file takes it.
        wanted: What is looked at.
        before: What the clips before showed, which this one is added to; None for the first.

    Raises:
        CfpError: If the files cannot be compared or run.
    """
    same_sizes(a, b)
    alike = fed_alike(a, b, clips)
    plain = a.engine.plain(clips[0].feeds), b.engine.plain(clips[1].feeds)
    index = a.engine.pick_class(plain[0], wanted.target, wanted.labels) if before is None else before.index
    scores = a.engine.scores(plain[0][a.engine.scored]), b.engine.scores(plain[1][b.engine.scored])
    found = before or Observed(index, _aligned(a, b, clips))
    found.fed_alike = found.fed_alike and alike
    found.scores.append(scores)
    _compare(a, b, clips, wanted, found)
    found.clips.append(ComparedClip(clips[0].file, clips[0].sha256, clips[0].feeds[a.main].shape))
    return found


def _aligned(a: Side, b: Side, clips: tuple[Clip, Clip]) -> Alignment:
    """Which layer is which; activations are looked at only where weights and names leave something open."""
    found = align(a.network, b.network)
    if found.only_a or found.only_b or any(p.evidence == "position" for p in found.pairs):
        found = align(a.network, b.network, means=(a.means(clips[0].feeds), b.means(clips[1].feeds)))
    return found


def _compare(a: Side, b: Side, clips: tuple[Clip, Clip], wanted: ClipRequest, found: Observed) -> None:
    """Compare tensors, as many in one pass as memory allows, and relevance, which comes with the first pass."""
    pairs = found.alignment.pairs
    first, *others = chunks_of(a, b, pairs)
    ours, theirs = (
        side.relevance(clip.feeds, found.index, wanted.depth, tensors, tubes=wanted.tubes)
        for side, clip, tensors in zip((a, b), clips, tensors_of(first), strict=True)
    )
    compare_tensors(first, ours.tensors, theirs.tensors, found.seen)
    for chunk in others:
        one, two = (s.fetch(t, c.feeds) for s, c, t in zip((a, b), clips, tensors_of(chunk), strict=True))
        compare_tensors(chunk, one, two, found.seen)
    axis = a.engine.axes[a.main]
    size = None if axis is None else clip_size(a.engine.program.shapes[a.main], axis)
    compare_relevance(pairs, ours, theirs, found.seen, size or (1, 1, 1))


__all__ = ["ClipRequest", "Observed", "observe"]
