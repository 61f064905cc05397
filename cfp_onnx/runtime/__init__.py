"""The only user of onnxruntime: probes, sessions and runs."""

from cfp_onnx.runtime.device import Device, import_onnxruntime, providers
from cfp_onnx.runtime.model_graph import Graph
from cfp_onnx.runtime.observation import observe
from cfp_onnx.runtime.random_inputs import random_feeds
from cfp_onnx.runtime.session import answers, plain_session, refuse_invalid, run

__all__ = [
    "Device", "Graph",
    "answers", "import_onnxruntime", "observe", "plain_session", "providers", "random_feeds",
    "refuse_invalid", "run",
]  # fmt: skip
