"""Class Feature Pyramids for ONNX: the kernels, at every depth, behind a classifier's answer.

    import cfp_onnx as cfp
    pyramid = cfp.explain("model.onnx", "clip.mp4", target="archery", depth=3)
    pyramid.save("out/")

Everything but the errors is loaded when it is first used, so that the import costs next to nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
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

if TYPE_CHECKING:
    from cfp_onnx.baselines import Baseline, baseline, load_baseline
    from cfp_onnx.checked import Checked
    from cfp_onnx.compare import compare
    from cfp_onnx.comparison import Comparison
    from cfp_onnx.explain import explain, topology
    from cfp_onnx.gate import check
    from cfp_onnx.limits import Limits, Policy, read_policy
    from cfp_onnx.media import PRESETS, Preprocess
    from cfp_onnx.model import load
    from cfp_onnx.pyramid import Pyramid, load_pyramid
    from cfp_onnx.saving import Drawing

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - grouped by what a reader looks for
    # verbs
    "load",
    "explain",
    "compare",
    "baseline",
    "check",
    "load_baseline",
    "load_pyramid",
    "read_policy",
    "topology",
    # values
    "Baseline",
    "Checked",
    "Comparison",
    "Drawing",
    "Limits",
    "Policy",
    "PRESETS",
    "Preprocess",
    "Pyramid",
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
    "explain": "cfp_onnx.explain",
    "compare": "cfp_onnx.compare",
    "baseline": "cfp_onnx.baselines",
    "Baseline": "cfp_onnx.baselines",
    "load_baseline": "cfp_onnx.baselines",
    "check": "cfp_onnx.gate",
    "Checked": "cfp_onnx.checked",
    "Limits": "cfp_onnx.limits",
    "Policy": "cfp_onnx.limits",
    "read_policy": "cfp_onnx.limits",
    "Comparison": "cfp_onnx.comparison",
    "topology": "cfp_onnx.explain",
    "PRESETS": "cfp_onnx.media",
    "Preprocess": "cfp_onnx.media",
    "Pyramid": "cfp_onnx.pyramid",
    "load_pyramid": "cfp_onnx.pyramid",
    "Drawing": "cfp_onnx.saving",
}

_VERBS = ("explain", "compare")
"""Modules that are called like what they hold."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    if name in _VERBS:
        return module
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Verb(ModuleType):
    """The module `cfp_onnx.explain` or `cfp_onnx.compare`, which is also the call of its own name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **options)


class _Package(ModuleType):
    """Lets a verb and its module share a name, whichever of them is asked for first."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _VERBS and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
