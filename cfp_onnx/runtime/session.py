"""Sessions of the runtime, and one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx.errors import DeviceError, ModelError, RunError
from cfp_onnx.model import Model
from cfp_onnx.runtime.device import Device, import_onnxruntime, providers
from cfp_onnx.text import first_line
from cfp_onnx.values import Array

if TYPE_CHECKING:
    import onnxruntime as ort


def create_session(rt: Any, source: bytes | str, options: Any, device: Device) -> ort.InferenceSession:
    """A session on a device.

    Args:
        rt: The onnxruntime module.
        source: The model as bytes, or its path.
        options: The runtime's session options.
        device: Where to run.

    Raises:
        ModelError: If the runtime cannot run an operator or refuses the graph.
        DeviceError: If the provider asked for was not obtained.
    """
    chain = providers(device)
    try:
        session = rt.InferenceSession(source, options, providers=chain)
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime") or isinstance(error, RuntimeError | ValueError):
            raise ModelError(
                f"onnxruntime cannot run this model: {_reason(error)}; export it so that onnxruntime runs it alone"
            ) from error
        raise
    first = chain[0][0] if isinstance(chain[0], tuple) else chain[0]
    if session.get_providers()[0] != first:
        raise DeviceError(
            f"{first} was asked for but the session fell back to {session.get_providers()[0]}; see `cfp-onnx doctor`"
        )
    session.disable_fallback()
    return session


def _reason(error: BaseException) -> str:
    text = first_line(error)
    return text.split("] : ", 1)[-1]


def plain_session(model: Model, device: Device) -> ort.InferenceSession:
    """A session on the file as it is."""
    rt = import_onnxruntime()
    options = rt.SessionOptions()
    options.log_severity_level = 4
    if device.threads is not None:
        options.intra_op_num_threads = device.threads
    return create_session(rt, str(model.path), options, device)


def refuse_invalid(model: Model) -> None:
    """Refuse a file that the runtime would not load as it is; nothing is run, and nothing made ready for it.

    Raises:
        ModelError: If it is one.
    """
    rt = import_onnxruntime()
    options = rt.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = rt.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    create_session(rt, str(model.path), options, Device("cpu"))


def run(session: ort.InferenceSession, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """One forward pass.

    Raises:
        RunError: If the runtime fails on these inputs; the message quotes it.
    """
    if not names:  # the runtime would return every output
        return []
    try:
        return list(session.run(list(names), {k: np.asarray(v) for k, v in feeds.items()}))
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime") or isinstance(error, RuntimeError | ValueError):
            raise RunError(
                f"onnxruntime failed on this input: {_reason(error)}; give a clip of the sizes that the model takes"
            ) from error
        raise


def answers(model: Model, session: ort.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every output of a file; of a map of scores for each item the scores, in the order of its keys.

    Args:
        model: The file as it was loaded.
        session: What `plain_session` gave for it.
        feeds: Arrays for all inputs.

    Raises:
        RunError: If the runtime fails on these inputs.
    """
    names = [p.name for p in model.outputs]
    found = dict(zip(names, run(session, names, feeds), strict=True))
    maps: dict[str, Any] = {k: found[k] for k in model.maps}
    found.update(
        {k: np.array([[item[key] for key in model.maps[k]] for item in m], np.float32) for k, m in maps.items()}
    )
    return found


__all__ = ["answers", "create_session", "plain_session", "refuse_invalid", "run"]
