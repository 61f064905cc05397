"""One environment per framework, made once and kept in the user's cache; the core's own is never touched."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cfp_onnx.errors import DeviceError, UsageError
from cfp_onnx.text import first_line
from cfp_onnx.values import Progress, silent

Runner = Callable[[Sequence[str]], None]

SENTENCE = 800
"""Most characters of another program's error message that are passed on."""

SECONDS = 120
"""Longest wait for an interpreter that is asked to print one word, in seconds."""

ROOM = 1 << 26
"""Free bytes below which a disk counts as full."""


def environment(
    framework: str,
    folder: Path,
    *,
    python: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    run: Runner | None = None,
) -> Path:
    """Interpreter of a framework's environment, which is made where it is missing and reused afterwards.

    Args:
        framework: Name of the framework.
        folder: Its converter, with ``requirements.txt``.
        python: Interpreter or environment folder to use as it is.
        progress: Told what is being done.
        run: Runs one command of the installation.

    Raises:
        UsageError: If `python` is neither an interpreter nor an environment.
        DeviceError: If no Python fits, or the environment cannot be made; the message has what to type.
    """
    if python is not None:
        return _given(Path(python))
    requirements = folder / "requirements.txt"
    mark = hashlib.sha256(requirements.read_bytes() + platform.python_version().encode()).hexdigest()[:12]
    place = cache_folder() / "envs" / f"{framework}-{mark}"
    if _interpreter(place).exists():
        return _interpreter(place)
    run = run or _run_install
    base = _base(framework, requirements, run)
    temporary = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{framework}-"))
        make, install = _commands(temporary, requirements, base)
        progress(f"making an environment for {framework}", 0, 4)
        run(make)
        progress(f"installing {framework} (once; it is reused)", 1, 4)
        run(install)
        if not _interpreter(place).exists():  # another process may have made it meanwhile
            temporary.rename(place)
    except (OSError, subprocess.SubprocessError) as error:
        by_hand = " && ".join(shlex.join(words) for words in _commands(place, requirements, base))
        if temporary is None:
            reason = getattr(error, "strerror", None) or error
            raise DeviceError(
                f"no environment for {framework} can be made in {place.parent} ({reason}); set CFP_ONNX_CACHE to a "
                "folder that can be written, or name an environment that has it with --python"
            ) from error
        full = shutil.disk_usage(place.parent).free < ROOM
        why = f"no space is left in {place.parent}" if full else _message_of(error)
        raise DeviceError(
            f"the environment for {framework} could not be made ({why}); type: {by_hand} - or name an "
            "environment that has it with --python"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return _interpreter(place)


def cache_folder() -> Path:
    """``$CFP_ONNX_CACHE``, or ``cfp_onnx`` in the user's cache folder."""
    if own := os.environ.get("CFP_ONNX_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cfp_onnx"


def _interpreter(place: Path) -> Path:
    return place / "Scripts" / "python.exe" if os.name == "nt" else place / "bin" / "python"


def _given(python: Path) -> Path:
    found = _interpreter(python) if python.is_dir() else python
    if not found.is_file():
        raise UsageError(f"--python {python}: neither a Python interpreter nor the folder of an environment")
    try:
        command = [str(found.absolute()), "-c", "print('cfp_onnx')"]
        said = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=SECONDS)  # noqa: S603 - the user's own word
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"--python {python}: cannot be run ({getattr(error, 'strerror', None) or error})") from error
    if said.stdout.strip() != b"cfp_onnx":
        raise UsageError(f"--python {python}: is no Python interpreter; name one, or the folder of an environment")
    return found.absolute()


def _commands(place: Path, requirements: Path, base: str) -> tuple[list[str], list[str]]:
    """Commands that make an environment of a Python, and fill it."""
    inside = str(_interpreter(place))
    if uv := shutil.which("uv"):
        make = [uv, "venv", "--python", base, str(place)]
        return make, [uv, "pip", "install", "--python", inside, "-r", str(requirements)]
    make = [base, "-m", "venv", str(place)]
    return make, [inside, "-m", "pip", "install", "--disable-pip-version-check", "-r", str(requirements)]


def _base(framework: str, requirements: Path, run: Runner) -> str:
    """A Python that the requirements allow: the running one where it fits, else a request for uv, or one on PATH.

    Raises:
        DeviceError: If there is none.
    """
    lowest, end = python_limits(requirements)
    own = tuple(map(int, platform.python_version_tuple()[:2]))
    if lowest <= own < end:
        return sys.executable
    if shutil.which("uv"):
        return f">={lowest[0]}.{lowest[1]},<{end[0]}.{end[1]}"
    names = [f"python{lowest[0]}.{minor}" for minor in reversed(range(lowest[1], end[1]))]
    for name in names:
        found = shutil.which(name)
        try:
            if found is not None:
                run([found, "-c", "import ensurepip, venv"])  # a file on PATH may be broken
                return found
        except (OSError, subprocess.SubprocessError):
            continue
    raise DeviceError(
        f"{framework} needs Python {lowest[0]}.{lowest[1]} or newer, below {end[0]}.{end[1]}, and this is "
        f"{own[0]}.{own[1]}; install one so that PATH has {' or '.join(names)}, or name an environment with --python"
    )


def python_limits(requirements: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """The oldest Python that the requirements allow, and the first that is too new; no limits where no line gives them.

    The line is a comment, ``# requires-python: >=3.10,<3.12``.
    """
    line = re.search(
        r"^# requires-python: >=(\d+)\.(\d+),<(\d+)\.(\d+)\s*$", requirements.read_text("utf-8"), re.MULTILINE
    )
    if line is None:
        return (0, 0), (sys.maxsize, 0)
    oldest, minor, end, end_minor = map(int, line.groups())
    return (oldest, minor), (end, end_minor)


def _run_install(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)  # noqa: S603 - our own words


def _message_of(error: BaseException) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return last_line(error.stderr or error.stdout or "") or f"exit status {error.returncode}"
    return first_line(error)


def last_line(text: str) -> str:
    """The last line of a program's output, which is where errors are."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:SENTENCE] if lines else ""


def install_command(interpreter: Path, requirements: Path) -> str:
    """The command that installs the requirements into an environment."""
    return shlex.join([str(interpreter), "-m", "pip", "install", "-r", str(requirements)])


__all__ = ["cache_folder", "environment", "install_command", "last_line", "python_limits"]
