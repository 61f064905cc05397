"""What tests of pyramids share: one of the demo, a small one that nobody computed, and checks of files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import cfp_onnx as cfp
from benchmarks.demo_model import DEMO, DEMO_CLIP
from cfp_onnx.errors import UsageError
from cfp_onnx.pyramid.headers import CoverageHeader, InputHeader, ModelHeader, RunHeader, TargetHeader, TopClass
from cfp_onnx.pyramid.values import Edge, Kernel, LayerResult, Link, LinkSource


def explained(**options):
    """The built-in model on the built-in clip."""
    return cfp.explain(DEMO, DEMO_CLIP, device="cpu", **options)


def invented(**changes):
    """Two layers at one depth, an input, and a kernel that feeds another twice."""
    layers = (
        LayerResult("a", "Conv", "wa", ("a",), 3, 1, 1, (3,), "plain", 2, (4.0, -1.0, 2.0)),
        LayerResult("b", "Conv", "wb", ("b",), 2, 3, 1, (3,), "plain", 1, (0.5, 0.25)),
        LayerResult("b2", "Conv", "wb2", ("b2",), 2, 3, 1, (3,), "plain", 1, (80.0, 70.0)),
        LayerResult("head", "Gemm", "wh", ("head",), 2, 4, 1, (), "dense", 0, (0.0, 9.0)),
    )
    twice = (LinkSource("a", 0, 0.75, "chain"), LinkSource("a", 0, 0.25, "shortcut"))
    parts = {
        "model": ModelHeader(file="m.onnx", sha256="00", producer="", opset=20),
        "input": InputHeader(file=None, sha256="11", shape=(1, 1, 8), layout="NCL"),
        "run": RunHeader(
            rule="positional", class_step="contrast", theta=0.6, top_k=None, depth=2,
            provider="CPUExecutionProvider", output_difference=0.0, undefined=0,
        ),
        "target": TargetHeader(output="y", index=1, label=None, score=9.0, top=(TopClass(1, None, 9.0),)),
        "coverage": CoverageHeader(channels=1.0, layers=1.0, operators_unknown=()),
        "layers": layers,
        "levels": {1: (Kernel("b", 0, 0.5), Kernel("b", 1, 0.25), Kernel("b2", 0, 80.0)), 2: (Kernel("a", 0, 4.0),)},
        "edges": (
            Edge("head", 1, (Link(0, 1.0, (LinkSource("b", 0, 1.0),)), Link(2, 0.5, (LinkSource("b2", 0, 1.0),)))),
            Edge("b", 0, (Link(0, 0.75, twice),)),
            Edge("a", 0, (Link(0, -0.5, (LinkSource(None, 0, 1.0),)),)),
        ),
    }  # fmt: skip
    return cfp.Pyramid(**{**parts, **changes})


def refusal(path):
    """The one sentence that refuses a file as a pyramid."""
    with pytest.raises(UsageError) as caught:
        cfp.load_pyramid(path)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    assert len(text) < 400
    assert "Traceback" not in text
    return text


def picture(path):
    """A picture file that shows something."""
    found = cv2.imread(str(path))
    assert found is not None
    assert min(found.shape[:2]) > 100
    assert len(np.unique(found @ np.array([1, 256, 65536]))) > 50
    return found
