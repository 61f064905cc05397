"""What is installed, what it can reach, and the command that mends what is wrong.

Nothing is imported to find out which distributions there are: two flavours of onnxruntime overwrite each
other's files, and a broken runtime must not take its own diagnosis down with it. The runtime is loaded last,
guarded, to ask for its providers and, where a device is seen, to start a session of one operator on it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CUDA = "CUDAExecutionProvider"

#: Distributions that all install the import package ``onnxruntime``.
RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-cann",
    "onnxruntime-webgpu",
    "onnxruntime-windowsml",
    "onnxruntime-silicon",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)

#: Distributions that all install the import package ``cv2``.
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)

OLDEST_ONNX = (1, 21)

#: ``<ir_version: 8, opset_import: ["" : 13]> g (float[1] x) => (float[1] y) { y = Relu(x) }``, serialized, so
#: that a session can be tried where the ``onnx`` package itself is what is broken.
PROBE_MODEL = (
    b'\x08\x08:5\n\x0e\n\x01x\x12\x01y"\x04Relu:\x00\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


@dataclass(frozen=True)
class Diagnosis:
    """The state of one environment.

    Attributes:
        python: Version of the interpreter.
        system: Operating system and processor.
        cpu_count: Processors that this process may use.
        runtimes: Installed distributions of onnxruntime, name and version.
        runtime_version: Version that the imported runtime gives itself; None where it cannot be imported.
        providers: Execution providers built into the imported runtime, in its order.
        devices: NVIDIA devices, name, driver and memory; empty where none is seen.
        packages: Name and version of the other packages that results depend on; None where missing.
        problems: One sentence each, ending in the command to type.
        notes: What is no fault but worth knowing.
    """

    python: str
    system: str
    cpu_count: int
    runtimes: tuple[tuple[str, str], ...]
    runtime_version: str | None
    providers: tuple[str, ...]
    devices: tuple[str, ...]
    packages: tuple[tuple[str, str | None], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing needs mending."""
        return not self.problems


def diagnose(
    *,
    distributions: Mapping[str, str] | None = None,
    importer: Callable[[str], Any] = importlib.import_module,
    devices: Sequence[str] | None = None,
    python: str = sys.executable,
) -> Diagnosis:
    """Look at the environment of this process.

    Args:
        distributions: Version by distribution name; the installed ones by default.
        importer: Loads a module by name.
        devices: Descriptions of NVIDIA devices; asked of ``nvidia-smi`` by default.
        python: Interpreter that the commands in the problems name.

    Returns:
        The findings; a broken environment is a finding and raises nothing.
    """
    versions = _installed() if distributions is None else {_canonical(k): v for k, v in distributions.items()}
    gpus = nvidia_devices() if devices is None else tuple(devices)
    pip = f"{shlex.quote(python)} -m pip"
    runtimes = tuple((name, versions[name]) for name in RUNTIMES if name in versions)
    opencv = [name for name in OPENCV if name in versions]

    runtime, why = _load_runtime(importer)
    providers = tuple(runtime.get_available_providers()) if runtime is not None else ()
    problems = [*_runtime_problems(runtimes, why, pip, gpu=bool(gpus))]
    if not problems and gpus and CUDA in providers and (failure := _cuda_failure(runtime)):
        problems.append(
            f"{gpus[0]} is there, but no session starts on it ({failure}). NVIDIA's libraries come with: "
            f'{pip} install "onnxruntime-gpu[cuda,cudnn]"'
        )
    problems += _package_problems(versions, opencv, pip)

    return Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpu_count=_cpu_count(),
        runtimes=runtimes,
        runtime_version=None if runtime is None else str(runtime.__version__),
        providers=providers,
        devices=gpus,
        packages=(
            *((name, versions.get(name)) for name in ("onnx", "onnx-ir", "numpy")),
            *((name, versions[name]) for name in opencv),
            *((("opencv-python", None),) if not opencv else ()),
        ),
        problems=tuple(problems),
        notes=tuple(_notes(runtimes, providers, gpus, pip)) if not problems else (),
    )


def render(d: Diagnosis) -> str:
    """The diagnosis as plain text, one finding per line."""
    installed = ", ".join(f"{name} {version}" for name, version in d.runtimes) or "none"
    rows = [
        ("Python", f"{d.python} on {d.system}"),
        ("processors", str(d.cpu_count)),
        ("devices", "; ".join(d.devices) or "none"),
        ("runtimes", installed),
        ("onnxruntime", d.runtime_version or "cannot be used"),
        ("providers", ", ".join(d.providers) or "none"),
        *((name, version or "missing") for name, version in d.packages),
    ]
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {text}" for label, text in rows]
    lines += [f"note: {note}" for note in d.notes]
    lines += [f"problem: {problem}" for problem in d.problems] or ["no problems found"]
    return "\n".join(lines)


def nvidia_devices(*, timeout: float = 10.0) -> tuple[str, ...]:
    """One description per device that ``nvidia-smi`` lists; empty without the tool or without an answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=timeout, check=True)  # noqa: S603 - fixed arguments
    except (OSError, subprocess.SubprocessError):
        return ()
    fields = (line.split(", ") for line in answer.stdout.splitlines() if line.count(", ") == 2)
    return tuple(f"{name} (driver {driver}, {memory})" for name, driver, memory in fields)


def _installed() -> dict[str, str]:
    """Version by canonical name; of two on the path the first, which is the one an import finds."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name: str | None = distribution.metadata["Name"]  # None where an uninstallation left a bare folder
        if name:
            found.setdefault(_canonical(name), distribution.version)
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _cpu_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load_runtime(importer: Callable[[str], Any]) -> tuple[Any | None, str]:
    """The runtime module, or None and the reason.

    Uninstalling one of two flavours leaves a folder without its contents, which still imports.
    """
    try:
        runtime = importer("onnxruntime")
    except (ImportError, OSError) as error:
        return None, str(error).strip().partition("\n")[0]
    if not hasattr(runtime, "InferenceSession") or not hasattr(runtime, "get_available_providers"):
        return None, "the package is an empty shell"
    return runtime, ""


def _runtime_problems(runtimes: tuple[tuple[str, str], ...], why: str, pip: str, *, gpu: bool) -> tuple[str, ...]:
    names = [name for name, _ in runtimes]
    if not names:
        if not why:
            return ()  # built from source, on the path: no distribution, but it works
        return (f"No onnxruntime is installed. Type: {pip} install {_choice(names, gpu=gpu)}",)
    again = (
        f"{pip} uninstall -y {' '.join(names)} && {pip} install --force-reinstall --no-deps {_choice(names, gpu=gpu)}"
    )
    if len(names) > 1:
        return (f"{' and '.join(names)} overwrite each other's files; keep one. Type: {again}",)
    return (f"{names[0]} is installed but cannot be used ({why}). Type: {again}",) if why else ()


def _choice(names: Sequence[str], *, gpu: bool) -> str:
    """The runtime to keep: the only one, the GPU's where it was chosen or could serve, else the plain one."""
    if len(names) == 1:
        return names[0]
    return "onnxruntime-gpu" if gpu or "onnxruntime-gpu" in names else "onnxruntime"


def _cuda_failure(runtime: Any) -> str:
    """Why no session starts on CUDA; empty where one does and stays there."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # preload_dlls prints
            if hasattr(runtime, "preload_dlls"):
                runtime.preload_dlls()
            session = runtime.InferenceSession(PROBE_MODEL, options, providers=[CUDA])
    except Exception as error:  # noqa: BLE001 - the runtime's errors share no root, and any of them is the finding
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return "" if CUDA in session.get_providers() else "it falls back to the CPU"


def _package_problems(versions: Mapping[str, str], opencv: Sequence[str], pip: str) -> list[str]:
    problems = []
    if "onnx" in versions and _release(versions["onnx"]) < OLDEST_ONNX:
        oldest = ".".join(map(str, OLDEST_ONNX))
        problems.append(
            f"onnx {versions['onnx']} reads files outside the model's folder. "
            f'Type: {pip} install --upgrade "onnx>={oldest}"'
        )
    missing = [name for name in ("onnx", "onnx-ir", "numpy") if name not in versions]
    if not opencv:
        missing.append("opencv-python")
    if missing:
        problems.append(f"Missing: {', '.join(missing)}. Type: {pip} install {' '.join(missing)}")
    if len(opencv) > 1:
        problems.append(
            f"{' and '.join(opencv)} overwrite each other's files; keep one. Type: {pip} uninstall -y "
            f"{' '.join(opencv)} && {pip} install --force-reinstall --no-deps opencv-python"
        )
    return problems


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers: (1, 21) of '1.21.0rc1' read to two places."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _notes(
    runtimes: tuple[tuple[str, str], ...], providers: tuple[str, ...], gpus: tuple[str, ...], pip: str
) -> list[str]:
    if gpus and CUDA not in providers:
        names = " ".join(name for name, _ in runtimes)
        away = f"{pip} uninstall -y {names} && " if names else ""
        install = f"{away}{pip} install --force-reinstall --no-deps onnxruntime-gpu"
        return [f"{gpus[0]} stays idle: this runtime has no CUDA. To use it, type: {install}"]
    if not gpus and CUDA in providers:
        return ["this runtime could use CUDA, but no NVIDIA device is seen; the CPU is used"]
    return []
