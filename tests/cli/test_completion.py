"""Completion, judged by the shells themselves: what they offer and what they put into the line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import shells

from cfp_onnx.cli.main import COMMANDS, parsers
from cfp_onnx.relevance.rules import CLASS_STEPS, RULES, field_rules

FLAGS = {
    command: {flag for action in parser.arguments() for flag in action.option_strings if flag.startswith("--")}
    for command, parser in parsers(COMMANDS)[1].items()
}

#: What a person types, and the whole set that is offered for its last word; folder as in `place`.
OFFERED = [
    ("", set(COMMANDS)),
    ("e", {"explain"}),
    ("-q co", {"compare", "convert", "completion"}),
    ("explain --rule ", set(RULES)),
    ("explain --rule p", {rule for rule in RULES if rule.startswith("p")}),
    ("explain m.onnx c.npy --theta -1 --rule z", {"zplus"}),
    ("baseline --rule ", set(field_rules())),
    ("explain --class-step ", set(CLASS_STEPS)),
    ("explain --animation ", {"mp4", "gif", "none"}),
    ("check --preset i", {"i3d", "imagenet"}),
    ("compare --device t", {"tensorrt"}),
    ("convert t", {"torch", "tensorflow", "tflite"}),
    ("convert --opset 17 pa", {"paddle"}),
    ("completion ", {"bash", "zsh", "fish"}),
    ("check --max", {"--max-drift", "--max-activity", "--max-weights", "--max-flips"}),
    ("explain m.onnx c.npy --th", {"--theta", "--threads"}),
    ("explain --theta ", set()),
    ("inspect m", {"model.onnx", "my folder/"}),
    ("explain mo", {"model.onnx"}),
    ("convert torch mo", {"model.onnx"}),
    ("compare a b c mo", {"model.onnx"}),
    ("check model.onnx mo", {"model.onnx"}),
    ("check --baseline mo", {"model.onnx"}),
    ("demo -o m", {"my folder/"}),
    ("explain --out m", {"my folder/"}),
]

#: What a person types, and the line after the tabulator key.
TYPED = [
    ("expl", "explain "),
    ("explain --rule pos", "explain --rule positional "),
    ("explain --rule=act", "explain --rule=active "),
    ("explain --tube relevance:d", "explain --tube relevance:depth "),
    ("explain --tube=relevance:d", "explain --tube=relevance:depth "),
    ("explain a", "explain a\\ clip.npy "),
    ('explain "a', 'explain "a clip.npy" '),
    ("explain --json=mo", "explain --json=model.onnx "),
    ("demo -o m", "demo -o my\\ folder/"),
    ("convert to", "convert torch "),
    ("explain --theta 1", "explain --theta 1"),
]


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "place"
    (folder / "my folder").mkdir(parents=True)
    (folder / "model.onnx").touch()
    (folder / "a clip.npy").touch()
    return folder


@pytest.fixture
def script(call, tmp_path):
    def write(shell: str) -> Path:
        shells.path_of(shell)
        code, out, err = call("completion", shell)
        assert (code, err) == (0, "")
        file = tmp_path / f"cfp-onnx.{shell}"
        file.write_text(out)
        return file

    return write


def bash_offers(script: Path, line: str, folder: Path) -> list[str]:
    """What the function of bash leaves in COMPREPLY for a line of plain words."""
    code = """source "$1"; shift; COMP_WORDBREAKS=' :='; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_cfp_onnx; printf '%s\\n' "${COMPREPLY[@]}" """
    words = line.split(" ")
    done = subprocess.run(
        ["bash", "-c", code, "bash", str(script), *words], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    found = [offer for offer in done.stdout.split("\n") if offer]
    return [f"{offer}/" if (folder / offer).is_dir() else offer for offer in found]


def same(found: list[str], expected: set[str]) -> None:
    """The offers are these, each once; options may stand beside commands."""
    assert len(set(found)) == len(found)
    assert {
        offer for offer in found if not offer.startswith("-") or any(e.startswith("-") for e in expected)
    } == expected


@pytest.mark.parametrize(("line", "expected"), OFFERED)
def test_bash_offers(script, place, line, expected):
    same(bash_offers(script("bash"), f"cfp-onnx {line}", place), expected)


@pytest.mark.parametrize(("line", "expected"), OFFERED)
def test_fish_offers(script, place, line, expected):
    same(shells.fish_offers(script("fish"), f"cfp-onnx {line}", place), expected)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_long_option_is_offered(script, place, command):
    assert set(bash_offers(script("bash"), f"cfp-onnx {command} --", place)) == FLAGS[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_fish_offers_every_long_option(script, place, command):
    assert set(shells.fish_offers(script("fish"), f"cfp-onnx {command} --", place)) == FLAGS[command]


def test_a_file_that_is_called_like_a_command_changes_nothing(script, place):
    for shell, offers in (("bash", bash_offers), ("fish", shells.fish_offers)):
        assert "--rule" not in offers(script(shell), "cfp-onnx inspect explain --", place)


@pytest.mark.parametrize(("typed", "line"), TYPED)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_line_after_the_tabulator(script, place, shell, typed, line):
    got, _ = shells.completed(shell, script(shell), f"cfp-onnx {typed}", place)
    assert got == f"cfp-onnx {line}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [row for row in OFFERED if row[0] in {"", "-q co", "explain --rule ", "convert t", "explain --theta ", "inspect m"}]
    + [("check --max", {"--max-drift", "--max-activity", "--max-weights", "--max-flips"})],
)
def test_zsh_offers(script, place, line, expected):
    _, found = shells.completed("zsh", script("zsh"), f"cfp-onnx {line}", place)
    assert set(found) == {offer.rstrip("/").replace(" ", "\\ ") for offer in expected}


@pytest.mark.parametrize("command", COMMANDS)
def test_zsh_offers_every_long_option(script, place, command):
    _, found = shells.completed("zsh", script("zsh"), f"cfp-onnx {command} --", place)
    assert set(found) == FLAGS[command]


def test_zsh_finds_the_script_in_its_folder_of_functions(script, place, tmp_path):
    (tmp_path / "functions").mkdir()
    script("zsh").rename(tmp_path / "functions" / "_cfp-onnx")
    (tmp_path / "nothing").touch()
    found, _ = shells.completed("zsh", tmp_path / "nothing", "cfp-onnx expl", place, functions=tmp_path / "functions")
    assert found == "cfp-onnx explain "


@pytest.mark.parametrize("words", [[], ["tcsh"], ["bash", "zsh"]])
def test_wrong_calls(refuses, words):
    refuses("completion", *words, says="see cfp-onnx")
