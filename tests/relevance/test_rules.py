"""The table of rules: what each row says holds, and one more row is all that a new rule needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyramids import explained

from cfp_onnx.errors import UsageError
from cfp_onnx.pyramid import question
from cfp_onnx.relevance import rules
from cfp_onnx.relevance.field_walk import Field
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.relevance.positional import Positional
from cfp_onnx.relevance.rules import CLASS_STEPS, RULES, FieldWalk, PooledWalk, Rule, field_rules, rule_named

METHOD = (Path(__file__).resolve().parents[2] / "docs" / "method.md").read_text("utf-8")


class Magnitude(Positional):
    """The size of an effect instead of its sign."""

    def judge(self, tensor: str, field: Field) -> str:
        return self._probe.add("Abs", [super().judge(tensor, field)])


@pytest.fixture(params=[True, False])
def added(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rule:
    row = Rule(
        "magnitude", FieldWalk(lambda walk, hold: Magnitude(walk, hold=hold)),
        ("contribution", "contrast"), "contrast", (), lets_choose=True, second_walk=request.param,
        sentence="how large the effect is, for or against",
    )  # fmt: skip
    monkeypatch.setitem(RULES, row.name, row)
    return row


def test_a_rule_is_one_more_row(added: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    slopes = replace(added, name="slopes", walk=FieldWalk(lambda walk, hold: Positional(walk, hold=hold)))
    monkeypatch.setitem(RULES, slopes.name, slopes)
    signed, found = explained(rule=slopes.name, depth="all"), explained(rule=added.name, depth="all")
    assert found.run["rule"] == "magnitude"
    assert found.run["class_step"] == "contrast"
    for a, b in zip(signed.layers, found.layers, strict=True):
        if a.depth:
            assert min(b.relevance) >= 0
            assert (np.array(b.relevance) >= np.abs(a.relevance) * (1 - 1e-4) - 1e-6).all()
    assert sum(map(len, found.levels.values())) > 0
    assert np.isfinite(found.class_tube(depth=2)).all()


def test_without_a_second_walk_tubes_are_the_rules_own(added: Rule) -> None:
    held = explained(rule="positional", depth=2).class_tube(depth=2)
    found = explained(rule=added.name, depth=2).class_tube(depth=2)
    assert np.allclose(found, held, rtol=1e-4, atol=1e-6 * held.max()) is added.second_walk


def test_names_and_steps_are_consistent() -> None:
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.default_step in rule.class_steps
        assert set(rule.class_steps) <= set(CLASS_STEPS)
        assert set(rule.holds) <= set(HOLDS)
        assert rule.sentence == rule.sentence.strip()
        assert not rule.sentence.endswith(".")
    assert rules.DEFAULT in RULES
    assert {name for name in RULES if isinstance(RULES[name].walk, PooledWalk)} == set(RULES) - set(field_rules())


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_documentation_knows_every_rule(name: str) -> None:
    rows = [row for row in METHOD.splitlines() if row.startswith(f"| `{name}`")]
    assert rows, f"docs/method.md has no row for rule {name}"
    assert f"| {RULES[name].sentence} |" in rows[0]


def test_the_words_of_a_result_name_all_that_a_rule_may_hold() -> None:
    assert tuple(question.HELD) == HOLDS


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_runs_with_each_of_its_class_steps_and_no_other(name: str) -> None:
    for step in CLASS_STEPS:
        if step in RULES[name].class_steps:
            assert explained(rule=name, class_step=step, depth=1, tubes=False).run["class_step"] == step
        else:
            with pytest.raises(UsageError, match=f"rule {name} has no class step '{step}'"):
                explained(rule=name, class_step=step, depth=1, tubes=False)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="rule 'gradient' is unknown; choose one of positional, active"):
        rule_named("gradient")


def test_a_rule_of_the_other_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="rule mean works on pooled statistics; choose one of positional"):
        rule_named("mean").field()
    with pytest.raises(UsageError, match="rule zplus works inside the forward pass"):
        rule_named("zplus").pooled()
