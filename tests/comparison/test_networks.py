"""Comparisons on networks of other kinds: towers of one shape, shortcuts before batch norm, splits, fused operators.

Each network is written here, once as it is and once otherwise; what must be found follows from what was done to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from network_sheet import CLASSES, CLIP, Array, Sheet, compare, edited, exchanged, renamed
from onnx import helper

import cfp_onnx as cfp

# ------------------------------------------------------------------------------- layers of one shape


def towers(path: Path, *, dropped: bool = False) -> Path:
    """Two towers of layers that have one shape, added; the first may be missing."""
    s = Sheet()
    stem = s.relu(s.conv("clip", "stem", 6, 3), "stem")
    ends = []
    for tower in "ab":
        x = stem
        for step in range(3):
            x = s.conv(s.relu(x, f"{tower}{step}/in") if step else x, f"{tower}{step}", 6, 6)
        ends.append(x)
    x = ends[1] if dropped else s.add("Add", ends, "add")
    if dropped:
        s.nodes = [n for n in s.nodes if not n.name.startswith("a")]
    x = s.relu(s.conv(s.relu(x, "sum"), "last", 6, 6), "last")
    return s.save(path, s.head(x, 6))


@pytest.mark.parametrize("names", ["named", "without names"])
def test_a_lost_branch_does_not_take_the_partners_of_others(tmp_path: Path, names: str) -> None:
    a, b = towers(tmp_path / "a.onnx"), towers(tmp_path / "b.onnx", dropped=True)
    b = b if names == "named" else renamed(b, tmp_path / "c.onnx")
    found = compare(a, b)
    assert found.only_a == ("a0", "a1", "a2")
    assert found.only_b == ()
    assert {x.evidence for x in found.layers} == {"weights"}
    assert (found.first.where, found.first.layer) == ("only_a", "a0")


# ---------------------------------------------------------------------------------------- shortcuts


def chain(path: Path, *, without: int | None = None, before: bool = False, silent: bool = False) -> Path:
    """Two blocks with shortcuts, batch norm in front of the Add, or behind it (`before`)."""
    s = Sheet()
    x = s.conv("clip", "stem", 6, 3)
    x = x if before else s.relu(s.norm(x, "stem", 6), "stem")
    for block in range(2):
        y = s.relu(s.norm(x, f"x{block}/in", 6), f"x{block}/in") if before else x
        y = s.relu(s.norm(s.conv(y, f"x{block}a", 6, 6), f"x{block}a", 6), f"x{block}a")
        y = s.conv(y, f"x{block}b", 6, 6)
        y = y if before else s.norm(y, f"x{block}b", 6)
        y = y if block == without else s.add("Add", [x, y], f"x{block}/add")
        x = y if before or (silent and not block) else s.relu(y, f"x{block}")
    x = s.relu(s.norm(x, "end", 6), "end") if before else x
    return s.save(path, s.head(x, 6))


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(("block", "who"), [(0, "'stem'"), (1, "'stem' and 'x0b'")])
@pytest.mark.parametrize("turned", [False, True])
def test_a_dropped_shortcut_is_no_other_thing(tmp_path: Path, before: bool, block: int, who: str, turned: bool) -> None:
    """With the Add gone, the Relu or the batch norm behind it follows the layer itself, in that file only."""
    a, b = chain(tmp_path / "a.onnx", before=before), chain(tmp_path / "b.onnx", before=before, without=block)
    found = compare(b, a) if turned else compare(a, b)
    side = "A" if turned else "B"
    assert (found.first.where, found.first.layer) == ("between", f"x{block}b"), found.first
    assert found.first.cause == f"the shortcut from {who} is missing in {side} at the Add that follows"
    agreed = [x.a for x in found.layers if x.agrees]
    assert agreed[: 3 + 2 * block] == ["stem", "x0a", "x0b", "x1a", "x1b"][: 3 + 2 * block]


def test_a_missing_activation_before_a_block_is_still_named(tmp_path: Path) -> None:
    found = compare(chain(tmp_path / "a.onnx"), chain(tmp_path / "b.onnx", silent=True))
    assert (found.first.where, found.first.layer) == ("between", "x0b")
    assert found.first.cause == "an activation (Relu) is missing in B"


def projected(path: Path, *, silent: bool = False) -> Path:
    """A block whose shortcut is a convolution, which stands behind the block's own in the file."""
    s = Sheet()
    stem = s.relu(s.conv("clip", "stem", 6, 3), "stem")
    x = s.conv(s.relu(s.conv(stem, "one", 6, 6), "one"), "two", 6, 6)
    x = s.add("Add", [x, s.conv(stem, "side", 6, 6, 1)], "add")
    return s.save(path, s.head(s.relu(s.conv(x if silent else s.relu(x, "sum"), "after", 6, 6), "after"), 6))


def test_what_follows_an_add_is_named_by_the_path_that_is_no_shortcut(tmp_path: Path) -> None:
    found = compare(projected(tmp_path / "a.onnx"), projected(tmp_path / "b.onnx", silent=True))
    assert (found.first.where, found.first.layer, found.first.reader) == ("between", "two", "after")
    assert found.first.cause == "an activation (Relu) is missing in B"


def gated(path: Path, *, shortcut: bool = True, gate: bool = True) -> Path:
    """A block with a gate and a shortcut."""
    s = Sheet()
    stem = s.relu(s.conv("clip", "stem", 6, 3), "stem")
    x = s.conv(stem, "body", 6, 6)
    steer = s.add("Sigmoid", [s.conv(s.add("GlobalAveragePool", [x], "mean"), "steer", 6, 6, 1)], "sigmoid")
    x = s.add("Mul", [x, steer], "gate") if gate else x
    x = s.relu(s.add("Add", [x, stem], "add") if shortcut else x, "sum")
    x = s.relu(s.conv(x, "after", 6, 6), "after")
    first = s.add("Mul", [x, s.add("Sigmoid", [s.conv(x, "steer2", 6, 6, 1)], "sigmoid2")], "gate2")
    return s.save(path, s.head(first, 6))


def test_a_shortcut_is_not_called_a_gate(tmp_path: Path) -> None:
    """What is lost arrives through products too, as what was squeezed does."""
    whole = gated(tmp_path / "a.onnx")
    found = compare(whole, gated(tmp_path / "b.onnx", shortcut=False))
    assert found.first.reader == "after"
    assert found.first.cause == "the shortcut from 'stem' is missing in B at the Add that follows"


# ------------------------------------------------------------------------------------------- kernels


def halves(path: Path) -> Path:
    """Half of the kernels are convolved, the other half pass by; then the two are shuffled."""
    s = Sheet()
    x = s.relu(s.conv("clip", "stem", 8, 3), "stem")
    for step in range(2):
        sizes = s.constant(f"sizes{step}", np.array([4, 4]))
        s.nodes.append(helper.make_node("Split", [x, sizes], [f"l{step}", f"r{step}"], f"split{step}", axis=1))
        y = s.relu(s.conv(f"r{step}", f"half{step}", 4, 4), f"half{step}")
        x = s.add("Concat", [f"l{step}", y], f"cat{step}", axis=1)
        x = s.add("Reshape", [x, s.constant(f"apart{step}", np.array([1, 2, 4, 12, 12]))], f"apart{step}/r")
        x = s.add("Transpose", [x], f"turn{step}", perm=[0, 2, 1, 3, 4])
        x = s.add("Reshape", [x, s.constant(f"whole{step}", np.array([1, 8, 12, 12]))], f"whole{step}/r")
    return s.save(path, s.head(s.relu(s.conv(x, "last", 8, 8), "last"), 8))


@pytest.mark.parametrize("names", ["named", "without names"])
def test_kernels_exchanged_across_a_split(tmp_path: Path, names: str) -> None:
    """The layer that reads one half tells of one of the two only."""
    a = halves(tmp_path / "a.onnx")
    b = edited(a, tmp_path / "b.onnx", stem_w=exchanged(1, 6), stem_b=exchanged(1, 6))
    b = b if names == "named" else renamed(b, tmp_path / "c.onnx")
    for found in (compare(a, b), compare(b, a)):
        assert (found.first.where, found.first.kernels) == ("layer", (1, 6)), found.first
        assert "kernels 1 and 6 are swapped" in found.first.cause


def single(path: Path) -> Path:
    """A network with one answer."""
    s = Sheet()
    x = s.relu(s.conv(s.relu(s.conv("clip", "one", 6, 3), "one"), "two", 12, 6), "two")
    return s.save(path, s.head(x, 12, classes=1))


def test_one_kernel_tells_the_order_of_its_channels(tmp_path: Path) -> None:
    """Each channel has one weight there, of which only the size says which it is."""
    a, order = single(tmp_path / "a.onnx"), np.random.default_rng(1).permutation(12)
    moved = {"two_w": lambda v: v[order], "two_b": lambda v: v[order], "fc_w": lambda v: v[order]}
    b = edited(a, tmp_path / "b.onnx", **moved)
    assert compare(a, b).same
    b = edited(b, tmp_path / "c.onnx", two_w=exchanged(2, 9), two_b=exchanged(2, 9))
    found = compare(a, b)
    assert (found.first.layer, found.first.kernels) == ("two", tuple(sorted(order[[2, 9]])))
    assert "are swapped" in found.first.cause
    drift = np.random.default_rng(8).normal(0, 0.3, (12, 1))  # under which they nearly fit in another order
    other = edited(a, tmp_path / "d.onnx", fc_w=lambda v: (v + drift * v.std()).astype(np.float32))
    assert compare(a, other).first.layer == "fc"


def flattened(path: Path, *, last: bool = False) -> Path:
    """Positions are laid out for a dense layer: for each kernel, or for each position all kernels (`last`)."""
    s = Sheet()
    x = s.relu(s.conv(s.relu(s.conv("clip", "one", 4, 3), "one"), "two", 6, 4), "two")
    x = s.add("MaxPool", [x], "pool", kernel_shape=[4, 4], strides=[4, 4])
    x = s.add("Flatten", [s.add("Transpose", [x], "turn", perm=[0, 2, 3, 1]) if last else x], "flat")
    y = s.dense(s.relu(s.dense(x, "wide", 10, 54), "wide"), "fc", CLASSES, 10)
    if last:
        s.constants["wide.w"] = s.constants["wide.w"].reshape(6, 9, 10).transpose(1, 0, 2).reshape(54, 10)
    return s.save(path, y)


def test_kernels_exchanged_before_positions_are_laid_out(tmp_path: Path) -> None:
    a, b = flattened(tmp_path / "a.onnx"), flattened(tmp_path / "b.onnx", last=True)
    assert compare(a, b).same
    b = edited(b, tmp_path / "c.onnx", two_w=exchanged(1, 4), two_b=exchanged(1, 4))
    for found in (compare(a, b), compare(b, a)):
        assert (found.first.where, found.first.layer, found.first.kernels) == ("layer", "two", (1, 4)), found.first
        assert "kernels 1 and 4 are swapped" in found.first.cause


def test_weights_exchanged_without_their_batch_norm(tmp_path: Path) -> None:
    a = chain(tmp_path / "a.onnx")
    b = edited(a, tmp_path / "b.onnx", x0a_w=exchanged(2, 5))
    found = compare(a, b)
    assert (found.first.layer, found.first.kernels) == ("x0a", (2, 5))
    assert found.first.cause == "the weights of kernels 2 and 5 are swapped, and their scale was not changed with them"


def test_an_epsilon_is_recognised_though_a_kernel_has_no_variance(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    variance = rng.uniform(0.4, 2.0, 6)
    variance[3] = 0.0
    factor = np.sqrt((variance + 1e-5) / (variance + 1e-3)).astype(np.float32)
    a = towers(tmp_path / "a.onnx")
    b = edited(a, tmp_path / "b.onnx", last_w=lambda w: w * factor[:, None, None, None])
    found = compare(a, b)
    assert found.first.layer == "last"
    assert found.first.cause.endswith("as another epsilon of a batch norm does")


# --------------------------------------------------------------------------- positions, fused operators


def tokens(path: Path, *, flat: bool = False, fused: bool = False) -> Path:
    """Patches with an offset for each place, then a dense layer with Gelu for each of them; written in two ways."""
    s = Sheet()
    inputs = ["clip", s.draw("patch.w", 8, 3, 4, 4), s.draw("patch.b", 8)]
    x = s.add("Conv", inputs, "patch", kernel_shape=[4, 4], strides=[4, 4])
    x = s.add(
        "Transpose", [s.add("Reshape", [x, s.constant("rows", np.array([1, 8, 9]))], "rows/r")], "turn", perm=[0, 2, 1]
    )
    x = s.add("Add", [x, s.draw("places", 1, 9, 8)], "places/add")
    for step in range(2):
        w, bias = s.draw(f"d{step}.w", 8, 8, size=1.4), s.draw(f"d{step}.b", 8)
        if flat:
            x = s.add("Reshape", [x, s.constant(f"flat{step}", np.array([9, 8]))], f"flat{step}/r")
            x = s.add("Gemm", [x, w, bias], f"d{step}")
            x = s.add("Reshape", [x, s.constant(f"deep{step}", np.array([1, 9, 8]))], f"deep{step}/r")
        else:
            x = s.add("Add", [s.add("MatMul", [x, w], f"d{step}"), bias], f"d{step}/bias")
        x = s.add("Gelu", [x], f"d{step}/gelu", domain="com.microsoft") if fused else spelled_gelu(s, x, f"d{step}")
    x = s.add("ReduceMean", [x], "mean", axes=[1], keepdims=0)
    return s.save(path, s.dense(x, "fc", CLASSES, 8))


def spelled_gelu(s: Sheet, x: str, name: str) -> str:
    half, one, root = (s.constant(f"{name}.{k}", np.float32(k)) for k in (0.5, 1.0, 2**0.5))
    wide = s.add("Add", [s.add("Erf", [s.add("Div", [x, root], f"{name}/div")], f"{name}/erf"), one], f"{name}/one")
    return s.add("Mul", [s.add("Mul", [x, wide], f"{name}/gate"), half], f"{name}/half")


@pytest.mark.parametrize(("flat", "fused"), [(True, False), (False, True), (True, True)])
def test_places_on_the_first_axis_and_a_fused_gelu_are_the_same(tmp_path: Path, flat: bool, fused: bool) -> None:
    a, b = tokens(tmp_path / "a.onnx"), tokens(tmp_path / "b.onnx", flat=flat, fused=fused)
    for found in (compare(a, b), compare(b, a)):
        assert found.same, found.first
        assert max(x.difference for x in found.layers) < 1e-5


def test_kernels_with_an_offset_for_each_place_are_judged_by_their_weights(tmp_path: Path) -> None:
    a = tokens(tmp_path / "a.onnx")

    def scaled(w: Array) -> Array:
        return np.concatenate([w[:2], w[2:3] * np.float32(1.5), w[3:]])

    found = compare(a, edited(a, tmp_path / "b.onnx", patch_w=scaled))
    assert (found.first.layer, found.first.kernels) == ("patch", (2,))
    assert found.first.cause == "kernel 2: weights scaled by 1.5"
    both = {"patch_w": exchanged(1, 6), "patch_b": exchanged(1, 6)}
    found = compare(a, edited(a, tmp_path / "c.onnx", **both))
    assert (found.first.layer, found.first.kernels) == ("patch", (1, 6))
    assert "are swapped" in found.first.cause


def attention(path: Path) -> Path:
    """Patches that look at each other once."""
    s = Sheet()
    x = s.add("Conv", ["clip", s.draw("patch.w", 8, 3, 4, 4), s.draw("patch.b", 8)], "patch", strides=[4, 4])
    x = s.add("Reshape", [x, s.constant("rows", np.array([1, 8, 9]))], "rows/r")
    x = s.add("Transpose", [x], "turn", perm=[0, 2, 1])
    made = {n: s.add("MatMul", [x, s.draw(f"{n}.w", 8, 8, size=2.0)], n) for n in ("query", "key", "value")}
    turned = s.add("Transpose", [made["key"]], "turned", perm=[0, 2, 1])
    weights = s.add("Softmax", [s.add("MatMul", [made["query"], turned], "scores")], "weights", axis=-1)
    x = s.add("MatMul", [s.add("MatMul", [weights, made["value"]], "mixed"), s.draw("out.w", 8, 8)], "out")
    return s.save(path, s.dense(s.add("ReduceMean", [x], "mean", axes=[1], keepdims=0), "fc", CLASSES, 8))


def test_kernels_that_steer_are_named_though_no_layer_reads_them(tmp_path: Path) -> None:
    a = attention(tmp_path / "a.onnx")

    def swapped(w: Array) -> Array:
        return exchanged(2, 5)(w.T).T

    found = compare(a, edited(a, tmp_path / "b.onnx", key_w=swapped))
    assert (found.first.where, found.first.layer, found.first.kernels) == ("layer", "key", (2, 5)), found.first
    assert "kernels 2 and 5 are swapped" in found.first.cause
    assert compare(a, edited(a, tmp_path / "c.onnx", key_w=swapped, query_w=swapped)).same


def fused(path: Path, *, inside: bool) -> Path:
    """A batch norm behind a Relu, and a Sigmoid for the answer; both activations may be part of the layers."""
    s = Sheet()
    domain = "com.microsoft" if inside else ""
    if inside:
        inputs = ["clip", s.draw("stem.w", 6, 3, 3, 3, size=1.4), s.draw("stem.b", 6)]
        x = s.add("FusedConv", inputs, "stem", domain=domain, activation="Relu", pads=[1] * 4, kernel_shape=[3, 3])
    else:
        x = s.relu(s.conv("clip", "stem", 6, 3), "stem")
    x = s.relu(s.conv(s.norm(x, "late", 6), "mid", 6, 6), "mid")
    x = s.add("Flatten", [s.add("GlobalAveragePool", [x], "pool")], "flat")
    inputs = [x, s.draw("fc.w", 6, 1), s.draw("fc.b", 1)]
    if inside:
        y = s.add("FusedGemm", inputs, "fc", domain=domain, activation="Sigmoid")
    else:
        y = s.add("Sigmoid", [s.add("Gemm", inputs, "fc")], "answer")
    return s.save(path, y)


def test_activations_inside_a_layer_come_before_what_follows_it(tmp_path: Path) -> None:
    a, b = fused(tmp_path / "a.onnx", inside=False), fused(tmp_path / "b.onnx", inside=True)
    for found in (compare(a, b), compare(b, a)):
        assert found.same, found.first
        assert [x.findings for x in found.layers if x.findings] == []
    assert not compare(a, edited(b, tmp_path / "c.onnx", fc_w=lambda w: w * np.float32(1.1))).same


# ------------------------------------------------------------------------------ batch norms of no layer


def dense(path: Path, *, epsilon: float = 1e-5, spelled: bool = False, halved: bool = False) -> Path:
    """Layers that read all before them, through a batch norm and a Relu that come first."""
    s = Sheet()
    x = s.relu(s.conv("clip", "stem", 6, 3), "stem")
    channels = 6
    for step in range(3):
        y = s.norm(x, f"d{step}", channels)
        if spelled:
            s.nodes.pop()
            y = spelled_norm(s, x, f"d{step}")
        elif step == 1:
            s.nodes[-1].attribute[0].f = epsilon
        y = halved_relu(s, y, f"d{step}") if halved else s.relu(y, f"d{step}")
        y = s.conv(y, f"d{step}", 4, channels)
        x, channels = s.add("Concat", [x, y], f"cat{step}", axis=1), channels + 4
    return s.save(path, s.head(s.relu(s.norm(x, "end", channels), "end"), channels))


def spelled_norm(s: Sheet, x: str, name: str) -> str:
    gamma, beta, mean, variance = (s.constants.pop(f"{name}.{k}") for k in ("gamma", "beta", "mean", "var"))
    factor = gamma / np.sqrt(variance + np.float32(1e-5))
    y = s.add("Mul", [x, s.constant(f"{name}.factor", factor[:, None, None])], f"{name}/mul")
    return s.add("Add", [y, s.constant(f"{name}.shift", (beta - mean * factor)[:, None, None])], f"{name}/shift")


def halved_relu(s: Sheet, x: str, name: str) -> str:
    whole = s.add("Add", [x, s.add("Abs", [x], f"{name}/abs")], f"{name}/whole")
    return s.add("Mul", [whole, s.constant(f"{name}.half", np.float32(0.5))], f"{name}/half")


@pytest.mark.parametrize("spelling", ["spelled", "halved"])
def test_a_batch_norm_before_a_layer_may_be_spelled_otherwise(tmp_path: Path, spelling: str) -> None:
    """As products and sums, or followed by a Relu that has a factor of its own."""
    a, b = dense(tmp_path / "a.onnx"), dense(tmp_path / "b.onnx", **{spelling: True})
    assert compare(a, b).same
    assert compare(renamed(b, tmp_path / "c.onnx"), a).same


@pytest.mark.parametrize("names", ["named", "without names"])
def test_the_epsilon_of_a_batch_norm_before_a_layer(tmp_path: Path, names: str) -> None:
    """It moves outputs by less than their tolerance."""
    a, b = dense(tmp_path / "a.onnx"), dense(tmp_path / "b.onnx", epsilon=1e-3)
    b = b if names == "named" else renamed(b, tmp_path / "c.onnx")
    found = compare(a, b)
    assert max(x.difference for x in found.layers) < found.tolerance["outputs"]
    assert (found.first.where, found.first.layer, found.first.reader) == ("between", "d0", "d1")
    assert found.first.cause == "the batch norm's epsilon is 1e-05 in A and 0.001 in B"
    clip = np.random.default_rng(3).standard_normal(CLIP).astype(np.float32)
    assert cfp.compare(a, b, clip, tolerance=0.01, device="cpu", threads=1, tubes=False).same


@pytest.mark.parametrize(("weight", "says"), [("gamma", "factors differ by up to"), ("mean", "offsets differ")])
def test_a_channel_of_a_batch_norm_before_a_layer(tmp_path: Path, weight: str, says: str) -> None:
    def moved(value: Array) -> Array:
        return value + np.float32(2e-3) * (np.arange(value.size) == value.argmax())

    a = dense(tmp_path / "a.onnx")
    b = edited(a, tmp_path / "b.onnx", **{f"d1_{weight}": moved})
    for found in (compare(a, b), compare(b, a)):
        assert (found.first.where, found.first.reader) == ("between", "d1")
        assert says in found.first.cause


def test_an_epsilon_counts_where_variances_are_large(tmp_path: Path) -> None:
    """Over the same variances it is another one, though it hardly shows; over others it may be made up for."""
    a = edited(chain(tmp_path / "plain.onnx"), tmp_path / "a.onnx", x0a_var=lambda v: v * np.float32(1000))
    model = onnx.load(a)
    next(n for n in model.graph.node if n.name == "x0a/bn").attribute[0].f = 1e-3
    onnx.save(model, tmp_path / "b.onnx")
    found = compare(a, tmp_path / "b.onnx")
    assert max(x.weight_difference for x in found.layers) < found.tolerance["weights"]
    assert found.first.layer == "x0a"
    assert "epsilon is 1e-05 in A and 0.001 in B" in found.first.cause
    made_up = edited(tmp_path / "b.onnx", tmp_path / "c.onnx", x0a_var=lambda v: v - np.float32(1e-3 - 1e-5))
    assert compare(a, made_up).same
