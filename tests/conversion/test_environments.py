"""One environment per framework: made once, reused, and never half."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fake_converter import CONVERTERS

from cfp_onnx.conversion import environments
from cfp_onnx.errors import DeviceError, UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CFP_ONNX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "requirements.txt").write_text("a==1\n", "utf-8")
    return tmp_path


def installer(log, *, fails=None):
    """Records commands; the first makes an interpreter."""

    def run(command):
        log.append(list(command))
        if fails == len(log):
            raise subprocess.CalledProcessError(1, command, stderr="noise\nERROR: no matching version\n")
        if "venv" in command:
            target = Path(command[-1])
            (target / "bin").mkdir(parents=True, exist_ok=True)
            (target / "bin" / "python").write_text("#!/bin/sh\n")

    return run


@pytest.mark.parametrize("uv", [None, "/somewhere/uv"])
def test_an_environment_is_made_once_and_reused(folder, monkeypatch, uv):
    monkeypatch.setattr(environments.shutil, "which", lambda name: uv)
    log, said = [], []
    first = environments.environment(
        "torch", folder, run=installer(log), progress=lambda what, done, of: said.append(what)
    )
    assert first.is_file()
    assert first.parents[1].parent == folder / "cache" / "envs"
    assert first.parents[1].name.startswith("torch-")
    assert len(log) == len(said) == 2
    assert [words[0] == (uv or sys.executable) for words in log] == [True, uv is not None]
    assert log[1][-2:] == ["-r", str(folder / "requirements.txt")]
    assert environments.environment("torch", folder, run=installer(log)) == first
    assert len(log) == 2
    assert list((folder / "cache" / "envs").iterdir()) == [first.parents[1]]


def test_other_pins_are_another_environment(folder):
    first = environments.environment("torch", folder, run=installer([]))
    (folder / "requirements.txt").write_text("a==2\n", "utf-8")
    assert environments.environment("torch", folder, run=installer([])) != first


@pytest.mark.parametrize("step", [1, 2])
def test_a_failed_installation_leaves_nothing_and_says_what_to_type(folder, step):
    with pytest.raises(DeviceError) as caught:
        environments.environment("torch", folder, run=installer([], fails=step))
    assert caught.value.exit_code == 3
    assert "could not be made (ERROR: no matching version); type: " in str(caught.value)
    assert f"-r {folder / 'requirements.txt'}" in str(caught.value)
    assert "--python" in str(caught.value)
    assert list((folder / "cache" / "envs").iterdir()) == []


def test_an_interrupted_installation_leaves_nothing(folder):
    def interrupted(command):
        installer([])(command)
        if "install" in command:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.environment("torch", folder, run=interrupted)
    assert list((folder / "cache" / "envs").iterdir()) == []


def test_the_faster_of_two_processes_wins(folder):
    log = []

    def run(command):
        installer(log)(command)
        if "install" in command:
            environments.environment("torch", folder, run=installer([]))

    assert environments.environment("torch", folder, run=run).is_file()
    assert len(list((folder / "cache" / "envs").iterdir())) == 1


def limited(folder, monkeypatch, own, found):
    """Requirements for Python 3.10 and 3.11, a core that runs `own`, and programs on PATH."""
    (folder / "requirements.txt").write_text("# requires-python: >=3.10,<3.12\na==1\n", "utf-8")
    monkeypatch.setattr(environments.platform, "python_version", lambda: f"{own}.0")
    monkeypatch.setattr(environments.platform, "python_version_tuple", lambda: (*own.split("."), "0"))
    monkeypatch.setattr(environments.shutil, "which", lambda name: f"/somewhere/{name}" if name in found else None)


@pytest.mark.parametrize(
    ("own", "found", "base"),
    [
        ("3.11", ["python3.11", "python3.10"], sys.executable),
        ("3.11", ["uv"], sys.executable),
        ("3.10", [], sys.executable),
        ("3.12", ["uv", "python3.11"], ">=3.10,<3.12"),
        ("3.9", ["uv"], ">=3.10,<3.12"),
        ("3.12", ["python3.12", "python3.11", "python3.10"], "/somewhere/python3.11"),
        ("3.14", ["python3.10"], "/somewhere/python3.10"),
    ],
)
def test_an_environment_gets_a_python_that_its_pins_work_with(folder, monkeypatch, own, found, base):
    limited(folder, monkeypatch, own, found)
    log = []
    environments.environment("mxnet", folder, run=installer(log))
    make = next(words for words in log if "venv" in words)
    assert base in make
    assert make[0] == ("/somewhere/uv" if "uv" in found else base)


def test_a_python_on_the_path_that_does_not_run_is_passed_over(folder, monkeypatch):
    limited(folder, monkeypatch, "3.13", ["python3.11", "python3.10"])
    log = []

    def run(command):
        if command[0] == "/somewhere/python3.11":
            raise subprocess.CalledProcessError(127, command, stderr="command not found\n")
        installer(log)(command)

    environments.environment("mxnet", folder, run=run)
    assert log[0][:2] == ["/somewhere/python3.10", "-c"]
    assert log[1][:3] == ["/somewhere/python3.10", "-m", "venv"]


@pytest.mark.parametrize("found", [[], ["python3.12"], ["python3.11"]])
def test_without_a_python_that_fits_the_sentence_says_which(folder, monkeypatch, found):
    limited(folder, monkeypatch, "3.13", found)

    def run(command):
        raise OSError(2, "No such file or directory", command[0])

    with pytest.raises(DeviceError) as caught:
        environments.environment("mxnet", folder, run=run)
    assert str(caught.value) == (
        "mxnet needs Python 3.10 or newer, below 3.12, and this is 3.13; install one so that PATH has python3.11 or "
        "python3.10, or name an environment with --python"
    )
    assert not (folder / "cache").exists()


def test_what_is_to_be_typed_names_the_python_that_fits(folder, monkeypatch):
    limited(folder, monkeypatch, "3.13", ["python3.11"])

    def run(command):
        if "install" in command:
            raise subprocess.CalledProcessError(1, command, stderr="ERROR: no\n")
        installer([])(command)

    with pytest.raises(DeviceError, match=r"type: /somewhere/python3\.11 -m venv"):
        environments.environment("mxnet", folder, run=run)


@pytest.mark.parametrize("file", sorted(CONVERTERS.glob("*/requirements.txt")), ids=lambda file: file.parent.name)
def test_requirements_that_speak_of_python_are_understood(file):
    lines = [line for line in file.read_text("utf-8").splitlines() if "requires-python" in line]
    lowest, end = environments.python_limits(file)
    assert (lowest < end < (sys.maxsize,)) if lines else lowest == (0, 0)
    assert len(lines) <= 1


def test_an_environment_of_ones_own(tmp_path, folder):
    assert environments.environment("torch", folder, python=sys.executable) == Path(sys.executable)
    prefix = Path(sys.executable).parents[1]
    assert environments.environment("torch", folder, python=prefix).parents[1] == prefix
    with pytest.raises(UsageError, match="neither a Python interpreter nor the folder of an environment"):
        environments.environment("torch", folder, python=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("#!/bin/sh\nexit 0\n", "is no Python interpreter"),
        ("#!/bin/sh\necho ready\n", "is no Python interpreter"),
        ("#!/no/such/shell\n", "cannot be run"),
    ],
)
def test_other_programs_are_no_interpreter(tmp_path, folder, script, says):
    program = tmp_path / "program"
    program.write_text(script)
    with pytest.raises(UsageError, match="cannot be run"):
        environments.environment("torch", folder, python=program)
    program.chmod(0o755)
    with pytest.raises(UsageError, match=says):
        environments.environment("torch", folder, python=program)


def test_an_installation_that_fills_the_disk_says_so(folder, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(environments.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(DeviceError, match="no space is left in"):
        environments.environment("torch", folder, run=installer([], fails=2))


def test_a_cache_that_cannot_be_made_is_named_with_what_to_set(folder, monkeypatch):
    (folder / "cache").write_text("a file", "utf-8")
    with pytest.raises(DeviceError, match=r"can be made in .*envs \(Not a directory\); set CFP_ONNX_CACHE to a folder"):
        environments.environment("torch", folder, run=pytest.fail)


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("CFP_ONNX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environments.cache_folder() == tmp_path / "cfp_onnx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environments.cache_folder() == tmp_path / ".cache" / "cfp_onnx"


def test_an_installation_really_runs_commands():
    environments._run_install([sys.executable, "-c", "pass"])
    with pytest.raises(subprocess.CalledProcessError):
        environments._run_install([sys.executable, "-c", "raise SystemExit(3)"])
