"""The two stages of a run, whatever the engine: a clip is decoded, and some decoded clips are explained together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.clips.clip import Clip
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.manifest import Manifest, Row
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.sources.choose import open_source
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.datasets.rows import Done, Failure, Layer
from cfp_onnx.errors import CfpError
from cfp_onnx.explanation.batch_relevance import BatchRelevance, ClipRelevance
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.model import Model
from cfp_onnx.values import Array

TARGETS = ("label", "predicted", "both")
"""Which class of a clip is explained."""


@dataclass(frozen=True)
class Decoding:
    """What a worker needs to decode clips; it is sent to each once.

    Attributes:
        specs: The network's inputs.
        preprocess: How footage becomes input.
        layout: Letters of the axes; None where the model tells.
    """

    specs: tuple[InputSpec, ...]
    preprocess: Preprocess
    layout: str | None


@dataclass(frozen=True)
class Decoded:
    """A clip on its way to the network.

    Attributes:
        row: Its row.
        feeds: The arrays of all inputs; None where it could not be read.
        reason: Why, in words.
    """

    row: Row
    feeds: Mapping[str, Array] | None
    reason: str = ""


def decode(decoding: Decoding, place: str, row: Row) -> Decoded:
    """Reads one clip.

    Args:
        decoding: How.
        place: Where it lies.
        row: Its row.
    """
    try:
        rate = None
        if row.unit == "seconds":
            rate = getattr(open_source(place), "rate", None)
        preprocess = row.preprocess(decoding.preprocess, rate)
        clip: Clip = load_clip(place, decoding.specs, preprocess=preprocess, layout=decoding.layout)
    except CfpError as error:
        return Decoded(row, None, str(error))
    except OSError as error:
        return Decoded(row, None, f"{place} cannot be read: {error.strerror or error}")
    return Decoded(row, clip.feeds)


@dataclass(frozen=True)
class Question:
    """What is asked of every clip.

    Attributes:
        rule: Name of a field rule.
        class_step: ``contrast`` or ``contribution``; None for the rule's own.
        against: ``mean``, ``rivals``, ``best`` or a class; None for the default.
        hold: What is held; None for what the rule holds.
        order: 1 or 2.
        depth: Deepest level; None for all.
        outputs: Outputs to explain; none for the one with classes.
        target: ``label``, ``predicted`` or ``both``.
    """

    rule: str
    class_step: str | None
    against: str | int | None
    hold: tuple[str, ...] | None
    order: int
    depth: int | None
    outputs: tuple[str, ...]
    target: str


@dataclass
class Explaining:
    """A network that is asked the same of many clips.

    Attributes:
        model: The file.
        question: What is asked.
        device: Where to run.
        barriers: Whether unknown operators are passed over and recorded.
        batch: Most clips of one pass.
        layers: The layers of the run, in the order of their numbers; `begin` finds them.
    """

    model: Model
    question: Question
    device: runtime.Device
    barriers: bool
    batch: int
    layers: tuple[Layer, ...] = ()
    _made: dict[tuple[tuple[str, tuple[int, ...]], ...], BatchRelevance] = field(default_factory=dict)

    def begin(self, feeds: Mapping[str, Array]) -> tuple[Layer, ...]:
        """Reads the network at the sizes of a first clip; the layers of all outputs.

        Raises:
            CfpError: If the network cannot be analysed, or the question not be asked of it.
        """
        self.layers = layers_of(self.relevance(feeds))
        return self.layers

    def relevance(self, feeds: Mapping[str, Array]) -> BatchRelevance:
        """What explains clips of these sizes; of a network whose graph depends on the clip, this very one."""
        key = tuple((name, np.shape(v)) for name, v in sorted(feeds.items()))
        found = self._made.get(key)
        if found is not None and not found.engine.program.model.by_clip:
            return found
        self._made.clear()  # one size at a time is kept in memory
        asked = self.question
        engine = Engine(
            self.model, feeds, device=self.device, output=asked.outputs[0] if asked.outputs else None,
            barriers=self.barriers,
        )  # fmt: skip
        self._made[key] = BatchRelevance(
            engine, outputs=asked.outputs, rule=asked.rule, class_step=asked.class_step, against=asked.against,
            hold=asked.hold, order=asked.order, depth=asked.depth, batch=self.batch,
        )  # fmt: skip
        return self._made[key]

    def explain(self, clips: Sequence[tuple[str, Decoded]]) -> tuple[list[Done], list[Failure]]:
        """Explains some clips, those of one size together.

        Args:
            clips: Keys with decoded clips.
        """
        done: list[Done] = []
        failed: list[Failure] = []
        groups: dict[tuple[tuple[int, ...], ...], list[tuple[str, Decoded, Mapping[str, Array]]]] = {}
        for key, clip in clips:
            if clip.feeds is None:
                failed.append(Failure(key, clip.row.id, "read", clip.reason))
                continue
            sizes = tuple(np.shape(v) for _, v in sorted(clip.feeds.items()))
            groups.setdefault(sizes, []).append((key, clip, clip.feeds))
        for group in groups.values():
            for start in range(0, len(group), max(1, self.batch)):
                self._together(group[start : start + max(1, self.batch)], done, failed)
        return done, failed

    def _together(
        self, clips: Sequence[tuple[str, Decoded, Mapping[str, Array]]], done: list[Done], failed: list[Failure]
    ) -> None:
        """Explains a batch; where it fails each clip alone, so that one does not take the others with it."""
        try:
            done += self._explained(clips)
        except CfpError as error:
            if len(clips) > 1:
                for one in clips:
                    self._together([one], done, failed)
                return
            key, clip, _ = clips[0]
            failed.append(Failure(key, clip.row.id, "run", str(error)))

    def _explained(self, clips: Sequence[tuple[str, Decoded, Mapping[str, Array]]]) -> list[Done]:
        relevance = self.relevance(clips[0][2])
        feeds = [f for _, _, f in clips]
        numbers = {(layer.output, layer.name): n for n, layer in enumerate(self.layers)}
        labels = [
            [label_at(clip.row, output, relevance.outputs) for output in relevance.outputs] for _, clip, _ in clips
        ]
        want_label = self.question.target != "predicted"
        first = relevance.run_heads(feeds, [[x if want_label else None for x in row] for row in labels])
        out = [
            _rows(relevance, key, clip.row, heads, row, numbers, asked="label" if want_label else "predicted")
            for (key, clip, _), heads, row in zip(clips, first, labels, strict=True)
        ]
        if self.question.target == "both":
            again = [n for n, heads in enumerate(first) if any(h.explained != h.predicted for h in heads)]
            second = relevance.run_heads([feeds[n] for n in again], [[None] * len(relevance.outputs) for _ in again])
            for n, heads in zip(again, second, strict=True):
                more = _rows(relevance, clips[n][0], clips[n][1].row, heads, labels[n], numbers, asked="predicted")
                out[n] += [m for m, h in zip(more, first[n], strict=True) if h.explained != h.predicted]
        return [row for rows in out for row in rows]


def label_at(row: Row, output: str, outputs: Sequence[str]) -> int | None:
    """A row's class at an output: of several that of the task of the same name."""
    return row.label if len(outputs) == 1 else row.heads.get(output)


def layers_of(relevance: BatchRelevance) -> tuple[Layer, ...]:
    """The layers of all outputs, in the order of the network."""
    topology = relevance.engine.topology
    return tuple(
        Layer(output, topology.layers[i].name, depths[i], topology.layers[i].kernels)
        for output, indices, depths in zip(relevance.outputs, relevance.layers, relevance.depths, strict=True)
        for i in indices
    )


def _rows(
    relevance: BatchRelevance,
    key: str,
    row: Row,
    heads: Sequence[ClipRelevance],
    labels: Sequence[int | None],
    numbers: Mapping[tuple[str, str], int],
    *,
    asked: str,
) -> list[Done]:
    layers = relevance.engine.topology.layers
    out = []
    for output, found, label in zip(relevance.outputs, heads, labels, strict=True):
        number = {i: numbers[output, layers[i].name] for i in found.relevance}
        why = "predicted" if label is None else asked
        score = float(found.scores[found.explained])
        kept = [{number[i]: x for i, x in each.items()} for each in (found.relevance, found.activation)]
        out.append(
            Done(
                key, row.id, row.group, label, why, found.explained, found.predicted, score, found.margin, output, *kept
            )
        )
    return out


def place_of(manifest: Manifest, row: Row) -> str:
    """Where a row's clip lies, as the readers of clips take it."""
    return os.fspath(manifest.place(row))


__all__ = ["TARGETS", "Decoded", "Decoding", "Explaining", "Question", "decode", "label_at", "layers_of", "place_of"]
