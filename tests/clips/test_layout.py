"""The layout is read off the model, asked for, or checked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clip_files import VIDEO

from cfp_onnx.clips.layout import layout_of
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import UsageError


@pytest.mark.parametrize(
    ("shape", "axis", "layout"),
    [
        ((None, 3, 16, 112, 112), None, "NCTHW"),
        ((None, 16, 3, 112, 112), None, "NTCHW"),
        ((1, 16, 112, 112, 3), None, "NTHWC"),
        ((1, 1, 16, 112, 112), None, "NCTHW"),
        ((1, 16, 112, 112, 1), None, "NTHWC"),
        ((1, 3, 3, 112, 112), 2, "NTCHW"),
        ((None, None, None, None, None), 4, "NTHWC"),
        ((1, 3, 224, 224), None, "NCHW"),
        ((1, 224, 224, 3), None, "NHWC"),
        ((1, None, None, None), 3, "NHWC"),
        ((1, 1, 16000), None, "NCL"),
        ((1, 40, 300), 2, "NLC"),
        ((1, 10), None, "NC"),
    ],
)
def test_layout_is_read_off_the_model(shape, axis, layout):
    assert layout_of(InputSpec("x", shape, "float32", axis)) == layout


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1, 3, 3, 112, 112), None),
        ((1, 3, 16, 112, 3), None),
        ((1, 10, 16, 112, 112), None),
        ((None,) * 5, None),
        ((1, 16, 112, 3, 112), 3),
        ((1, 40, 300), None),
        ((3,), None),
        ((1, 1, 3, 3, 112, 112), None),
    ],
)
def test_an_ambiguous_layout_asks(shape, axis):
    with pytest.raises(UsageError, match="--layout"):
        layout_of(InputSpec("x", shape, "float32", axis))


def test_a_requested_layout_settles_it():
    spec = InputSpec("x", (1, 3, 3, 112, 112))
    assert layout_of(spec, "NTCHW") == "NTCHW"
    assert layout_of(spec, "n,c,t,h,w") == "NCTHW"
    assert layout_of(InputSpec("flow", (1, 10, 16, 112, 112)), "NCTHW") == "NCTHW"


@pytest.mark.parametrize(
    ("requested", "words"),
    [
        ("NCHW", "names 4 axes"),
        ("NTHWC", "the graph reads them from axis 1"),
        ("NCTHH", "each axis once"),
        ("NCTHX", "each axis once"),
        ("NLTHW", "each axis once"),
    ],
)
def test_a_requested_layout_is_checked(requested, words):
    with pytest.raises(UsageError, match=words):
        layout_of(VIDEO, requested)


def test_a_requested_layout_is_checked_against_the_channel_count():
    with pytest.raises(UsageError, match="32 channels"):
        layout_of(replace(VIDEO, channel_axis=None), "NTHWC")
