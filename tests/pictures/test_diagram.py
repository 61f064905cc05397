"""Diagrams: dots have their size, lines their colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cfp_onnx.pictures import colours, diagram


def rows_of_dots() -> list[diagram.DotRow]:
    top = diagram.DotRow("class", ["right"], [("", [diagram.Dot("a", "1", 1.0)])])
    low = [diagram.Dot("b", "33", 1.0), diagram.Dot("c", "5", 0.2), diagram.Dot("d", "18", 0.0, chosen=False)]
    return [top, diagram.DotRow("depth 1", ["conv"], [("conv", low)])]


def test_a_diagram_draws_each_dot_and_the_lines_whose_ends_are_there():
    alone = diagram.pyramid_diagram(rows_of_dots(), [], title="t")
    line = diagram.DotLine("a", "b", 1.0, "shortcut")
    linked = diagram.pyramid_diagram(rows_of_dots(), [line, diagram.DotLine("a", "elsewhere", 1.0)], title="t")
    ink = np.array(colours.INK)
    discs = (np.abs(alone[:, 215:].astype(int) - ink).sum(axis=-1) < 30).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(discs)
    sizes = sorted(s for s in stats[1:count, cv2.CC_STAT_AREA] if s > 150)
    assert len(sizes) == 3, "two chosen kernels and the class; the ring is no disc"
    assert sizes[0] < 0.6 * sizes[-1], "a weak kernel is a small disc"
    color = np.array(diagram._LINK_COLORS["shortcut"])
    assert not (np.abs(alone.astype(int) - color).sum(axis=-1) < 20).any()
    assert (np.abs(linked.astype(int) - color).sum(axis=-1) < 20).sum() > 100


@pytest.mark.parametrize(
    ("rows", "lines", "says"),
    [
        ([], [], "at least one dot"),
        ([diagram.DotRow("r", [], [("", [diagram.Dot("a", "", 1.5)])])], [], "outside"),
        (rows_of_dots(), [diagram.DotLine("a", "b", -0.1)], "outside"),
    ],
)
def test_a_diagram_of_nothing_or_of_wrong_numbers_is_refused(rows, lines, says):
    with pytest.raises(ValueError, match=says):
        diagram.pyramid_diagram(rows, lines, title="t")
