"""A converter that fails, is ended or leaves half a result: one sentence, and nothing is kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fake_converter import make, refused

from cfp_onnx.cli import main as cli
from cfp_onnx.errors import DeviceError, LimitError, OutputError


def test_the_old_file_survives_a_refusal(order, tmp_path):
    out = tmp_path / "o" / "m.onnx"
    make(order(), out)
    before = out.read_bytes()
    refused(order(add={"0": 1}), out, "not the same network")
    assert out.read_bytes() == before


def test_a_crash_is_one_sentence_and_the_rest_for_debug(order, tmp_path):
    error = refused(order(crash=True), tmp_path / "m.onnx", "the torch converter failed: KeyError: 'something deep")
    assert "Traceback" in str(error.__cause__)


def test_a_refusal_is_passed_on(order, tmp_path):
    error = refused(order(refuse="net.pt: no network; give another"), tmp_path / "m.onnx", "net.pt: no network")
    assert str(error) == "net.pt: no network; give another"


def test_an_environment_that_lacks_its_framework_is_named(order, tmp_path):
    error = refused(order(**{"import": "cfp_no_such_framework"}), tmp_path / "m.onnx", "lacks cfp_no", DeviceError)
    assert f"{sys.executable} -m pip install -r" in str(error)
    assert error.exit_code == 3


def test_a_killed_converter_is_a_limit(order, tmp_path):
    assert refused(order(signal=9), tmp_path / "m.onnx", "ended by signal 9", LimitError).exit_code == 4


@pytest.mark.parametrize("file", ["model.onnx", "probe.npz", "report.json"])
def test_each_result_is_needed(order, tmp_path, file):
    refused(order(remove=[file]), tmp_path / "m.onnx", "left no usable result")


def test_a_program_that_writes_nothing_is_named(order, tmp_path):
    refused(order(remove=["report.json"]), tmp_path / "m.onnx", "no usable result: it ended without a report")


def test_a_full_disk_is_named(order, tmp_path):
    refused(order(full=True), tmp_path / "m.onnx", "no space is left in", OutputError)


def test_a_converter_without_memory_is_a_limit(order, tmp_path):
    refused(order(memory=True), tmp_path / "m.onnx", "give a smaller --input-shape", LimitError)


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "ended by SIGTERM"), ("SIGHUP", 129, "ended by SIGHUP")],
)
def test_an_interrupted_converter_leaves_nothing(order, tmp_path, monkeypatch, capsys, name, code, says):
    import signal
    import tempfile
    import threading
    import time

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    started = tmp_path / "started"
    number = signal.Signals[name]
    usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    before = signal.signal(number, usual)  # a run in the background may ignore it, as the program then does too

    def interrupt():
        while not (started.is_file() and started.read_text().endswith("\n")):
            time.sleep(0.01)
        os.kill(os.getpid(), number)  # to the process: the main thread wakes up

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    call = ["convert", "torch", order(sleep=str(started)), "-o", tmp_path / "m.onnx", "--input-shape", "1,3,4,8,8",
            "--python", sys.executable]  # fmt: skip
    try:
        assert cli.main([str(a) for a in call]) == code
        waiting.join()
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == f"cfp-onnx: error: {says}\n"
    for child in started.read_text().split():
        stat = Path(f"/proc/{child}/stat")
        for _ in range(1000):  # killed at once; the system may need a moment to clear it away
            try:
                if ") Z " in stat.read_text():
                    break
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.01)
        else:
            pytest.fail("it still runs")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "m.onnx").exists()


def test_an_unknown_report_is_refused(order, tmp_path):
    refused(order(report={"format": 2}), tmp_path / "m.onnx", "left no usable result")
