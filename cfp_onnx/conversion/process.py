"""A converter is run in its own environment, as a process that ends when ours does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cfp_onnx.conversion.environments import install_command, last_line
from cfp_onnx.errors import CfpError, DeviceError, LimitError, ModelError, OutputError, UsageError
from cfp_onnx.text import first_line


def run_converter(interpreter: Path, folder: Path, request: Mapping[str, Any], work: Path) -> dict[str, Any]:
    """Run a converter and read its report.

    Args:
        interpreter: Python of its environment.
        folder: The converter's folder.
        request: What it shall convert.
        work: Folder for its results.

    Raises:
        CfpError: If it fails, or a result is missing.
    """
    script, order = folder / "convert.py", work / "request.json"
    order.write_text(json.dumps(request), encoding="utf-8")
    command = [str(interpreter), "-B", str(script), str(order), str(work)]
    try:
        done = _run(command, work)
    except OSError as error:
        raise UsageError(f"{interpreter} cannot be run ({error.strerror or error}); see --python") from error
    if done.returncode:
        raise _failure(done, interpreter, folder) from RuntimeError(done.stderr.strip() or "it said nothing")
    try:
        report: dict[str, Any] = json.loads((work / "report.json").read_text(encoding="utf-8"))
        facts = [str(report[key]) for key in ("framework", "exporter", "source_kind")]
        if report["format"] == 1 and all(facts) and (work / "model.onnx").is_file() and (work / "probe.npz").is_file():
            return report
        reason = "a file is missing, or its report is of another format"
    except FileNotFoundError:
        reason = "it ended without a report"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = first_line(error)
    raise ModelError(f"the {folder.name} converter left no usable result: {reason}")


def _run(command: Sequence[str], work: Path) -> subprocess.CompletedProcess[str]:
    """Run a converter to its end. Where this process is interrupted, the converter and its children are killed."""
    own = {"PYTHONWARNINGS": "ignore", "PYTHONIOENCODING": "utf-8", "PYTHONNOUSERSITE": "1"}
    with subprocess.Popen(  # noqa: S603 - our own script
        command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        errors="replace", env={**os.environ, **own}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            said, complaint = process.communicate()
        except BaseException:
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            raise
    return subprocess.CompletedProcess(list(command), process.returncode, said, complaint)


def _failure(done: subprocess.CompletedProcess[str], interpreter: Path, folder: Path) -> CfpError:
    said = last_line(done.stderr)
    if done.returncode == 2 and said:
        return ModelError(said)
    if done.returncode < 0:
        return LimitError(f"the {folder.name} converter was ended by signal {-done.returncode}; is memory short?")
    if "MemoryError" in said or "not enough memory" in said:
        return LimitError(f"the {folder.name} converter ran out of memory; give a smaller --input-shape")
    if "No space left on device" in said:
        return OutputError(
            f"no space is left in {tempfile.gettempdir()} for the {folder.name} converter; TMPDIR names another place"
        )
    if missing := re.fullmatch(r"(?:ModuleNotFoundError|ImportError): No module named '([\w.]+)'", said):
        install = install_command(interpreter, folder / "requirements.txt")
        return DeviceError(f"the environment {interpreter} lacks {missing[1]}; type: {install}")
    return ModelError(
        f"the {folder.name} converter failed: {said.rstrip('.') or 'it said nothing'}; --debug shows all it said"
    )


__all__ = ["run_converter"]
