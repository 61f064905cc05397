"""Tubes as values: their scale, what is constant, how they are found and added up."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from made_tubes import tube

from cfp_onnx.pyramid import tubes

Array = npt.NDArray[Any]


def test_over_the_clip_pixel_i_is_at_i() -> None:
    ramp = np.array([1.0, 5.0, 9.0]).reshape(1, 1, 3)
    one = tube(ramp, (np.zeros(1), np.array([2.0]), np.array([0.5, 2.5, 4.5])))
    found = one.at((2, 3, 7))
    assert found.shape == (2, 3, 7)
    np.testing.assert_allclose(found, np.broadcast_to([1, 2, 4, 6, 8, 9, 9], (2, 3, 7)))


POINT = (np.zeros(1), np.zeros(1), np.arange(3.0))


def line(*values: float, **options: Any) -> tubes.Tube:
    return tube(np.array(values).reshape(1, 1, 3), POINT, **options)


def test_each_kind_and_depth_has_one_scale_from_nothing_to_its_largest_value() -> None:
    items = [line(0, 1, 2), line(5, 1, 0, layer="a"), line(9, 0, 0, depth=2), line(7, 0, 0, kind="activation")]
    found = tubes.mark_constant((1, 1, 3), items)
    assert found.scale("relevance", 1) == tubes.Scale(0.0, 5.0, "relevance")
    assert found.scale("relevance", 2).high == 9
    assert found.scale("activation", 1) == tubes.Scale(0.0, 7.0, "activation")
    assert found.scale("activation", 2).high == 0
    assert tubes.mark_constant((1, 1, 3), [line(-3, -2, -1)]).scale("relevance", 1).high == 0


@pytest.mark.parametrize(
    ("values", "constant"),
    [((4, 4, 4), True), ((0, 0, 0), True), ((0, 1e-3, 0), True), ((0, 2e-2, 0), False), ((-50, 0, -50), False)],
)
def test_what_does_not_vary_is_marked_and_kept_as_it_is(values: tuple[float, ...], constant: bool) -> None:
    """Less than 1e-4 of the scale, which a stronger kernel sets here."""
    one = line(*values, layer="a", kernel=1)
    found = tubes.mark_constant((1, 1, 3), [one, line(0, 100, 0, layer="a", kernel=2), line(0, 1e9, 0, depth=2)])
    assert [t.constant for t in found.items] == [constant, False, False]
    np.testing.assert_array_equal(found.items[0].values, one.values)


def test_a_tube_is_found_by_kernel_layer_or_depth_and_missed_by_name() -> None:
    items = [line(1, 2, 3), line(2, 2, 3, layer="a"), line(3, 2, 3, layer="a", kernel=4), line(4, 2, 3, depth=2)]
    found = tubes.mark_constant((1, 1, 3), items, ["one left out"])
    firsts = {
        1: found.find("relevance", depth=1),
        2: found.find("relevance", layer="a"),
        3: found.find("relevance", layer="a", kernel=4),
        4: found.find("relevance", depth=2),
    }
    assert {k: float(t.values.flat[0]) for k, t in firsts.items()} == {1: 1, 2: 2, 3: 3, 4: 4}
    assert [len(found.of("relevance", unit)) for unit in tubes.UNITS] == [1, 1, 2, 0]
    assert found.notes == ("one left out",)
    for options, named in (
        ({"depth": 3}, "depth 3"),
        ({"layer": "b"}, "layer 'b'"),
        ({"layer": "a", "kernel": 5}, "'a':5"),
        ({"layer": "a", "depth": 2}, "layer 'a'"),
    ):
        with pytest.raises(KeyError, match=re.escape(f"no relevance tube of {named}")):
            found.find("relevance", **options)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="no activation tube"):
        found.find("activation", depth=1)


def test_a_layers_activation_is_the_mean_of_its_kernels_by_their_weights() -> None:
    kernels = [line(1, 0, 0, kind="activation", layer="a", kernel=k) for k in range(2)]
    kernels[1] = line(0, 4, 0, kind="activation", layer="a", kernel=1)
    found = tubes.weighted_activation([(kernels[0], 3.0), (kernels[1], 1.0)], layer="a")
    np.testing.assert_allclose(found.values.reshape(-1), [3 / 4, 1, 0])
    assert (found.kind, found.layer, found.kernel, found.depth) == ("activation", "a", None, 1)
    assert tubes.weighted_activation([(kernels[0], 0.0)], layer=None).values.max() == 0
    with pytest.raises(ValueError, match="no tubes"):
        tubes.weighted_activation([], layer=None)
