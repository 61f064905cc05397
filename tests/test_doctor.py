"""The doctor, on environments that are made up for it."""

from __future__ import annotations

import shlex
import types

import onnx
import pytest

from cfp_onnx import doctor

HEALTHY = {
    "onnxruntime-gpu": "1.31.1",
    "onnx": "1.23.2",
    "onnx-ir": "1.1.0",
    "numpy": "2.4.6",
    "opencv-python": "5.0.0",
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


def importing(module):
    def importer(name):
        assert name == "onnxruntime"
        if isinstance(module, Exception):
            raise module
        return module

    return importer


def diagnose(module=None, *, devices=(), python="python", drop=(), **versions):
    found = {k: v for k, v in HEALTHY.items() if k not in drop}
    found |= {k.replace("_", "-"): v for k, v in versions.items()}
    return doctor.diagnose(distributions=found, importer=importing(module or runtime()), devices=devices, python=python)


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
    assert "opencv-python" in text


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
    (problem,) = diagnose(drop=["opencv-python", "onnx-ir"]).problems
    assert commands(problem)[0][3:] == ["install", "onnx-ir", "opencv-python"]


def test_any_opencv_will_do_but_only_one():
    assert diagnose(drop=["opencv-python"], opencv_python_headless="4.10").ok
    (problem,) = diagnose(opencv_python_headless="4.10").problems
    assert len(commands(problem)) == 2


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
