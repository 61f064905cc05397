"""The doctor, on environments that are made up for it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import onnx
import pytest

from cfp_onnx import doctor
from cfp_onnx.errors import DeviceError

REPOSITORY = Path(__file__).resolve().parents[1]

HEALTHY = {
    "onnxruntime-gpu": "1.31.1",
    "onnx": "1.23.2",
    "onnx-ir": "1.1.0",
    "numpy": "2.4.6",
    "opencv-python-headless": "5.0.0",
}
DEVICE = "Device X (driver 1.2, 8192 MiB)"


def runtime(providers=("CPUExecutionProvider",), *, obtained=None, failure=None, version="1.31.1"):
    """A stand-in for onnxruntime whose sessions obtain `obtained`, or raise `failure`."""

    class Session:
        def __init__(self, model, options, providers):
            if failure:
                raise failure

        def get_providers(self):
            return list(obtained or providers)

    return types.SimpleNamespace(
        __version__=version,
        get_available_providers=lambda: list(providers),
        InferenceSession=Session,
        SessionOptions=types.SimpleNamespace,
    )


def importing(module, opencv=None):
    def importer(name):
        if name == "cfp_onnx.opencv":
            if isinstance(opencv, Exception):
                raise DeviceError("OpenCV cannot be imported") from opencv
            return types.SimpleNamespace(version="5.0.0")
        assert name == "onnxruntime"
        if isinstance(module, Exception):
            raise module
        return module

    return importer


def diagnose(module=None, *, opencv=None, devices=(), python="python", drop=(), **versions):
    found = {k: v for k, v in HEALTHY.items() if k not in drop}
    found |= {k.replace("_", "-"): v for k, v in versions.items()}
    importer = importing(module or runtime(), opencv)
    return doctor.diagnose(distributions=found, importer=importer, devices=devices, python=python)


def missing(library):
    return ImportError(f"{library}: cannot open shared object file: No such file or directory")


def commands(problem):
    """The commands of a problem, each split as a shell would."""
    text = problem.partition(": ")[2] if problem.count(": ") == 1 else problem.rpartition(": ")[2]
    return [shlex.split(command) for command in text.split(" && ")]


def test_healthy_environment():
    d = diagnose()
    assert d.ok
    assert d.problems == ()
    assert d.runtimes == (("onnxruntime-gpu", "1.31.1"),)
    assert d.runtime_version == "1.31.1"
    assert d.providers == ("CPUExecutionProvider",)
    assert d.cpu_count >= 1
    text = doctor.render(d)
    assert "no problems found" in text
    assert "opencv-python-headless" in text


def test_no_runtime_names_the_install_command():
    d = diagnose(ModuleNotFoundError("No module named 'onnxruntime'"), drop=["onnxruntime-gpu"])
    assert not d.ok
    assert d.runtime_version is None
    (problem,) = d.problems
    assert commands(problem) == [["python", "-m", "pip", "install", "onnxruntime"]]
    assert "cannot be used" in doctor.render(d)


def test_no_runtime_but_a_device_asks_for_the_gpu_build():
    d = diagnose(ImportError("none"), drop=["onnxruntime-gpu"], devices=[DEVICE])
    assert commands(d.problems[0])[0][-1] == "onnxruntime-gpu"


def test_two_runtimes_are_a_conflict_even_if_they_import():
    d = diagnose(onnxruntime="1.31.0")
    (problem,) = d.problems
    remove, install = commands(problem)
    assert remove == ["python", "-m", "pip", "uninstall", "-y", "onnxruntime", "onnxruntime-gpu"]
    assert install[-1] == "onnxruntime-gpu"
    assert "--force-reinstall" in install


@pytest.mark.parametrize("name", ["ONNXRuntime_OpenVINO", "onnxruntime.openvino"])
def test_names_are_compared_in_canonical_form(name):
    d = doctor.diagnose(distributions=HEALTHY | {name: "1.0"}, importer=importing(runtime()), devices=())
    assert [n for n, _ in d.runtimes] == ["onnxruntime-gpu", "onnxruntime-openvino"]
    assert not d.ok


def test_extensions_are_no_runtime():
    assert diagnose(onnxruntime_extensions="0.14").ok


def test_shell_left_by_an_uninstallation():
    d = diagnose(types.SimpleNamespace())
    (problem,) = d.problems
    assert "empty shell" in problem
    assert len(commands(problem)) == 2


def test_broken_library_is_reported_in_one_line():
    d = diagnose(ImportError("libfoo.so: cannot open\nsecond line"))
    (problem,) = d.problems
    assert "libfoo.so: cannot open" in problem
    assert "second line" not in problem


def test_errors_of_our_own_making_are_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        diagnose(ZeroDivisionError())


def test_command_quotes_the_interpreter():
    d = diagnose(ImportError("none"), drop=["onnxruntime-gpu"], python="/a b/python")
    assert commands(d.problems[0])[0][0] == "/a b/python"


GPU = ("CUDAExecutionProvider", "CPUExecutionProvider")


def test_device_with_a_working_provider():
    d = diagnose(runtime(GPU), devices=[DEVICE])
    assert d.ok
    assert d.notes == ()
    assert DEVICE in doctor.render(d)


@pytest.mark.parametrize(
    "module",
    [runtime(GPU, obtained=["CPUExecutionProvider"]), runtime(GPU, failure=RuntimeError("libcudnn.so.9"))],
    ids=["falls back", "raises"],
)
def test_device_that_no_session_obtains(module):
    d = diagnose(module, devices=[DEVICE])
    (problem,) = d.problems
    assert commands(problem) == [["python", "-m", "pip", "install", "onnxruntime-gpu[cuda,cudnn]"]]


def test_no_session_is_tried_without_a_device():
    d = diagnose(runtime(GPU, failure=RuntimeError("must not be tried")))
    assert d.ok
    assert "no NVIDIA device" in d.notes[0]


def test_idle_device_is_a_note():
    d = diagnose(devices=[DEVICE])
    assert d.ok
    assert "stays idle" in d.notes[0]


def test_old_onnx():
    (problem,) = diagnose(onnx="1.20.1").problems
    assert commands(problem) == [["python", "-m", "pip", "install", "--upgrade", "onnx>=1.21"]]


@pytest.mark.parametrize("version", ["1.21", "1.21.0rc1", "1.100.0", "2.0"])
def test_new_enough_onnx(version):
    assert diagnose(onnx=version).ok


def test_missing_packages_come_in_one_command():
    absent = ModuleNotFoundError("No module named 'cv2'")
    (problem,) = diagnose(drop=["opencv-python-headless", "onnx-ir"], opencv=absent).problems
    assert commands(problem) == [["python", "-m", "pip", "install", "onnx-ir", "opencv-python-headless"]]


def test_opencv_of_no_distribution_will_do_where_it_can_be_imported():
    d = diagnose(drop=["opencv-python-headless"])
    assert d.ok
    assert ("OpenCV", "5.0.0") in d.packages


@pytest.mark.parametrize(
    ("others", "keep"),
    [
        (["opencv-python"], "opencv-python"),
        (["opencv-contrib-python-headless"], "opencv-contrib-python-headless"),
        (["opencv-python", "opencv-contrib-python-headless"], "opencv-contrib-python"),
    ],
)
def test_any_opencv_will_do_but_only_one(monkeypatch, others, keep):
    monkeypatch.setattr(doctor.ctypes, "CDLL", lambda library: None)
    for name in others:
        assert diagnose(drop=["opencv-python-headless"], **{name: "4.10"}).ok
    (problem,) = diagnose(**dict.fromkeys(others, "4.10")).problems
    remove, install = commands(problem)
    assert remove[:5] == ["python", "-m", "pip", "uninstall", "-y"]
    assert set(remove[5:]) == {"opencv-python-headless", *others}
    assert install[3:] == ["install", "--force-reinstall", "--no-deps", keep], "it can do what each of them can"


def test_of_two_builds_of_opencv_the_one_that_this_machine_can_import_is_kept(monkeypatch):
    def lacking(library):
        raise OSError(str(missing(library)))

    monkeypatch.setattr(doctor.ctypes, "CDLL", lacking)
    monkeypatch.setattr(sys, "platform", "linux")
    (problem,) = diagnose(opencv_python="4.10", opencv=missing("libGL.so.1")).problems
    assert "overwrite each other's files" in problem
    assert commands(problem)[-1][-1] == "opencv-python-headless"


def test_a_system_library_that_the_runtime_needs():
    d = diagnose(missing("libgomp.so.1"))
    (problem,) = d.problems
    assert "onnxruntime-gpu needs the system library libgomp.so.1, which is missing" in problem
    assert commands(problem) == [["apt-get", "update"], ["apt-get", "install", "-y", "libgomp1"]]


def test_a_system_library_that_every_opencv_needs():
    (problem,) = diagnose(opencv=missing("libstdc++.so.6")).problems
    assert commands(problem)[-1] == ["apt-get", "install", "-y", "libstdc++6"]


def test_opencv_with_windows_on_a_machine_without_them():
    (problem,) = diagnose(drop=["opencv-python-headless"], opencv_python="5.0", opencv=missing("libxcb.so.1")).problems
    assert "apt-get update && apt-get install -y libgl1 libglib2.0-0 libxcb1; " in problem
    assert commands(problem) == [
        ["python", "-m", "pip", "uninstall", "-y", "opencv-python"],
        ["python", "-m", "pip", "install", "--force-reinstall", "--no-deps", "opencv-python-headless"],
    ]


def test_a_broken_opencv_is_installed_again():
    (problem,) = diagnose(opencv=missing("libavcodec-0123abcd.so.62")).problems
    assert "libavcodec-0123abcd.so.62: cannot open" in problem
    assert commands(problem)[-1][3:] == ["install", "--force-reinstall", "--no-deps", "opencv-python-headless"]


@pytest.mark.parametrize(
    ("package", "library", "system"),
    [("cv2", "libxcb.so.1", "libxcb1"), ("cv2", "libGL.so.1", "libgl1"), ("onnxruntime", "libgomp.so.1", "libgomp1")],
)
def test_a_missing_system_library_ends_with_the_command_to_type(tmp_path, package, library, system):
    (tmp_path / f"{package}.py").write_text(f"raise {missing(library)!r}\n")

    def cfp_onnx(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "cfp_onnx", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        )

    demo = cfp_onnx("demo", "-o", "out")
    assert demo.returncode == 3
    (line,) = demo.stderr.splitlines()
    assert re.search(rf"needs the system library {re.escape(library)}, which is missing", line)
    assert re.search(rf"apt-get update && apt-get install -y [^;]*\b{re.escape(system)}", line)
    assert "report it" not in line

    found = cfp_onnx("doctor")
    assert found.returncode == 3
    (problem,) = [text for text in found.stdout.splitlines() if text.startswith("problem: ")]
    assert problem.removeprefix("problem: ") in line, "both say the same"


@pytest.mark.parametrize(("why", "code"), [(missing("libstdc++.so.6"), 3), (ImportError("no such name"), 2)])
def test_any_package_may_lack_a_system_library(tmp_path, why, code):
    (tmp_path / "onnx_ir.py").write_text(f"raise {why!r}\n")
    done = subprocess.run(
        [sys.executable, "-m", "cfp_onnx", "demo", "-o", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
    )
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert ("apt-get install -y libstdc++6" in line) == (code == 3)
    assert ("report it" in line) == (code == 2)


def test_an_opencv_that_failed_once_fails_in_the_same_words(tmp_path):
    (tmp_path / "cv2.py").write_text(
        "import sys\n"
        "if hasattr(sys, 'OpenCV_LOADER'): raise ImportError('recursion is detected')  # as OpenCV's own start does\n"
        "sys.OpenCV_LOADER = True\n"
        f"raise {missing('libxcb.so.1')!r}\n"
    )
    code = (
        "import sys; sys.path.insert(0, '.'); from cfp_onnx.errors import DeviceError\n"
        "for _ in range(2):\n"
        "    try: import cfp_onnx.pictures.encode\n"
        "    except DeviceError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    first, second = done.stdout.splitlines()
    assert first == second
    assert "libxcb1" in first


def test_a_folder_that_an_uninstallation_left_is_no_opencv(tmp_path):
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "cfp_onnx", "demo", "-o", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
    )
    assert done.returncode == 3
    assert "is installed but cannot be used" in done.stderr


def test_this_very_environment():
    d = doctor.diagnose()
    assert dict(d.packages)["numpy"]
    assert doctor.render(d)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'Device X, 1.2, 8192 MiB'", (DEVICE,)),
        ("echo 'no devices were found'; exit 6", ()),
        ("echo 'NVIDIA-SMI has failed'", ()),
        ("sleep 30", ()),
    ],
)
def test_nvidia_smi(tmp_path, monkeypatch, script, expected):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nexec /bin/sh -c {shlex.quote('PATH=/bin:/usr/bin; ' + script)}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.nvidia_devices(timeout=0.5 if "sleep" in script else 10) == expected


def test_no_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.nvidia_devices() == ()


def test_probe_model_is_what_its_comment_says():
    model = onnx.load_model_from_string(doctor.PROBE_MODEL)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu"]
