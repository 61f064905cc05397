"""Shared options: one table a group, the same in every command; what is suggested is what the library takes."""

from __future__ import annotations

import argparse
import ast
import dataclasses
from pathlib import Path

import pytest

from cfp_onnx.cli.commands.convert import CHANGES
from cfp_onnx.cli.completion import FILES, FOLDERS
from cfp_onnx.cli.main import COMMANDS, parsers
from cfp_onnx.cli.options import CLIP, DRAWING, RUN, tube
from cfp_onnx.clips import presets
from cfp_onnx.conversion import call
from cfp_onnx.pyramid.drawings import ANIMATIONS, DrawingOptions
from cfp_onnx.relevance import rules

CONVERTERS = Path(__file__).resolve().parents[2] / "converters"
TAKERS = {
    "explain": (*CLIP, *RUN, *DRAWING),
    "compare": (*CLIP, *RUN),
    "baseline": (*CLIP, *RUN),
    "check": (*(row for row in CLIP if row.destination != "labels"), *RUN),
    "convert": CLIP,
    "dataset": (*CLIP, *RUN),
    "manifest": tuple(row for row in CLIP if row.destination == "labels"),
    "inspect": tuple(row for row in RUN if row.destination == "allow_barriers"),
}


def actions(command: str) -> dict[str, argparse.Action]:
    _, parts = parsers([command])
    return {action.dest: action for action in parts[command].arguments()}


def parsed(command: str, *argv: str) -> argparse.Namespace:
    _, parts = parsers([command])
    return parts[command].parse_args(argv)


@pytest.mark.parametrize("command", TAKERS)
def test_a_command_takes_the_rows_of_the_tables(command):
    taken = actions(command)
    for row in TAKERS[command]:
        action = taken[row.destination]
        want = row._replace(**CHANGES.get(row.destination, {})) if command == "convert" else row
        assert action.option_strings == [row.flag]
        assert (action.help, action.metavar) == (want.help, want.metavar)
        assert action.nargs == (0 if row.type is bool else None)
        assert row.type is bool or action.type is want.type


def test_no_command_has_an_option_of_a_table_of_its_own():
    rows = {row.flag: row for row in (*CLIP, *RUN, *DRAWING)}
    for command in COMMANDS:
        shared = {flag for action in actions(command).values() for flag in action.option_strings} & set(rows)
        assert shared == {row.flag for row in TAKERS.get(command, ())}


def test_rows_say_how_an_option_is_read():
    one = parsed(
        "explain", "m", "c", "--size", "8x9", "--tube", "activation", "--tube", "relevance:layer", "--std", "2"
    )
    assert (one.size, one.tube, one.std) == ((8, 9), [("activation", "kernel"), ("relevance", "layer")], (2.0,))
    assert parsed("explain", "m", "c", "--threads", "2", "--allow-barriers", "--mean", "1,2,3").__dict__.items() >= {
        ("threads", 2), ("allow_barriers", True), ("mean", (1.0, 2.0, 3.0)),
    }  # fmt: skip
    plain = parsed("explain", "m", "c")
    assert (plain.tube, plain.tube_top, plain.animation, plain.device) == ([], 3, "mp4", "auto")
    assert (plain.allow_barriers, plain.size, plain.preset) == (False, None, None)
    assert parsed("explain", "m", "c").tube is not plain.tube
    assert parsed("convert", "torch", "-o", "x", "--size", "8").size == (8, 8)


def suggested(command: str) -> dict[str, tuple[str, ...]]:
    _, parts = parsers([command])
    return parts[command].suggestions


def archs() -> list[str]:
    """Names of ``--arch``, read from the converter's source: it needs PyTorch to be imported."""
    tree = ast.parse((CONVERTERS / "torch" / "archs.py").read_text("utf-8"))
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id in {"depths", "ARCHS"}:
                found[target.id] = [key.value for key in node.value.keys if key is not None]
    return [f"resnet{n}-3d{suffix}" for suffix in ("", "-a") for n in found["depths"]] + found["ARCHS"]


def test_suggestions_are_what_the_library_takes():
    assert suggested("explain")["rule"] == tuple(rules.RULES)
    assert suggested("baseline")["rule"] == rules.field_rules()
    assert suggested("explain")["class_step"] == rules.CLASS_STEPS
    assert suggested("convert")["framework"] == call.FRAMEWORKS
    assert suggested("convert")["arch"] == tuple(archs())
    for command in ("explain", "compare", "baseline", "check", "convert"):
        assert suggested(command)["preset"] == tuple(presets.PRESETS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_suggestion_is_taken(command):
    taken = actions(command)
    for destination, values in suggested(command).items():
        action = taken[destination]
        for value in values:
            assert action.type is None or action.type(value) is not None


def test_suggested_tubes_are_all_there_are():
    given = suggested("explain")["tube"]
    kinds, units = ("activation", "relevance"), ("kernel", "layer", "depth")
    pairs = {(kind, unit) for kind in kinds for unit in units}
    assert {tube(text) for text in given} == {*pairs, ("evidence", "class"), ("evidence", "layer")}
    assert len(set(given)) == len(given)


def test_options_of_a_drawing_are_those_of_the_library():
    rows, fields = {row.destination: row for row in DRAWING}, dataclasses.fields(DrawingOptions)
    assert list(rows) == [field.name for field in fields]
    for field in fields:
        assert rows[field.name].flag == "--" + field.name.replace("_", "-")
        assert rows[field.name].default == field.default
    assert rows["animation"].choices == ANIMATIONS


FREE = {
    "NAME=1,3,16,112,112", "[NAME=]1,3,16,112,112", "INDEX|LABEL", "NAME", "STEP", "X", "K", "N", "S", "HxW", "S|HxW",
    "R,G,B", "NCTHW|..", "NAME=VALUE|FILE", "1|3",
}  # fmt: skip
"""Metavars of values that a shell cannot know."""


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_known_of_every_value_whether_it_is_a_file(command):
    for action in actions(command).values():
        if action.nargs != 0 and not action.choices and action.dest not in suggested(command):
            assert action.metavar in FILES | FOLDERS | FREE, f"{command} {action.option_strings or action.dest}"
