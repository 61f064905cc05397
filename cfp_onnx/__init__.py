"""Class Feature Pyramids for ONNX: the kernels, at every depth, behind a classifier's answer.

    import cfp_onnx as cfp
    pyramid = cfp.explain("model.onnx", "clip.mp4", target="archery", depth=3)
    pyramid.save("out/")

Everything but the errors is loaded when it is first used, so that the import costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cfp_onnx.errors import (
    CfpError,
    ClipError,
    DeviceError,
    LimitError,
    ModelError,
    OutputError,
    RunError,
    TargetError,
    UnsupportedOperatorError,
    UsageError,
)
from cfp_onnx.version import __version__

if TYPE_CHECKING:
    from cfp_onnx.checking.baseline import baseline
    from cfp_onnx.checking.baseline_file import Baseline, load_baseline
    from cfp_onnx.checking.call import check
    from cfp_onnx.checking.policy import Limits, Policy, read_policy
    from cfp_onnx.checking.result import Checked
    from cfp_onnx.clips.preprocess import Preprocess
    from cfp_onnx.clips.presets import PRESETS
    from cfp_onnx.comparison.call import compare
    from cfp_onnx.comparison.result import Comparison
    from cfp_onnx.conversion.call import Conversion, convert
    from cfp_onnx.datasets.call import Ran, dataset, load_run
    from cfp_onnx.datasets.manifests import manifest
    from cfp_onnx.datasets.result import ClassPyramid
    from cfp_onnx.datasets.run import Run
    from cfp_onnx.explanation.call import explain, topology
    from cfp_onnx.model import load
    from cfp_onnx.pyramid.drawings import Drawing
    from cfp_onnx.pyramid.load import load_pyramid
    from cfp_onnx.pyramid.result import Pyramid

__all__ = [  # noqa: RUF022 - grouped by what a reader looks for
    # verbs
    "load",
    "explain",
    "compare",
    "baseline",
    "check",
    "convert",
    "load_baseline",
    "load_pyramid",
    "manifest",
    "dataset",
    "load_run",
    "read_policy",
    "topology",
    # values
    "Baseline",
    "Checked",
    "ClassPyramid",
    "Comparison",
    "Conversion",
    "Drawing",
    "Limits",
    "Policy",
    "PRESETS",
    "Preprocess",
    "Pyramid",
    "Ran",
    "Run",
    # errors
    "CfpError",
    "ClipError",
    "DeviceError",
    "LimitError",
    "ModelError",
    "OutputError",
    "RunError",
    "TargetError",
    "UnsupportedOperatorError",
    "UsageError",
    "__version__",
]  # fmt: skip

_HOMES = {
    "load": "cfp_onnx.model",
    "explain": "cfp_onnx.explanation.call",
    "compare": "cfp_onnx.comparison.call",
    "convert": "cfp_onnx.conversion.call",
    "baseline": "cfp_onnx.checking.baseline",
    "Baseline": "cfp_onnx.checking.baseline_file",
    "manifest": "cfp_onnx.datasets.manifests",
    "dataset": "cfp_onnx.datasets.call",
    "load_run": "cfp_onnx.datasets.call",
    "Ran": "cfp_onnx.datasets.call",
    "Run": "cfp_onnx.datasets.run",
    "ClassPyramid": "cfp_onnx.datasets.result",
    "load_baseline": "cfp_onnx.checking.baseline_file",
    "check": "cfp_onnx.checking.call",
    "Checked": "cfp_onnx.checking.result",
    "Limits": "cfp_onnx.checking.policy",
    "Policy": "cfp_onnx.checking.policy",
    "read_policy": "cfp_onnx.checking.policy",
    "Comparison": "cfp_onnx.comparison.result",
    "Conversion": "cfp_onnx.conversion.call",
    "topology": "cfp_onnx.explanation.call",
    "PRESETS": "cfp_onnx.clips.presets",
    "Preprocess": "cfp_onnx.clips.preprocess",
    "Pyramid": "cfp_onnx.pyramid.result",
    "load_pyramid": "cfp_onnx.pyramid.load",
    "Drawing": "cfp_onnx.pyramid.drawings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
