"""Which runtime is installed, and where it runs."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfp_onnx.doctor import cannot_load
from cfp_onnx.errors import DeviceError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Device:
    """Where to run: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``tensorrt``, and with how many threads.

    Attributes:
        name: What was asked for.
        threads: Threads of the CPU provider; None leaves it to the runtime.
    """

    name: str = "auto"
    threads: int | None = None


@functools.cache
def import_onnxruntime() -> Any:
    """The onnxruntime module; what is installed is looked at once.

    Raises:
        DeviceError: If it or a system library of its is missing, or two flavours are installed over each other.
    """
    found = sorted(
        {
            d.metadata["Name"].lower()
            for d in importlib.metadata.distributions()
            if (d.metadata["Name"] or "").lower().startswith("onnxruntime")
        }
        & {"onnxruntime", "onnxruntime-gpu"}
    )
    if len(found) > 1:
        raise DeviceError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; type: "
            'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "cfp-onnx[gpu]"'
        )
    try:
        import onnxruntime as ort

        ort.set_default_logger_severity(4)
    except (ImportError, AttributeError) as error:
        raise DeviceError(cannot_load("onnxruntime", error)) from error
    return ort


def providers(device: Device) -> list[Any]:
    """Execution providers for a device, in the order to try.

    Raises:
        DeviceError: If the device asked for is unknown or its provider is not in this runtime.
    """
    ort = import_onnxruntime()
    available = ort.get_available_providers()
    name, _, index = device.name.partition(":")
    if name == "cpu" and not index:
        return ["CPUExecutionProvider"]
    if name == "auto":
        return [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available and _usable(ort, p)]
    wanted = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}.get(name)
    if wanted is None or (index and not index.isdigit()):
        raise DeviceError(f"unknown device {device.name!r}; choose auto, cpu, cuda, cuda:N or tensorrt")
    if wanted not in available:
        raise DeviceError(
            f"device {device.name!r} was asked for but this onnxruntime has no {wanted}; see `cfp-onnx doctor`"
        )
    _preload(ort)
    chain: list[Any] = [(wanted, {"device_id": int(index or 0)})]
    if name == "tensorrt":
        chain.append(("CUDAExecutionProvider", {"device_id": int(index or 0)}))
    return [*chain, "CPUExecutionProvider"]


def _preload(ort: Any) -> None:
    """Loads NVIDIA's libraries; the runtime prints what is missing, and stdout is for results."""
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()


def _usable(ort: Any, provider: str) -> bool:
    """Whether ``auto`` may try a provider: CUDA only where a driver shows a device."""
    if provider != "CUDAExecutionProvider":
        return True
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists() and os.name != "nt":
        return False
    _preload(ort)
    return True


__all__ = ["Device", "import_onnxruntime", "providers"]
