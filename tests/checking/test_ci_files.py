"""A check for other programs and people: JUnit, Markdown, a page, a short table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import onnx
import pytest
from check_net import Array, network
from checked_demo import CLIPS

import cfp_onnx as cfp
from benchmarks.demo_model import DEMO, edited, times, weights
from cfp_onnx.checking.ci_files import junit, markdown
from cfp_onnx.cli import main as cli


def test_results_for_other_programs(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = edited(tmp_path / "a_b.onnx", weights("spatial.0", times(4)))
    names = {"--json": "c.json", "--junit": "j.xml", "--markdown": "m.md", "--html": "page"}
    options = [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]
    (tmp_path / "m.md").write_text("before\n")
    assert cli.main(["check", str(model), "--baseline", str(home / "baseline.json"), *options]) == 1
    out = capsys.readouterr().out
    assert "OTHER REASONS" in out
    assert "spatial.0.weight" in out
    assert "\x1b" not in out
    value = json.loads((tmp_path / "c.json").read_text())
    assert value["schema"] == "cfp-onnx/check"
    assert value["ok"] is False
    assert value == json.loads((tmp_path / "page" / "check.json").read_text())
    assert value["first"]["weight"] == "spatial.0.weight"
    root = ET.fromstring((tmp_path / "j.xml").read_text())
    suite = root[0]
    cases = list(suite)
    failed = [c for c in cases if c.find("failure") is not None]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(cases)), str(len(failed)))
    assert len(cases) == 1 + 16 + CLIPS
    assert "it begins here: weights changed" in failed[0].find("failure").get("message")
    assert len({(c.get("classname"), c.get("name")) for c in cases}) == len(cases)
    text = (tmp_path / "m.md").read_text()
    assert text.startswith("before\n### cfp-onnx check FAILED")
    assert "a\\_b.onnx" in text
    assert text.count("\n| ") == 17
    page = (tmp_path / "page" / "check.html").read_text()
    assert_sound(page)
    assert "Failed: other reasons" in page


class Tags(HTMLParser):
    """Open tags that wait for their end, and what was asked from elsewhere."""

    void = frozenset({"meta", "path", "rect", "line", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src"}:
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.void, tag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_sound(page: str) -> None:
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert all(link.startswith("#") and link[1:] in parser.ids for link in parser.links)
    assert "{{" not in page


def test_hostile_names_stay_text(home: Path, tmp_path: Path) -> None:
    found = cfp.check(DEMO, home / "baseline.json")
    evil = '<img src=x onerror="a">\x00|`_*'
    layer = replace(found.layers[0], name=evil, other=evil)
    bad = replace(found, layers=(layer,), notes=(evil,), missing=(evil,), model=replace(found.model, file=evil))
    from cfp_onnx.checking.ci_files import save_page

    page = save_page(bad, tmp_path).read_text()
    assert_sound(page)
    assert "<img" not in page
    ET.fromstring(junit(bad))
    assert "\\<img" in markdown(bad)
    assert "<img" in str(bad), "a terminal may show it"
    assert "\x00" not in str(bad)


def test_the_table_of_a_deep_network_is_short(home: Path, tmp_path: Path) -> None:
    found = cfp.check(edited(tmp_path / "edited.onnx", weights("spatial.0", times(4))), home / "baseline.json")
    fine = next(x for x in found.layers if not x.breaches)
    near = replace(fine, name="nearly", weights=0.9 * fine.limits.max_weights)
    many = [replace(fine, name=f"layer{n}") for n in range(40)]
    deep = replace(found, layers=(*many, near, *found.broken))
    text = str(deep)
    assert all(x.name in text for x in found.broken)
    assert "nearly" in text
    assert "28 more layers, all within their limits" in text
    assert "28 more layers, all within their limits" in markdown(deep)
    assert text.count("layer3") < 12
    assert "allowed" in text
    assert "< 15 %" in text
    assert len(ET.fromstring(junit(deep))[0]) == 1 + len(deep.layers) + CLIPS
    passed = str(replace(deep, layers=(*many, near), first=None, clips=()))
    assert "nearly" in passed
    assert "36 more layers" in passed
    worst = str(replace(deep, layers=tuple(replace(found.broken[0], name=f"bad{n}") for n in range(20))))
    assert "4 more layers, 4 of which broke a limit" in worst


def test_a_terminal_of_ascii_and_a_hostile_layer_name(clips: list[Path], tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "m.onnx"))
    model.graph.node[0].name = "ä\x1b[31m"
    onnx.save(model, tmp_path / "ü.onnx")

    def other(values: dict[str, Array]) -> None:
        values["w0"] *= 3

    network(tmp_path / "other.onnx", other)
    command = [sys.executable, "-m", "cfp_onnx"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(cfp.__file__).parents[1])}
    for words, code in (
        (["baseline", "ü.onnx", "clip0.npy", "-o", "ü.json"], 0),
        (["check", "ü.onnx", "--baseline", "ü.json", "--markdown", "-"], 0),
        (["check", "other.onnx", "--baseline", "ü.json", "-q"], 1),
    ):
        done = subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert done.returncode == code, done.stderr.decode()
        assert done.stderr == b""
        assert done.stdout.isascii()
        assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--html", ""], "the name of the output folder is empty"),
        (["--json", "one", "--junit", "one"], "cannot go to one file"),
        (["--max-flips", "-1"], "at least 0"),
    ],
)
def test_results_that_have_no_place_are_refused(
    tmp_path: Path, words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "m.onnx", "--baseline", "b.json", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
