"""What is installed, what it can reach, and the command that mends what is wrong.

Nothing is imported to find out which distributions there are: two flavours of onnxruntime overwrite each
other's files, and a broken runtime must not take its own diagnosis down with it. OpenCV and the runtime are
loaded last, guarded: they may need libraries that the system lacks. The runtime is then asked for its providers
and, where a device is seen, to start a session of one operator on it.
"""

from __future__ import annotations

import contextlib
import ctypes
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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cfp_onnx.errors import DeviceError

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
WINDOWED = {"opencv-python", "opencv-contrib-python"}
HEADLESS = "opencv-python-headless"

#: System libraries that wheels of OpenCV and onnxruntime load, and the package of Debian and Ubuntu that has each.
SYSTEM_PACKAGES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libICE.so.6": "libice6",
    "libSM.so.6": "libsm6",
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libgcc_s.so.1": "libgcc-s1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libstdc++.so.6": "libstdc++6",
    "libxcb.so.1": "libxcb1",
    "libz.so.1": "zlib1g",
}

#: Of these, what OpenCV's builds without windows need too.
WINDOWLESS = {"libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"}

#: What brings all that the builds with windows need to be imported; an import only names the first that is missing.
WINDOW_PACKAGES = {"libgl1", "libglib2.0-0"}

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
    pip = _pip(python)
    runtimes = tuple((name, versions[name]) for name in RUNTIMES if name in versions)
    opencv = [name for name in OPENCV if name in versions]

    opencv_version, no_opencv = _load_opencv(importer)
    runtime, why = _load_runtime(importer)
    providers = tuple(runtime.get_available_providers()) if runtime is not None else ()
    problems = [*_runtime_problems([name for name, _ in runtimes], why, pip, gpu=bool(gpus))]
    if not problems and gpus and CUDA in providers and (failure := _cuda_failure(runtime)):
        problems.append(
            f"{gpus[0]} is there, but no session starts on it ({failure}). NVIDIA's libraries come with: "
            f'{pip} install "onnxruntime-gpu[cuda,cudnn]"'
        )
    problems += _package_problems(versions, opencv, no_opencv, pip)

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
            *((("OpenCV", opencv_version),) if not opencv else ()),
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


def cannot_load(package: str, error: ImportError | AttributeError, *, python: str = sys.executable) -> str:
    """The sentence for whoever needs a package that cannot be imported.

    Args:
        package: Import name, ``cv2`` or ``onnxruntime``.
        error: What the import raised, or the first use, where a folder without contents was imported.
        python: Interpreter that the commands name.

    Returns:
        What is wrong, ending in the command to type.
    """
    versions = _installed()
    names = [name for name in (OPENCV if package == "cv2" else RUNTIMES) if name in versions]
    why, pip = _first_line(error), _pip(python)
    problems = _opencv_problems(names, why, pip) if package == "cv2" else _runtime_problems(names, why, pip, gpu=False)
    return problems[0]


def missing_library(error: ImportError) -> str | None:
    """The sentence about a system library that some package of Python did not find; None for any other failure.

    Args:
        error: What the import raised.
    """
    library = _missing_library(_first_line(error))
    if not library:
        return None
    return (
        f"{error.name or 'a package'} needs the system library {library}, which is missing. As root on Debian or "
        f"Ubuntu, type: {_apt({SYSTEM_PACKAGES[library]})}"
    )


def _pip(python: str) -> str:
    return f"{shlex.quote(python)} -m pip"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


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


def _load_opencv(importer: Callable[[str], Any]) -> tuple[str | None, str]:
    """The version of OpenCV, or None and the reason.

    It is loaded as the rest of the package loads it, since it reads its limits once, when it starts.
    """
    try:
        return str(importer("cfp_onnx.opencv").version), ""
    except DeviceError as error:
        return None, _first_line(error.__cause__ or error)


def _load_runtime(importer: Callable[[str], Any]) -> tuple[Any | None, str]:
    """The runtime module, or None and the reason.

    Uninstalling one of two flavours leaves a folder without its contents, which still imports.
    """
    try:
        runtime = importer("onnxruntime")
    except (ImportError, OSError) as error:
        return None, _first_line(error)
    if not hasattr(runtime, "InferenceSession") or not hasattr(runtime, "get_available_providers"):
        return None, "the package is an empty shell"
    return runtime, ""


def _runtime_problems(names: Sequence[str], why: str, pip: str, *, gpu: bool) -> tuple[str, ...]:
    keep = _choice(names, gpu=gpu)
    if len(names) > 1:
        return (_doubled(names, keep, pip),)
    if not why:
        return ()  # also one built from source, on the path: no distribution, but it works
    return (_unusable(names, keep, why, pip),)


def _doubled(names: Sequence[str], keep: str, pip: str) -> str:
    """The sentence about distributions that share one import package."""
    return f"{' and '.join(names)} overwrite each other's files; keep one. Type: {_again(names, keep, pip)}"


def _unusable(names: Sequence[str], keep: str, why: str, pip: str) -> str:
    """The sentence about a package that cannot be imported.

    Args:
        names: Its installed distribution, if any.
        keep: The distribution to install.
        why: What the import said.
        pip: The command line of pip.
    """
    library = _missing_library(why)
    if not library and not names:
        return f"No {keep} is installed. Type: {pip} install {keep}"
    if not library:
        return f"{names[0]} is installed but cannot be used ({why}). Type: {_again(names, keep, pip)}"
    needs = f"{names[0] if names else keep} needs the system library {library}, which is missing"
    packages = {SYSTEM_PACKAGES[library]}
    if library in WINDOWLESS or not set(names) & WINDOWED:
        return f"{needs}. As root on Debian or Ubuntu, type: {_apt(packages)}"
    return (
        f"{needs}. As root on Debian or Ubuntu, type: {_apt(packages | WINDOW_PACKAGES)}; or take the build without "
        f"windows, which needs none of these: {_again(names, _headless(keep), pip)}"
    )


def _missing_library(why: str) -> str:
    """The system library that the loader did not find; empty where the import failed otherwise."""
    name = why.partition(": cannot open shared object file")[0]
    return name if name in SYSTEM_PACKAGES else ""


def _apt(packages: Collection[str]) -> str:
    return f"apt-get update && apt-get install -y {' '.join(sorted(packages))}"


def _again(names: Sequence[str], keep: str, pip: str) -> str:
    return f"{pip} uninstall -y {' '.join(names)} && {pip} install --force-reinstall --no-deps {keep}"


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


def _package_problems(versions: Mapping[str, str], opencv: Sequence[str], no_opencv: str, pip: str) -> list[str]:
    problems = []
    if "onnx" in versions and _release(versions["onnx"]) < OLDEST_ONNX:
        oldest = ".".join(map(str, OLDEST_ONNX))
        problems.append(
            f"onnx {versions['onnx']} reads files outside the model's folder. "
            f'Type: {pip} install --upgrade "onnx>={oldest}"'
        )
    missing = [name for name in ("onnx", "onnx-ir", "numpy") if name not in versions]
    if not opencv and no_opencv and not _missing_library(no_opencv):
        missing.append(HEADLESS)
    if missing:
        problems.append(f"Missing: {', '.join(missing)}. Type: {pip} install {' '.join(missing)}")
    if HEADLESS not in missing:
        problems += _opencv_problems(opencv, no_opencv, pip)
    return problems


def _opencv_problems(names: Sequence[str], why: str, pip: str) -> tuple[str, ...]:
    keep = _fullest(names)
    if len(names) > 1:
        return (_doubled(names, keep if _windows_can_open() else _headless(keep), pip),)
    return (_unusable(names, keep, why, pip),) if why else ()


def _windows_can_open() -> bool:
    """Whether the system has what OpenCV's builds with windows load when they are imported."""
    if sys.platform != "linux":
        return True
    try:
        for library in ("libGL.so.1", "libglib-2.0.so.0", "libxcb.so.1"):
            ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _headless(name: str) -> str:
    return name.removesuffix("-headless") + "-headless"


def _fullest(opencv: Sequence[str]) -> str:
    """The build that can do what each of these can: another program may need its windows or its extra modules."""
    if not opencv:
        return HEADLESS
    extra = "-contrib" if any("contrib" in name for name in opencv) else ""
    return f"opencv{extra}-python" if set(opencv) & WINDOWED else f"opencv{extra}-python-headless"


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
