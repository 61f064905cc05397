"""Devices: which are known, and which this runtime has."""

from __future__ import annotations

import onnxruntime
import pytest

from cfp_onnx import runtime
from cfp_onnx.errors import DeviceError


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", ""])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="unknown device"):
        runtime.providers(runtime.Device(name))


def test_a_device_that_this_runtime_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="no CUDAExecutionProvider"):
        runtime.providers(runtime.Device("cuda"))
    assert runtime.providers(runtime.Device("auto")) == ["CPUExecutionProvider"]
