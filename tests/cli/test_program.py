"""The program around a command: failures in one line, exit codes, the process, help."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_net import strict

import cfp_onnx
from cfp_onnx.cli.main import COMMANDS, main


def test_odd_names_stay_on_one_line(refuses, tiny, tmp_path):
    refuses("explain", tiny, tmp_path / "a\nb\x1b[31m.mp4", says="\\x1b[31m")


def test_unforeseen_failures_say_so(call, tiny, monkeypatch):
    from cfp_onnx import model

    def broken(_):
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(model, "load", broken)
    code, out, err = call("inspect", tiny)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "ZeroDivisionError: two lines" in err
    assert "--debug" in err
    code, _, err = call("inspect", tiny, "--debug")
    assert code == 2
    assert "Traceback" in err


def test_memory_and_interrupts(call, tiny, monkeypatch):
    from cfp_onnx import model

    for failure, code in ((MemoryError(), 4), (KeyboardInterrupt(), 130)):

        def broken(_, failure=failure):
            raise failure

        monkeypatch.setattr(model, "load", broken)
        got, _, err = call("inspect", tiny)
        assert (got, err.count("\n")) == (code, 1)


def test_debug_shows_the_traceback(call, tmp_path):
    code, _, err = call("inspect", tmp_path / "none.onnx", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("cfp-onnx: error: ")


def process(*argv, **more):
    return subprocess.run(
        [sys.executable, "-m", "cfp_onnx", *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **more,
    )


def test_the_module_runs_and_stdout_is_pure_json(tiny, clip):
    done = process("explain", tiny, clip, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert strict(done.stdout)["schema"] == "cfp-onnx/pyramid"


def test_a_failing_process(tmp_path):
    done = process("inspect", tmp_path / "none.onnx")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("more", [["--json", "-"], []])
def test_a_reader_that_goes_away_is_no_error(tiny, more):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "cfp_onnx", "inspect", str(tiny), *more],
            stdout=stream, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_version_and_help(capsys):
    for argv, says in (
        (["--version"], cfp_onnx.__version__),
        (["--help"], "doctor"),
        (["explain", "--help"], "--theta"),
    ):
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert end.value.code == 0
        assert says in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor as a shell does")
@pytest.mark.parametrize("closed", ["1", "2", "1 2"])
def test_a_process_without_streams_works(tiny, closed):
    shut = " ".join(f"{number}>&-" for number in closed.split())
    line = f'exec "{sys.executable}" -m cfp_onnx inspect "{tiny}" {shut}'
    root = Path(cfp_onnx.__file__).parents[1]
    done = subprocess.run(["sh", "-c", line], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_pages_that_the_help_names_are_there(capsys):
    named = set()
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        named |= set(re.findall(r"docs/[a-z]+\.md", capsys.readouterr().out))
    assert named
    root = Path(cfp_onnx.__file__).parents[1]
    assert [name for name in named if not (root / name).is_file()] == []
