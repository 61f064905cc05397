"""Planted truth: weights written down for one answer, which removal confirms and rules must find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted import CASES, CIRCUITS
from planted.judge import Ranked, Removal, Vector, finds, lead
from planted.values import RULES, Plant, Written, written

from cfp_onnx.relevance import rules


@pytest.fixture(scope="module", params=CASES, ids=[f"{circuit.name}: {style.name}" for circuit, style in CASES])
def found(request: pytest.FixtureRequest) -> Written:
    return written(*request.param)


@pytest.fixture(scope="module")
def ranked(found: Written, tmp_path_factory: pytest.TempPathFactory) -> Ranked:
    return Ranked(found, tmp_path_factory.mktemp("planted"))


def largest(values: Vector) -> float:
    return float(np.abs(values).max(initial=0.0))


def assert_zeros_and_pairs(values: Vector, plant: Plant) -> None:
    """What is silent is 0, what is equal is equal, what cancels adds up to nothing."""
    mine = values[list(plant.kernels + plant.against)]
    assert largest(values[list(plant.silent)]) <= 0.002 * max(largest(values), 0.01), values
    if plant.equal:
        assert mine == pytest.approx(mine[0], rel=0.02)
    if plant.cancels:
        assert abs(mine.sum()) <= 0.02 * largest(mine)


def test_removal_confirms_what_was_planted(found: Written) -> None:
    removal = Removal(found)
    assert int(np.argmax(removal.scores())) == 0
    if found.circuit.other is not None:
        assert int(np.argmax(removal.scores(found.circuit.other()))) != 0
    for plant in found.circuit.plants:
        falls = removal.falls(plant.layer)
        if plant.kernels or plant.against:
            assert lead(falls, plant) > 0.3, (plant.layer, falls)
        assert_zeros_and_pairs(falls, plant)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_finds_what_it_can_see(rule: str, found: Written, ranked: Ranked) -> None:
    relevance = ranked.relevance(rule)
    plants = [p for p in found.circuit.plants if (p.kernels or p.against) and rule not in p.spelling_decides]
    assert plants
    expected = [(p.layer, p.seen_by(rule)) for p in plants]
    assert [(p.layer, finds(relevance.get(p.layer), p)) for p in plants] == expected, relevance


@pytest.mark.parametrize("rule", ["positional", "active"])
def test_relevance_keeps_zeros_and_pairs(rule: str, found: Written, ranked: Ranked) -> None:
    relevance = ranked.relevance(rule)
    for plant in found.circuit.plants:
        if plant.layer in relevance:
            assert_zeros_and_pairs(relevance[plant.layer], plant)


def test_holding_hides_what_it_holds_and_nothing_else(found: Written, ranked: Ranked) -> None:
    plants = [p for p in found.circuit.plants if p.kernels or p.against]
    one_by_one = any(p.needs for p in plants)
    for hold in [(name,) for name in rules.HOLDS] if one_by_one else [rules.HOLDS]:
        relevance = ranked.relevance("positional", hold)
        expected = [(p.layer, p.seen_by("positional", hold)) for p in plants]
        assert [(p.layer, finds(relevance.get(p.layer), p)) for p in plants] == expected, hold


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_whose_answer_hangs_on_the_spelling_finds_it_in_some(rule: str, tmp_path: Path) -> None:
    for circuit in CIRCUITS:
        for plant in (p for p in circuit.plants if rule in p.spelling_decides):
            results = (Ranked(written(circuit, s), tmp_path).relevance(rule) for s in circuit.styles)
            assert len({finds(r.get(plant.layer), plant) for r in results}) == 2


def test_the_table_is_whole() -> None:
    assert set(RULES) == set(rules.RULES)
    assert len({c.name for c in CIRCUITS}) == len(CIRCUITS) >= 12
    assert min(len({s.name for s in c.styles}) for c in CIRCUITS) >= 5
    plants = [p for c in CIRCUITS for p in c.plants if p.kernels or p.against]
    assert {p.needs for p in plants} == {None, *rules.HOLDS}
    assert all(p.seen_by("positional") for p in plants)
    for rule in set(RULES) - {"positional"}:
        assert {p.seen_by(rule) for p in plants} == {True, False}


def test_a_ranking_that_knows_nothing_finds_nothing(rng: np.random.Generator) -> None:
    found, tries = 0, 0
    for circuit, style in CASES[::5]:
        features = written(circuit, style).features
        for plant in (p for p in circuit.plants if p.kernels or p.against):
            count = features[plant.layer].kernels
            assert not finds(np.zeros(count), plant)
            assert not finds(None, plant)
            if count > 2:
                assert not finds(np.ones(count), plant)
                found, tries = found + finds(rng.standard_normal(count), plant), tries + 1
    assert found < tries / 4
