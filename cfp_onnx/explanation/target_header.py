"""What a result says of its target: the class or value, the place, and how they were chosen."""

from __future__ import annotations

from collections.abc import Sequence

from cfp_onnx.explanation.classes import Classes, label_of, strongest
from cfp_onnx.explanation.network import Network
from cfp_onnx.explanation.values import Request
from cfp_onnx.graph.target import behind_target, comes_from_activation, final_function
from cfp_onnx.pyramid.headers import TargetHeader, class_name
from cfp_onnx.values import Array

TOP = 5
"""Strongest classes that a pyramid names."""


def target_header(
    network: Network, request: Request, value: Array, labels: Sequence[str] | None, at: str | int | None
) -> TargetHeader:
    """What a pyramid says of its target.

    Args:
        network: The network.
        request: The class and the place.
        value: What `Network.scored` holds on this clip.
        labels: Class names.
        at: The place, as it was asked for.
    """
    classes, index = request.classes, request.settings.index
    scores = classes.scores(value)
    if classes.direction is not None:
        return _along(network, classes, float(scores @ classes.direction), at)
    score, label, single = float(scores[index]), label_of(labels, index), classes.count == 1
    heads = set((request.settings.heads or {}).values())
    return TargetHeader(
        output=network.output, index=index, label=label, score=score,
        top=() if single else strongest(scores, labels, TOP, classes.among),
        title=_title(network, classes, index, label, at),
        turned=classes.turned or None,
        place=classes.place, places=classes.sizes if classes.place is not None else None,
        kernel=heads.pop() if len(heads) == 1 and index not in heads else None,
        notes=tuple(_notes(network, classes, score, at, named=labels is not None)) or None,
    )  # fmt: skip


def _along(network: Network, classes: Classes, score: float, at: str | int | None) -> TargetHeader:
    """What a pyramid says of a direction: its score is the output's length along it."""
    where = place_words(classes, at)
    return TargetHeader(
        output=network.output, index=0, label=None, score=score, top=(),
        title=f"output {network.output!r}{where and f' at {where}'} along the direction",
        place=classes.place, places=classes.sizes if classes.place is not None else None,
        notes=network.remarks or None,
    )  # fmt: skip


def _title(network: Network, classes: Classes, index: int, label: str | None, at: str | int | None) -> str | None:
    """What is explained, in words; None for a class as it is."""
    where = place_words(classes, at)
    where = f" at {where}" if where else ", mean over all places" if classes.dense else ""
    if classes.count > 1:
        return f"class {class_name(index, label)}{where}" if where else None
    name = label or f"output {network.output!r}"
    verbs = ("speaks for", "speaks against") if _is_sigmoid(network) else ("raises", "lowers")
    return f"{name}{where}: what {verbs[classes.turned]} it"


def place_words(classes: Classes, at: str | int | None = None) -> str:
    """A place as a sentence names it, such as ``box 17 of 8400``; empty where there is none."""
    if classes.place is None:
        return ""
    word, _, flat = str(at).rpartition(":")
    sizes = "x".join(map(str, classes.sizes))
    if at is not None and word.isalpha():
        return f"{word} {flat.strip()} of {sizes}"
    return f"place {','.join(map(str, classes.place))} of {sizes}"


def _is_sigmoid(network: Network) -> bool:
    return any(final_function(n) == "Sigmoid" for n in behind_target(network.program, network.scored, network.target))


def _notes(network: Network, classes: Classes, score: float, at: str | int | None, *, named: bool) -> list[str]:
    """How output and place were chosen, and on which side of a single output the clip lies."""
    notes = list(network.remarks)
    if classes.place is not None and (at is None or str(at).strip() == "strongest"):
        notes.append("each place has an answer of its own; this is the strongest of the class, --at takes another")
    if classes.count == 1 and _is_sigmoid(network) and (score < HALF) != classes.turned:
        side, answer = ("below", "no") if score < HALF else ("above", "yes")
        todo = "leave not: out" if classes.turned else "use --class not:0"
        notes.append(f"the value lies {side} one half, so the model says {answer}; {todo} to explain that")
    plain = network.output == network.scored == network.target
    if plain and not named and classes.count >= FEATURES and comes_from_activation(network.topology, network.target):
        notes.append(
            "these numbers come out of an activation: if they are features and no classes, use --direction own"
        )
    return notes


FEATURES = 64
"""Numbers from which on an output that no name and no Softmax speaks for may well be features."""

HALF = 0.5
"""Where a Sigmoid is undecided."""


__all__ = ["TOP", "place_words", "target_header"]
