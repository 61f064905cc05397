"""What every test may ask for, and which marked tests this machine cannot run."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SEED = 20190524


def _shared_dir() -> Path:
    return Path(os.environ.get("CFP_SHARED") or REPOSITORY.parent / "shared")


@functools.cache
def _why_no_cuda() -> str | None:
    """The reason why no session can run on CUDA; None where one can.

    A build with CUDA lists its provider on machines without a device too, so only a session that stays
    on the device counts.
    """
    try:
        import onnxruntime
    except ImportError as error:
        return f"onnxruntime cannot be imported: {error}"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this onnxruntime has no CUDA provider"
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    from cfp_onnx.doctor import PROBE_MODEL

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(PROBE_MODEL, options, providers=["CUDAExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - the runtime raises its own types; any of them means no CUDA
        return f"no CUDA session: {error}"
    return None if "CUDAExecutionProvider" in session.get_providers() else "the session fell back to the CPU"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    shared = _shared_dir()
    for item in items:
        if item.get_closest_marker("shared") and not shared.is_dir():
            item.add_marker(pytest.mark.skip(reason="no reference folder; set CFP_SHARED"))
        if item.get_closest_marker("gpu") and (reason := _why_no_cuda()):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of reference models and results that lie outside the repository."""
    folder = _shared_dir()
    if not folder.is_dir():
        pytest.skip("no reference folder; set CFP_SHARED")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with the same stream in every test and on every machine."""
    return np.random.default_rng(SEED)
