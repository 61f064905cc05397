"""Options that public calls share: one definition each, and no call that spells one differently."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import cfp_onnx as cfp
from cfp_onnx.cli.main import parsers
from cfp_onnx.cli.options import CLIP, RUN
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.options import ClipOptions, RunOptions, WalkOptions, deepest

SHARED = {
    cfp.explain: (ClipOptions, RunOptions, WalkOptions),
    cfp.compare: (ClipOptions, RunOptions),
    cfp.baseline: (ClipOptions, RunOptions),
}
#: A check takes its labels and its preprocessing from the baseline unless they are given.
PARTLY = {cfp.check: (ClipOptions, RunOptions)}
VERBS = (cfp.load, cfp.explain, cfp.compare, cfp.baseline, cfp.check, cfp.topology, cfp.convert)


def fields(kinds: tuple[type, ...]) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for kind in kinds for f in dataclasses.fields(kind)}


def options_of(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(call).parameters)


def described(call: Callable[..., Any]) -> dict[str, str]:
    """Argument names in a docstring to what stands behind them."""
    lines = inspect.cleandoc(call.__doc__ or "").split("Args:\n", 1)[1].splitlines()
    return {line.strip().split(":")[0]: line for line in lines if line.startswith("    ") and ":" in line}


@pytest.mark.parametrize("call", SHARED, ids=lambda c: c.__name__)
def test_a_call_has_every_field_of_what_it_shares(call: Callable[..., Any]) -> None:
    found = options_of(call)
    for name in fields(SHARED[call]):
        assert name in found, name
        assert found[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert name in described(call)


@pytest.mark.parametrize("call", [*SHARED, *PARTLY], ids=lambda c: c.__name__)
def test_shared_options_have_one_default_and_one_type(call: Callable[..., Any]) -> None:
    found = options_of(call)
    own = {"compare": {"depth"}}.get(call.__name__, set())  # a comparison goes to the end
    for name, field in fields((ClipOptions, RunOptions, WalkOptions)).items():
        if name in found and name not in own:
            assert found[name].default == field.default, name
            assert found[name].annotation == field.type, name


@pytest.mark.parametrize("verb", VERBS, ids=lambda c: c.__name__)
def test_a_verb_is_a_plain_function(verb: Callable[..., Any]) -> None:
    assert inspect.isfunction(verb)
    assert pickle.loads(pickle.dumps(verb)) is verb
    assert getattr(cfp, verb.__name__) is verb
    assert len(inspect.getdoc(verb) or "") > 40
    parameters = options_of(verb)
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    assert set(parameters) <= set(described(verb))


@pytest.mark.parametrize(("text", "number"), [("all", None), (1, 1), ("12", 12)])
def test_a_depth_is_a_number_or_all(text: int | str, number: int | None) -> None:
    assert deepest(text) == number


@pytest.mark.parametrize("text", ["0", -1, "two", "", "1.5", "²"])
def test_another_depth_is_refused(text: int | str) -> None:
    with pytest.raises(UsageError, match="whole number of at least 1, or all"):
        deepest(text)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"theta": 1.5}, "theta is 1.5"),
        ({"top_k": 0}, "top-k is 0"),
        ({"rule": "grad"}, "rule 'grad' is unknown"),
        ({"class_step": "weights"}, "rule positional has no class step"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        WalkOptions(**options).settings()


def test_the_command_line_has_a_flag_for_every_field() -> None:
    clip, run = ({row.destination: row for row in table} for table in (CLIP, RUN))
    told = {"barriers": "allow_barriers"}
    for field in dataclasses.fields(RunOptions):
        row = run.pop(told.get(field.name, field.name))
        assert row.default == field.default, field.name
    assert run == {}
    for name in ("layout", "labels"):
        assert clip.pop(name).default is None
    spelled = {"frames", "stride", "start", "end", "view_clips", "view_crops", "size", "mean", "std"}
    assert set(clip) == {"preprocess", "preset", *spelled}, "the rest are parts of a preprocessing"
    assert spelled <= {f.name for f in dataclasses.fields(cfp.Preprocess)}


def test_explain_takes_every_option_of_a_walk_by_its_default() -> None:
    _, parts = parsers(["explain"])
    found = {action.dest: action for action in parts["explain"].arguments()}
    for field in dataclasses.fields(WalkOptions):
        default = found[field.name].default
        assert str(default) == str(field.default), field.name
