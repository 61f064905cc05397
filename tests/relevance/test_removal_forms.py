"""Forms of linear operators: a kernel's relevance is what the score loses when its weights are 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from text_net import network, saved

from cfp_onnx import explain

FORMS: dict[str, dict[str, Any]] = {
    "ConvTranspose <strides=[2,2], output_shape=[14,12]> (a, v)": {"v": (4, 6, 3, 3)},
    "ConvTranspose <strides=[2,2], output_shape=[16,13]> (a, v)": {"v": (4, 6, 3, 3)},
    "ConvTranspose <strides=[2,2], output_shape=[14,13], output_padding=[1,1]> (a, v)": {"v": (4, 6, 3, 3)},
    'ConvTranspose <strides=[3,2], auto_pad="SAME_UPPER"> (a, v)': {"v": (4, 6, 3, 3)},
    'ConvTranspose <strides=[2,2], auto_pad="SAME_LOWER", output_shape=[14,12]> (a, v)': {"v": (4, 6, 3, 3)},
    "ConvTranspose <group=2, strides=[2,1], pads=[0,1,1,0]> (a, v)": {"v": (4, 3, 3, 3)},
    "ConvTranspose <group=4, strides=[2,2], dilations=[1,2], output_padding=[1,0]> (a, v)": {"v": (4, 1, 3, 3)},
    "AveragePool <kernel_shape=[3,3], ceil_mode=1, strides=[2,2], pads=[1,1,1,1], count_include_pad=1> (a)": {},
    'AveragePool <kernel_shape=[3,2], auto_pad="SAME_LOWER", strides=[2,2], count_include_pad=1> (a)': {},
    "AveragePool <kernel_shape=[2,2], dilations=[2,1]> (a)": {},
    'Pad <mode="wrap"> (a, p)': {"p": np.array([0, 0, 1, 2, 0, 0, 2, 1])},
    'Pad <mode="reflect"> (a, p)': {"p": np.array([0, 0, 1, 2, 0, 0, 2, 1])},
    "Slice (a, s, e, t, u)": {
        "s": np.array([-1, 5]), "e": np.array([-100, 0]), "t": np.array([2, 3]), "u": np.array([-2, -1]),
    },
    "GatherND <batch_dims=1> (a, i)": {"i": np.array([[[1, 2], [3, 3]]])},
    "CumSum (a, i)": {"i": np.int64(1)},
    "CumSum <reverse=1, exclusive=1> (a, i)": {"i": np.int64(3)},
    "Trilu (a)": {},
    "CenterCropPad <axes=[2,3]> (a, s)": {"s": np.array([4, 9])},
    'Einsum <equation="bchw,chk->bwk"> (a, v)': {"v": (4, 7, 5)},
    'Einsum <equation="bchw,khc->bkw"> (a, v)': {"v": (5, 7, 4)},
    'Einsum <equation="bchw->bwc"> (a)': {},
}  # fmt: skip
CLIP = np.random.default_rng(0).standard_normal((1, 3, 7, 6)).astype(np.float32)
SHAPE = "float[1,3,7,6] x"


def run(model: onnx.ModelProto) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": CLIP})[0])


def without(model: onnx.ModelProto, kernel: int) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    held = next(i for i in copy.graph.initializer if i.name == "w")
    values = numpy_helper.to_array(held).copy()
    values[kernel] = 0
    held.CopyFrom(numpy_helper.from_array(values, "w"))
    return copy


@pytest.mark.parametrize("form", FORMS)
def test_relevance_is_what_the_score_loses(form: str, tmp_path: Path) -> None:
    body, weights = f"a = Conv (x, w)\nb = {form}\nf = Flatten (b)\n", {"w": (4, 3, 1, 1), **FORMS[form]}
    count = run(network(f"{body}y = Identity (f)", weights, SHAPE)).shape[1]
    model = network(f"{body}y = MatMul (f, z)", {**weights, "z": (count, 3)}, SHAPE)
    pyramid = explain(saved(model, tmp_path), CLIP, target=1, depth="all", class_step="contribution", tubes=False)
    assert pyramid.coverage.complete
    whole = run(model)[0, 1]
    lost = [whole - run(without(model, k))[0, 1] for k in range(4)]
    np.testing.assert_allclose(pyramid.layer("a").relevance, lost, atol=1e-3 * max(map(abs, lost)))
