"""The place of a dense output that is explained: what ``--at`` may be, and how a place is called."""

from __future__ import annotations

import re

import numpy as np

from cfp_onnx.errors import TargetError
from cfp_onnx.explanation.classes import Classes
from cfp_onnx.relevance.rules import FieldWalk, Rule

MEAN = "mean"
"""What asks for the mean over all places."""

STRONGEST = "strongest"
"""What asks for the place where the class has its highest score."""


def asked_place(at: str | int | None, classes: Classes, *, file: object) -> tuple[int, ...] | str:
    """A place along the target's axes of places, or `MEAN` or `STRONGEST`.

    Args:
        at: ``box:17`` (or any other word; places are counted through), ``17``, ``y,x`` or ``t,y,x``; None for the
            strongest of a dense output, and the mean of others.
        classes: How the classes lie in the output.
        file: The model's file, for sentences.

    Raises:
        TargetError: If there is no such place.
    """
    if at is None:
        return STRONGEST if classes.dense else MEAN
    text = str(at).strip()
    if text in {MEAN, STRONGEST}:
        return text
    if not classes.places:
        raise TargetError(f"the scores of {file} have no places, so there is none at {text!r}; leave --at out")
    word, _, number = text.rpartition(":")
    parts = [p.strip() for p in number.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,9}", p) for p in parts):
        raise TargetError(f"--at takes a place, such as {examples(classes)}, or strongest or mean; not {text!r}")
    values, sizes = [int(p) for p in parts], classes.sizes
    if len(values) == 1 and (word or len(sizes) == 1):
        total = int(np.prod(sizes))
        if values[0] >= total:
            raise TargetError(f"there is no place {values[0]}; the output of {file} has {total}, 0 to {total - 1}")
        return tuple(int(i) for i in np.unravel_index(values[0], sizes))
    if len(values) != len(sizes) or any(v >= n for v, n in zip(values, sizes, strict=True)):
        raise TargetError(
            f"there is no place {text!r}; the output of {file} has {' x '.join(map(str, sizes))} places, "
            f"such as {examples(classes)}"
        )
    return tuple(values)


def usual_place(at: str | int | None, rule: Rule) -> str | int | None:
    """The place asked for, or the mean under a rule that looks at nothing else.

    Args:
        at: As it was asked for.
        rule: The rule.
    """
    return MEAN if at is None and not isinstance(rule.walk, FieldWalk) else at


def examples(classes: Classes) -> str:
    """Places of an output as ``--at`` takes them."""
    middle = [n // 2 for n in classes.sizes]
    flat = int(np.ravel_multi_index(middle, classes.sizes)) if middle else 0
    return f"box:{flat}" if len(middle) < 2 else f"{','.join(map(str, middle))} or box:{flat}"


__all__ = ["MEAN", "STRONGEST", "asked_place", "examples", "usual_place"]
