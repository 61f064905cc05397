"""Checks of the twin by authorities of its own: the runtime, numerical derivatives, permutations and sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from twin import evaluate, fields, zplus

Array = npt.NDArray[Any]

STEP = 1e-6


def build(body: str, weights: Mapping[str, Array], inputs: str, opset: int = 21) -> onnx.ModelProto:
    """A model from ONNX text; ``y`` is the output, numbers are float32."""
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : {opset}]> net (float[{inputs}] x) => (float[N, J] y) {{ {body} }}'
    )
    for name, value in weights.items():
        wide = value.astype(np.float32) if value.dtype.kind == "f" else value
        model.graph.initializer.append(numpy_helper.from_array(wide, name))
    return model


def conv_weights(rng: np.random.Generator, **shapes: tuple[int, ...]) -> dict[str, Array]:
    return {name: rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:]))) for name, shape in shapes.items()}


def residual(rng: np.random.Generator) -> onnx.ModelProto:
    """3-D: strided, grouped and asymmetric convolutions, batch norm, shortcut, Concat, pools, Gemm."""
    weights = conv_weights(
        rng,
        a=(6, 2, 1, 3, 3),
        ab=(6,),
        b=(6, 3, 3, 1, 1),
        c=(6, 1, 3, 3, 3),
        d=(4, 6, 1, 1, 1),
        f=(5, 10),
        fb=(5,),
    )
    weights |= {"s": rng.uniform(0.5, 2, 6), "o": rng.standard_normal(6), "m": rng.standard_normal(6)}
    weights |= {"v": rng.uniform(0.5, 2, 6)}
    return build(
        """
        c1 = Conv <strides=[1,2,1], pads=[0,1,2,0,1,0]> (x, a, ab)
        n1 = BatchNormalization (c1, s, o, m, v)
        r1 = Relu (n1)
        c2 = Conv <group=2, pads=[1,0,0,1,0,0]> (r1, b)
        c3 = Conv <group=6, pads=[2,1,1,0,1,1]> (r1, c)
        sum = Add (c2, r1)
        both = Sub (sum, c3)
        r2 = Relu (both)
        p2 = MaxPool <kernel_shape=[2,3,3], strides=[1,2,2], pads=[0,1,1,0,1,1]> (r2)
        c4 = Conv (p2, d)
        r4 = Relu (c4)
        cat = Concat <axis=1> (r4, p2)
        avg = AveragePool <kernel_shape=[2,2,2], strides=[1,1,1], pads=[0,0,1,1,0,0], ceil_mode=0> (cat)
        g = GlobalAveragePool (avg)
        flat = Flatten (g)
        z = Gemm <alpha=0.5, transB=1> (flat, f, fb)
        y = Softmax (z)
        """,
        weights,
        "1,2,4,7,6",
    )


def shuffled(rng: np.random.Generator) -> onnx.ModelProto:
    """2-D: Split, shuffle by Reshape and Transpose, Pad, Slice, Clip, transposed convolution, MatMul."""
    weights = conv_weights(rng, a=(8, 3, 3, 3), b=(4, 2, 3, 3), t=(8, 3, 3, 2), w=(6, 4), e=(4,))
    weights |= {"five": np.array([1, 2, 4, 7, 7]), "four": np.array([1, 8, 7, 7]), "half": np.array([4, 4])}
    weights |= {"pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "two": np.array([2.0]), "cut": np.array([1])}
    weights |= {"end": np.array([9]), "axis": np.array([3]), "hw": np.array([2, 3]), "zero": np.array(0.0)}
    weights |= {"six": np.array(6.0)}
    return build(
        """
        c1 = Conv <auto_pad="SAME_UPPER"> (x, a)
        r1 = Clip (c1, zero, six)
        v5 = Reshape (r1, five)
        v6 = Transpose <perm=[0,2,1,3,4]> (v5)
        v7 = Reshape (v6, four)
        left, right = Split <axis=1> (v7, half)
        c2 = Conv <group=2, dilations=[2,1], pads=[2,1,2,1]> (left, b)
        back = Concat <axis=1> (right, c2)
        wide = Pad (back, pads)
        scaled = Mul (wide, two)
        r2 = Relu (scaled)
        cut_ = Slice (r2, cut, end, axis)
        ct = ConvTranspose <group=2, strides=[2,1], output_padding=[1,0], pads=[1,0,0,1]> (cut_, t)
        r3 = Relu (ct)
        pool = ReduceMean <keepdims=0> (r3, hw)
        z = MatMul (pool, w)
        y = Add (z, e)
        """,
        weights,
        "1,3,7,7",
    )


def plain(rng: np.random.Generator) -> onnx.ModelProto:
    """1-D and free of biases: what arrives at the target left the input."""
    weights = conv_weights(rng, a=(5, 3, 3), b=(6, 5, 2), w=(6, 4))
    return build(
        """
        c1 = Conv <pads=[1,1]> (x, a)
        r1 = Relu (c1)
        p1 = AveragePool <kernel_shape=[3], strides=[2], pads=[1,1], count_include_pad=1, ceil_mode=1> (r1)
        c2 = Conv (p1, b)
        r2 = Relu (c2)
        g = GlobalMaxPool (r2)
        flat = Flatten (g)
        y = MatMul (flat, w)
        """,
        weights,
        "1,3,10",
    )


NETS = {"residual": residual, "shuffled": shuffled, "plain": plain}


def shape_of(model: onnx.ModelProto) -> list[int]:
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]


def feed(model: onnx.ModelProto, rng: np.random.Generator) -> dict[str, Array]:
    return {"x": rng.standard_normal(shape_of(model)).astype(np.float32)}


def margin(scores: Array, target: int) -> float:
    others = np.delete(scores.reshape(-1), target)
    return float(scores.reshape(-1)[target] - others.mean())


def before_softmax(model: onnx.ModelProto) -> str:
    last = model.graph.node[-1]
    return last.input[0] if last.op_type == "Softmax" else last.output[0]


def slope(
    model: onnx.ModelProto, feeds: dict[str, Array], tensor: str, channel: int, held: Mapping[str, Array]
) -> float:
    """d margin / d eps of ``tensor[:, channel] *= 1 + eps``, by central differences."""
    ends, values = [], evaluate(model, feeds)
    for eps in (STEP, -STEP):
        moved = values[tensor].copy()
        moved[:, channel] *= 1 + eps
        ends.append(margin(evaluate(model, feeds, held={tensor: moved, **held})[before_softmax(model)], 2))
    return (ends[0] - ends[1]) / (2 * STEP)


def check_slopes(model: onnx.ModelProto, feeds: dict[str, Array], held: Mapping[str, Array]) -> set[str]:
    result = fields(model, feeds, target=2)
    checked = {name for name in result.fields if result.values[name].shape[:1] == (1,)}
    for name in checked:
        found = result.relevance(name)
        expected = [slope(model, feeds, name, c, held) for c in range(found.size)]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7, err_msg=name)
    return checked


@pytest.mark.parametrize("net", NETS)
def test_forward_agrees_with_the_runtime(net: str, rng: np.random.Generator) -> None:
    model = NETS[net](rng)
    made = [name for node in model.graph.node for name in node.output]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made if name != "y"
    )
    feeds = feed(model, rng)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    values = evaluate(model, feeds)
    for name, expected in zip(names, session.run(names, feeds), strict=True):
        np.testing.assert_allclose(values[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("net", NETS)
def test_positional_relevance_is_the_slope_of_scaling_a_channel(net: str, rng: np.random.Generator) -> None:
    model = NETS[net](rng)
    checked = check_slopes(model, feed(model, rng), {})
    assert checked >= {"x", "c1", "r1", "c2", "r2"}


def test_a_gate_is_held_and_its_path_gets_nothing(rng: np.random.Generator) -> None:
    weights = conv_weights(rng, a=(4, 3, 3, 3), q=(4, 4, 1, 1), w=(4, 5))
    model = build(
        """
        c1 = Conv (x, a)
        r1 = Relu (c1)
        pool = GlobalAveragePool (r1)
        q1 = Conv (pool, q)
        s = Sigmoid (q1)
        gated = Mul (s, r1)
        g = GlobalAveragePool (gated)
        flat = Flatten (g)
        y = MatMul (flat, w)
        """,
        weights,
        "1,3,6,6",
    )
    feeds = feed(model, rng)
    checked = check_slopes(model, feeds, {"s": evaluate(model, feeds)["s"]})
    assert not checked & {"s", "q1", "pool"}


def test_normalisation_holds_the_deviation(rng: np.random.Generator) -> None:
    """The twin's field against finite differences of the same map with the recorded deviation."""
    weights = {"s": rng.uniform(0.5, 2, 6), "o": rng.standard_normal(6)}
    model = build("t = GroupNormalization <num_groups=2> (x, s, o)\ny = Flatten (t)", weights, "1,6,1,1")
    feeds = feed(model, rng)
    found = fields(model, feeds, target=2, class_step="contribution").fields["x"].reshape(-1)
    x = feeds["x"].astype(np.float64).reshape(2, 3)
    deviation = np.sqrt(x.var(axis=1) + 1e-5)
    expected = np.zeros(6)
    scale = float(np.float32(weights["s"][2]))
    expected[:3] = scale / deviation[0] * (np.arange(3) == 2) - scale / deviation[0] / 3
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_attention_weights_are_held_and_the_value_receives(rng: np.random.Generator) -> None:
    weights = conv_weights(rng, q=(4, 4), k=(4, 4), v=(4, 4), w=(4, 5)) | {"one": np.array([1])}
    model = build(
        """
        query = MatMul (x, q)
        key = MatMul (x, k)
        value = MatMul (x, v)
        turned = Transpose <perm=[0,2,1]> (key)
        scores = MatMul (query, turned)
        att = Softmax <axis=-1> (scores)
        mixed = MatMul (att, value)
        pool = ReduceMean <keepdims=0> (mixed, one)
        y = MatMul (pool, w)
        """,
        weights,
        "1,3,4",
    )
    feeds = feed(model, rng)
    checked = check_slopes(model, feeds, {"att": evaluate(model, feeds)["att"]})
    assert {"x", "value"} <= checked
    assert not checked & {"query", "key", "att"}


ACTIVATIONS = """Relu LeakyRelu
Elu Selu Celu Gelu HardSwish HardSigmoid Tanh ThresholdedRelu Mish Softsign Exp
Abs Sigmoid Softplus Erf"""


@pytest.mark.parametrize("op", ACTIVATIONS.split())
def test_activation_hands_down_its_rise_above_zero(op: str, rng: np.random.Generator) -> None:
    """``g * x`` is f(x) - f(0) for each element, and at 0 the field is the slope from the left."""
    model = build(f"t = {op} (x)\ny = Mul (t, one)", {"one": np.array(1.0)}, "1,7")
    x = np.array([[-2.0, -0.4, 0.0, 1e-12, 0.3, 1.5, 4.0]], dtype=np.float32)
    for k in range(x.size):
        result = fields(model, {"x": x}, target=k, class_step="contribution")
        rise = evaluate(model, {"x": x})["t"] - evaluate(model, {"x": np.zeros_like(x)})["t"]
        assert result.relevance("x")[k] == pytest.approx(rise[0, k], abs=1e-10)
    step = np.array([[-1e-7] * 7])
    left = (evaluate(model, {"x": step})["t"] - evaluate(model, {"x": 0 * step})["t"]) / step
    at_zero = fields(model, {"x": x}, target=2, class_step="contribution").fields["x"][0, 2]
    assert at_zero == pytest.approx(0.0 if op == "Abs" else left[0, 0], abs=1e-6)


def test_permuting_kernels_permutes_relevance(rng: np.random.Generator) -> None:
    model = plain(rng)
    feeds, order = feed(model, rng), np.array([3, 0, 4, 1, 2])
    turned = onnx.ModelProto()
    turned.CopyFrom(model)
    for tensor in turned.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.name in {"a", "b"}:
            moved = value[order] if tensor.name == "a" else value[:, order]
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(moved), tensor.name))
    for rule in ("positional", "active"):
        one, two = (fields(m, feeds, target=1, rule=rule) for m in (model, turned))
        for name in ("c1", "r1", "p1"):
            np.testing.assert_allclose(two.relevance(name), one.relevance(name)[order], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(two.relevance("x"), one.relevance("x"), rtol=1e-10, atol=1e-12)


def test_active_is_positional_where_maps_have_one_position(rng: np.random.Generator) -> None:
    weights = conv_weights(rng, a=(6, 3, 1, 1), b=(5, 6, 1, 1), w=(5, 4))
    body = """c1 = Conv (x, a)
        r1 = Relu (c1)
        c2 = Conv (r1, b)
        r2 = Relu (c2)
        f = Flatten (r2)
        y = MatMul (f, w)"""
    model = build(body, weights, "1,3,1,1")
    feeds = feed(model, rng)
    one, two = (fields(model, feeds, target=0, rule=rule) for rule in ("positional", "active"))
    assert one.fields.keys() == two.fields.keys()
    for name in one.fields:
        np.testing.assert_allclose(two.relevance(name), one.relevance(name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["positional", "active"])
def test_without_biases_nothing_is_lost(rule: str, rng: np.random.Generator) -> None:
    model = plain(rng)
    feeds = feed(model, rng)
    result = fields(model, feeds, target=2, rule=rule)
    total = margin(result.values["y"], 2)
    for name in result.fields:
        assert result.relevance(name).sum() == pytest.approx(total, rel=1e-10), name


def test_a_bias_takes_its_share(rng: np.random.Generator) -> None:
    model = residual(rng)
    result = fields(model, feed(model, rng), target=0)
    bias = result.values["ab"]
    share = (result.fields["c1"].sum(axis=(0, 2, 3, 4)) * bias).sum()
    assert result.relevance("x").sum() == pytest.approx(result.relevance("c1").sum() - share, rel=1e-10)


def test_active_pools_each_map_and_keeps_its_relevance(rng: np.random.Generator) -> None:
    model = plain(rng)
    feeds = feed(model, rng)
    result = fields(model, feeds, target=2, rule="active")
    g, y = result.fields["r1"], result.values["r1"]
    assert np.ptp(g, axis=2).max() == 0
    held = y.mean(axis=(0, 2)) >= 1e-6
    p1 = result.fields["p1"]
    spread = np.zeros_like(y)
    for window in range(p1.shape[2]):
        reads = [i for i in range(2 * window - 1, 2 * window + 2) if 0 <= i < y.shape[2]]
        divisor = 2 if window == 5 else 3  # the last window's end lies beyond the padding
        spread[:, :, reads] += p1[:, :, window : window + 1] / divisor
    expected = (spread * y).sum(axis=(0, 2))
    np.testing.assert_allclose(result.relevance("r1")[held], expected[held], rtol=1e-10)


def test_seed_is_the_value_before_the_softmax(rng: np.random.Generator) -> None:
    model = residual(rng)
    result = fields(model, feed(model, rng), target=3)
    np.testing.assert_allclose(result.fields["z"], [[-0.25, -0.25, -0.25, 1.0, -0.25]])
    assert "y" not in result.fields


def test_what_has_no_adjoint_is_named(rng: np.random.Generator) -> None:
    model = build("t = Sin (x)\ny = Flatten (t)", {}, "1,4")
    with pytest.raises(NotImplementedError, match="Sin"):
        fields(model, feed(model, rng), target=0)


def test_relevance_is_shared_by_positive_products_as_reckoned_by_hand() -> None:
    """Channels 3, 1 and 2 under weights 2, 5 and -4: what arrives goes down as 6 to 5 to nothing."""
    weights = {"e": np.eye(3)[:, :, None], "a": np.array([[[2.0], [5.0], [-4.0]]]), "w": np.array([[0.5, 0.0]])}
    body = "b = Conv (x, e)\nr = Relu (b)\nc = Conv (r, a)\nq = Relu (c)\nf = Flatten (q)\ny = MatMul (f, w)"
    x = np.array([3.0, 1.0, 2.0]).reshape(1, 3, 1)
    found = zplus(build(body, weights, "1,3,1"), {"x": x}, target=0, class_step="contribution")
    assert found.starts == ("q",)
    np.testing.assert_allclose(found.kernels("q"), [1.5])
    np.testing.assert_allclose(found.kernels("r"), [1.5 * 6 / 11, 1.5 * 5 / 11, 0])
    np.testing.assert_allclose(found.totals["c"].reshape(-1), [11])


def test_relevance_is_nowhere_negative_and_never_grows(rng: np.random.Generator) -> None:
    model = residual(rng)
    feeds, heard = feed(model, rng), 0.0
    for target in range(5):
        found = zplus(model, feeds, target=target)
        start = sum(found.found[name].sum() for name in found.starts)
        for name, relevance in found.found.items():
            assert relevance.min() >= 0, name
            assert relevance.sum() <= start * (1 + 1e-9), name
        heard = max(heard, start)
    assert heard > 0


def test_rivals_take_the_place_of_the_mean_of_the_others(rng: np.random.Generator) -> None:
    model = plain(rng)
    feeds = feed(model, rng)
    alike = np.full(4, 1 / 3)
    one, two = zplus(model, feeds, target=1), zplus(model, feeds, target=1, others=alike)
    assert one.found["r1"].sum() > 0
    np.testing.assert_allclose(two.found["r1"], one.found["r1"], rtol=1e-12)
    third = zplus(model, feeds, target=1, others=np.array([1.0, 0, 0, 0]))
    assert not np.allclose(third.found["r1"], one.found["r1"])
