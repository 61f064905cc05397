"""Which question a pyramid answers, in words: rather than what, and with what held at its recorded value."""

from __future__ import annotations

from collections.abc import Sequence

from cfp_onnx.pyramid.headers import RunHeader, TargetHeader, TopClass, class_name

HELD = {"norms": "a normalisation", "attention": "attention", "gates": "a gate"}
"""What a rule may hold, as a sentence names one of each."""

ALWAYS_HELD = {"grids": "the places at which a sampling looks"}
"""What no rule follows, as a sentence names it."""

NAMED = 2
"""Most rivals that a sentence names."""

WHOLE = 0.995
"""Sum of the rivals' shares from which on no other class is worth a word."""


def question(target: TargetHeader, run: RunHeader) -> str:
    """The class, and what it is set against: ``right, rather than clockwise``; indexes stand before names.

    Args:
        target: The class.
        run: How it was explained.
    """
    against = rather_than(target, run)
    return f"{target.title or class_name(target.index, target.label)}{against and f', {against}'}"


def rather_than(target: TargetHeader, run: RunHeader) -> str:
    """What the class is set against, as ``rather than clockwise``; empty where it is set against nothing.

    Args:
        target: The class.
        run: How it was explained. A file without `RunHeader.holds` is of a time when ``contrast`` meant the mean.
    """
    old = run.holds is None and run.class_step == "contrast" and len(target.top) > 1
    if run.against == "mean" or (run.against is None and old):
        return "rather than the mean of the others"
    if run.against is None:
        return ""
    return f"rather than {_rivals(run.rivals or (), shares=run.against == 'rivals') or _named(run.against)}"


def _rivals(rivals: Sequence[TopClass], *, shares: bool) -> str:
    if not shares:
        return class_name(rivals[0].class_index, rivals[0].label) if rivals else ""
    first = rivals[:NAMED]
    named = [f"{class_name(c.class_index, c.label)} ({100 * c.score:.0f} %)" for c in first]
    rest = [] if sum(c.score for c in first) >= WHOLE or not named else ["others"]
    return ", ".join(named) + "".join(f" and {word}" for word in rest)


def _named(against: str) -> str:
    """What it was set against, where no single class stands out."""
    return "the others as they compete" if against == "rivals" else against


def held(run: RunHeader) -> tuple[str, ...]:
    """What was held at its recorded value, of `HELD`: everything in a file that does not say.

    Args:
        run: How it was explained.
    """
    return tuple(HELD) if run.holds is None else run.holds


__all__ = ["ALWAYS_HELD", "HELD", "held", "question", "rather_than"]
