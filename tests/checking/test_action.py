"""The GitHub action and the pre-commit hook, as their runners would run them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.demo_model import DEMO, edited, times, weights
from benchmarks.motion.clips import TEST_SEED, make_clip
from cfp_onnx.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash")


def script() -> str:
    """The shell script of the action's last step."""
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    block = text[text.index("      run: |\n") + len("      run: |\n") :]
    return "".join(f"{line[8:]}\n" for line in block.splitlines())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a model, a clip and a baseline; ``python`` on its PATH makes an environment that is this one."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(DEMO, folder / "model.onnx")
    edited(folder / "other.onnx", weights("head", times(2)))
    np.savez(folder / "clip one.npz", frames=make_clip(TEST_SEED).frames)
    arguments = ["baseline", str(folder / "model.onnx"), str(folder / "clip one.npz")]
    assert cli.main([*arguments, "-o", str(folder / "baseline.json"), "-q"]) == 0
    tools = tmp_path / "bin"
    tools.mkdir()
    python, command = shlex.quote(sys.executable), f"exec {shlex.quote(sys.executable)} -m cfp_onnx"
    (tools / "python").write_text(
        '#!/bin/sh\n[ "$1 $2" = "-m venv" ] || exit 9\nmkdir -p "$3/bin"\n'
        f'printf \'#!/bin/sh\\n{command} "$@"\\n\' > "$3/bin/cfp-onnx"\n'
        'printf \'#!/bin/sh\\necho "$@" > "$RUNNER_TEMP/installed"\\n\' > "$3/bin/python"\n'
        f'chmod +x "$3/bin/cfp-onnx" "$3/bin/python"\n: {python}\n'
    )
    (tools / "python").chmod(0o755)
    return folder


def run(project: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    given = {"MODEL": "model.onnx", "BASELINE": "baseline.json", "CLIPS": "", "OPTIONS": "", "PACKAGE": "", **inputs}
    files = {"GITHUB_OUTPUT": project.parent / "output", "GITHUB_STEP_SUMMARY": project.parent / "summary.md"}
    environment = {
        **os.environ, **given, **{k: str(v) for k, v in files.items()}, "HERE": "/the/action",
        "RUNNER_TEMP": str(project.parent), "PATH": f"{project.parent / 'bin'}:{os.environ['PATH']}",
    }  # fmt: skip
    environment = {k: v for k, v in environment.items() if not k.startswith(("COV", "PYTEST"))}
    return subprocess.run(
        [BASH or "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script()],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_the_action_passes_and_fails(project: Path) -> None:
    done = run(project)
    assert done.returncode == 0, done.stderr
    outputs = dict(line.split("=", 1) for line in (project.parent / "output").read_text().splitlines())
    assert outputs["passed"] == "true"
    assert Path(outputs["junit"]).is_file()
    assert (Path(outputs["report"]) / "check.html").is_file()
    assert "cfp-onnx check passed" in (project.parent / "summary.md").read_text()
    assert (project.parent / "installed").read_text().strip() == "-m pip install --quiet /the/action[cpu]"
    failed = run(project, MODEL="other.onnx", CLIPS="clip one.npz", OPTIONS="--max-drift 0.3\n--max-flips 3")
    assert failed.returncode == 1, failed.stderr
    assert (project.parent / "output").read_text().splitlines()[-1] == "passed=false"
    places = re.findall(r"^junit=(.+)", (project.parent / "output").read_text(), re.MULTILINE)
    assert len(set(places)) == len(places) == 2, "one job can check two models"
    assert run(project, OPTIONS="--max-drift 0.3\n--nonsense").returncode == 2
    wrong = run(project, MODEL="nowhere.onnx", PACKAGE="cfp-onnx[gpu]==1")
    assert wrong.returncode == 2
    assert "nowhere.onnx" in wrong.stderr
    assert "cfp-onnx[gpu]==1" in (project.parent / "installed").read_text()


def test_the_action_declares_what_it_reads() -> None:
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    declared = set(re.findall(r"^  ([\w-]+):$", text.split("outputs:")[0], re.MULTILINE))
    assert set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", text)) == declared
    example = (ROOT / "docs" / "workflow.yml").read_text(encoding="utf-8")
    used = re.search(r"with:\n((?: {10}\S.*\n)+)", example)
    assert used is not None
    assert {line.split(":")[0].strip() for line in used[1].splitlines()} <= declared


def test_the_hook_runs_what_it_says(project: Path) -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    entry = re.search(r"entry: (.+)", text)
    assert entry is not None
    words = shlex.split(entry[1])
    assert words[0] == "cfp-onnx"
    assert "pass_filenames: false" in text
    arguments = [str(project / "model.onnx"), "--baseline", str(project / "baseline.json")]
    assert cli.main([*words[1:], *arguments]) == 0
