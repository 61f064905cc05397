"""The rules, one row each: how relevance is walked, which class steps it takes, what it holds, a sentence for people.

Command line, library, checks and documentation read this table. A new rule is one more row, and its slow float64 twin
in the tests. Nothing heavy is imported before a rule is used, so that help texts can read the table too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cfp_onnx.errors import UsageError
from cfp_onnx.relevance.holds import HOLDS

if TYPE_CHECKING:
    from cfp_onnx.relevance.field_walk import FieldRule, Walk
    from cfp_onnx.relevance.pooled_walk import PooledRun
    from cfp_onnx.relevance.values import Walked

CLASS_STEPS = ("weights", "contribution", "contrast")
"""What the classifier hands to its features: its weights, weights times features, or that less the other classes'."""

FIELD_STEPS = CLASS_STEPS[1:]
"""Class steps of rules that start from a field at the classifier's output."""


@dataclass(frozen=True)
class FieldWalk:
    """A walk appended to the model: relevance comes out of the forward pass itself.

    Attributes:
        make: Makes the rule's object for one walk that holds what is named.
        second: The same to second order; None where the rule has none.
    """

    make: Callable[[Walk, tuple[str, ...]], FieldRule]
    second: Callable[[Walk, tuple[str, ...]], FieldRule] | None = None

    def of_order(self, order: int) -> Callable[[Walk, tuple[str, ...]], FieldRule]:
        """What makes the rule's object, to first or second order; see `Rule.ordered`."""
        return self.make if order == 1 or self.second is None else self.second


@dataclass(frozen=True)
class PooledWalk:
    """A walk in NumPy on statistics of one forward pass.

    Attributes:
        statistics: The mean of each channel (``pooled``), or of what each tap of each channel reads (``taps``).
        run: The walk.
    """

    statistics: Literal["pooled", "taps"]
    run: Callable[[PooledRun], Walked]


@dataclass(frozen=True)
class Rule:
    """One way to hand relevance down.

    Attributes:
        name: Its name on the command line and in results.
        walk: How it is walked.
        class_steps: Class steps that it takes.
        default_step: The one it takes by itself.
        holds: What it keeps at its recorded value by itself: some of `HOLDS`.
        lets_choose: Whether it can be asked to hold something else.
        second_walk: Whether the class's tubes come from a further walk, by `positional` with all held, because the
            rule's own relevance has no places, or terms that cancel.
        recurrent: Whether it passes recurrent layers.
        sentence: What it does, for people.
    """

    name: str
    walk: FieldWalk | PooledWalk
    class_steps: tuple[str, ...]
    default_step: str
    holds: tuple[str, ...]
    lets_choose: bool
    second_walk: bool
    sentence: str
    recurrent: bool = False

    def step(self, asked: str | None) -> str:
        """The class step asked for, or the rule's own.

        Raises:
            UsageError: If the rule does not take it.
        """
        step = asked or self.default_step
        if step not in self.class_steps:
            raise UsageError(
                f"rule {self.name} has no class step {step!r}; choose one of {', '.join(self.class_steps)}"
            )
        return step

    def held(self, asked: Sequence[str] | None) -> tuple[str, ...]:
        """What is held: as asked for, or what the rule holds by itself, in the order of `HOLDS`.

        Args:
            asked: Some of `HOLDS`; None for the rule's own.

        Raises:
            UsageError: If something else is named, or the rule does not let one choose.
        """
        if asked is None:
            return self.holds
        unknown = [name for name in asked if name not in HOLDS]
        if unknown:
            raise UsageError(f"hold names {unknown[0]!r}; choose of {', '.join(HOLDS)}, or all, or none")
        found = tuple(name for name in HOLDS if name in asked)
        if not self.lets_choose and found != self.holds:
            raise UsageError(f"rule {self.name} holds {', '.join(self.holds)} always; only positional lets one choose")
        return found

    @property
    def orders(self) -> int:
        """How many orders it has."""
        return 2 if isinstance(self.walk, FieldWalk) and self.walk.second is not None else 1

    def ordered(self, order: int) -> int:
        """The order asked for: 1, or 2 where the rule has a second.

        Raises:
            UsageError: If it is another, or the rule has none.
        """
        if order not in {1, 2}:
            raise UsageError(f"order is {order}, it must be 1 or 2")
        if order > self.orders:
            raise UsageError(f"rule {self.name} has no second order; only positional does")
        return order

    def field(self) -> FieldWalk:
        """Its walk, of a rule whose relevance comes out of the forward pass itself.

        Raises:
            UsageError: If it is another kind of rule.
        """
        if not isinstance(self.walk, FieldWalk):
            raise UsageError(f"rule {self.name} works on pooled statistics; choose one of {', '.join(field_rules())}")
        return self.walk

    def pooled(self) -> PooledWalk:
        """Its walk, of a rule that works on statistics.

        Raises:
            UsageError: If it is another kind of rule.
        """
        if not isinstance(self.walk, PooledWalk):
            raise UsageError(f"rule {self.name} works inside the forward pass; it has no statistics")
        return self.walk


def _positional(walk: Walk, hold: tuple[str, ...]) -> FieldRule:
    from cfp_onnx.relevance.positional import Positional

    return Positional(walk, hold=hold, whole=False)


def _curved(walk: Walk, hold: tuple[str, ...]) -> FieldRule:
    from cfp_onnx.relevance.curvature import Curved

    return Curved(walk, hold=hold)


def _active(walk: Walk, _hold: tuple[str, ...]) -> FieldRule:
    from cfp_onnx.relevance.positional import active

    return active(walk)


def _zplus(walk: Walk, _hold: tuple[str, ...]) -> FieldRule:
    from cfp_onnx.relevance.zplus import ZPlus

    return ZPlus(walk)


def _published(run: PooledRun) -> Walked:
    from cfp_onnx.relevance.pooled_walk import published

    return published(run.topology, run.depths, run.means, run.settings, run.mean_weights)


def _mean(run: PooledRun) -> Walked:
    from cfp_onnx.relevance.pooled_walk import mean_rule

    return mean_rule(run.topology, run.depths, run.taps, run.settings, run.states)


DEFAULT = "positional"

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "positional", FieldWalk(_positional, _curved), FIELD_STEPS, "contrast", (), lets_choose=True,
            second_walk=True,
            recurrent=True, sentence="how far the class's score follows each kernel's map, position by position",
        ),
        Rule(
            "active", FieldWalk(_active), FIELD_STEPS, "contrast", HOLDS, lets_choose=False, second_walk=True,
            recurrent=True, sentence="positional, with every activated map pooled before it hands relevance down",
        ),
        Rule(
            "zplus", FieldWalk(_zplus), FIELD_STEPS, "contrast", HOLDS, lets_choose=False, second_walk=True,
            sentence="shares of the positive contributions alone (LRP z+): clean maps, a weaker ranking",
        ),
        Rule(
            "published", PooledWalk("pooled", _published), CLASS_STEPS, "weights", HOLDS, lets_choose=False,
            second_walk=True,
            sentence="the paper's: mean weights times mean activations, scaled to 0..1 in each kernel",
        ),
        Rule(
            "mean", PooledWalk("taps", _mean), CLASS_STEPS, "contribution", HOLDS, lets_choose=False, second_walk=True,
            sentence="positive shares of the exact contributions to each kernel's mean output",
        ),
    )
}  # fmt: skip


def rule_named(name: str) -> Rule:
    """The row of a rule.

    Raises:
        UsageError: If there is none.
    """
    if name not in RULES:
        raise UsageError(f"rule {name!r} is unknown; choose one of {', '.join(RULES)}")
    return RULES[name]


def field_rules() -> tuple[str, ...]:
    """Names of the rules whose relevance comes out of the forward pass itself."""
    return tuple(name for name, rule in RULES.items() if isinstance(rule.walk, FieldWalk))


__all__ = [
    "CLASS_STEPS", "DEFAULT", "HOLDS", "RULES", "FieldWalk", "PooledWalk", "Rule", "field_rules", "rule_named",
]  # fmt: skip
